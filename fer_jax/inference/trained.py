"""A trained model of a run: which one, its parameters, and the classes that it knows.

Everything that uses models starts here: explanations, predictions, exports. Nothing is trained here.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import protocol
from fer_jax.config import dotted, names
from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError
from fer_jax.models.network import Network, merge
from fer_jax.phases import base as base_task
from fer_jax.phases import part as parts
from fer_jax.phases.fold import Fold, build_network
from fer_jax.runs import checkpoints, results
from fer_jax.runs.checkpoints import Checkpoints, Saving
from fer_jax.runs.workdir import read as read_json

Params = Any
BASE = "base"  # among the methods' names: the base model itself


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model after the last finished step of a part of a run.

    params: {"backbone": …, "head": …}, the head over all C classes.
    class_names: C names; class_mask: bool[C], those that the model knows.
    method, fold, order: the part; the base model has the method BASE and no order.
    increment: the last that was learned, from 0; None for the base model.
    """

    workdir: pathlib.Path
    config: ml_collections.FrozenConfigDict
    network: Network
    params: Params
    class_names: tuple[str, ...]
    class_mask: np.ndarray
    method: str
    fold: int
    order: int | None
    increment: int | None

    @property
    def name(self) -> str:
        """A name among the models of a run, such as `fold0-kd_psmr-order0`."""
        return f"fold{self.fold}-{self.method}" + ("" if self.order is None else f"-order{self.order}")

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names of the K classes that it knows."""
        return tuple(name for name, known in zip(self.class_names, self.class_mask, strict=True) if known)

    @property
    def column(self) -> str:
        """The column of results.json for this network's answers: `method (network)` if the method's own answer is
        another classifier's.
        """
        return self.method if self.answers_by == "network" else f"{self.method} (network)"

    @property
    def answers_by(self) -> str:
        """The method's own classifier, one of `methods.Method.classifiers`; exports have the network alone."""
        if self.method == BASE:
            return "network"
        own = names.method(self.method).answers_by[0]
        return "network" if own is None else own.name

    @property
    def image_size(self) -> int:
        """S, the pixels of a side."""
        return self.config.data.image_size

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the parameters and of the known classes."""
        return checkpoints.digest(self.params, {"known": self.known_names})

    def class_index(self, name: str) -> int:
        """Returns the position of a known class in `class_names`.

        Raises:
          UserError: the model knows no such class.
        """
        if name not in self.known_names:
            near = configs.suggestion(name, self.known_names)
            raise UserError(f"--class is {name!r}{near}; it may be one of {', '.join(self.known_names)}")
        return self.class_names.index(name)


def restore(
    workdir: pathlib.Path, method: str | None = None, fold: int | None = None, order: int | None = None
) -> Trained:
    """Restores the model of a run's workdir after the last finished increment.

    Args:
      method: None is kd_psmr, or the run's first method if it has no kd_psmr; BASE is the base model.
      fold: None is the first of the run's folds that has the model.
      order: the number of a class order; None is the run's first.

    Raises:
      UserError: no workdir of a run, a choice that the run does not have, or a phase that is not finished.
      CheckpointError: there are checkpoints and none is whole.
    """
    config = run_config(workdir)
    method = _method(config, method)
    folds = (fold,) if fold is not None else tuple(config.protocol.folds)
    if fold is not None and fold not in config.protocol.folds:
        raise UserError(f"--fold is {fold}; it may be one of {', '.join(map(str, config.protocol.folds))}")
    order = None if method == BASE else _order(config, order)
    parts = [_part(workdir, one, method, order) for one in folds]
    fold = next((one for one, part in zip(folds, parts, strict=True) if part.exists()), folds[0])
    class_names = _class_names(workdir, config, fold)
    reading = _Reading.of(workdir, config, class_names, fold)
    if method != BASE:
        reading = base_task.with_objective(reading, names.method(method).base)
    params = _base(reading)
    mask, increment = reading.base_mask(), None
    if method != BASE:
        params, increment = _continued(reading, params, method, order)
        drawn = protocol.class_orders(len(class_names) - config.data.n_base, config.protocol.n_orders,
                                      config.protocol.order_seed)  # fmt: skip
        learned_at = protocol.learned_at(drawn[order], config.data.n_base, config.protocol.classes_per_increment)
        mask = protocol.class_mask(learned_at, increment + 1)
    return Trained(workdir, config, reading.network, params, class_names, mask, method, fold, order, increment)


def run_config(workdir: pathlib.Path) -> ml_collections.FrozenConfigDict:
    """Reads the resolved config of a run's workdir.

    Raises:
      UserError: it is not the workdir of a run, its config is of another version, or names a module of the user's own
        that was neither named on this command line nor trusted (`dotted.trusting`).
    """
    path = workdir / "config.json"
    if (workdir / "sweep.json").exists():
        raise UserError(f"--workdir {workdir} is a sweep's; it may be that of one of its cells in {workdir / 'cells'}")
    if not path.is_file():
        raise UserError(f"--workdir {workdir} is not that of a run: it has no config.json; it may be a --workdir "
                        "of fer-jax train")  # fmt: skip
    config = ml_collections.ConfigDict(configs.nested(read_json(path)))
    with dotted.reading_workdir():
        configs.check(config)
    return configs.resolve(config)


def load_data(trained: Trained, data: FaceArrays | None = None) -> tuple[FaceArrays, protocol.Split]:
    """Loads the data set of the model's run, and its fold's split.

    Args:
      data: the data set if it is at hand; None reads it.

    Raises:
      UserError: it is not there any more, or has changed.
    """
    if data is None:
        from fer_jax.data.load import load  # TFDS takes a second to import

        data = load(trained.config.data)
    there = read_json(trained.workdir / "origin.json").get("data_sha256")
    if data.with_class_targets().checksum(parts.targets(trained.config)) != there:
        raise UserError(f"the data set of --workdir {trained.workdir} has changed since it was trained on")
    p = trained.config.protocol
    return data, protocol.split(data.subject, trained.fold, p.n_folds, p.name, data.official_test, data.label)


@dataclasses.dataclass(frozen=True)
class _Reading(Fold):
    """What reading a checkpoint takes of a fold: no data. All that is made of a model is computed in float32."""

    @classmethod
    def of(cls, workdir: pathlib.Path, config, names: tuple[str, ...], fold: int) -> "_Reading":
        size, none = config.data.image_size, np.zeros(0, np.int32)
        data = FaceArrays(np.zeros((0, size, size, 3), np.uint8), none, none, names)
        return cls(
            config, data, build_network(config, len(names), "float32"), data.image, none, fold,
            protocol.Split(none, none, none), workdir / "checkpoints", None, Saving(),
        )  # fmt: skip


def _method(config, method: str | None) -> str:
    if method is None:
        return "kd_psmr" if "kd_psmr" in config.methods else config.methods[0]
    if method not in (*config.methods, BASE):
        raise UserError(f"--method is {method!r}; it may be one of {', '.join((*config.methods, BASE))}")
    return method


def _order(config, order: int | None) -> int:
    known = tuple(config.protocol.orders) or tuple(range(config.protocol.n_orders))
    if order is not None and order not in known:
        raise UserError(f"--order is {order}; it may be one of {', '.join(map(str, known))}")
    return known[0] if order is None else order


def _part(workdir: pathlib.Path, fold: int, method: str, order: int | None) -> pathlib.Path:
    folder = workdir / "checkpoints" / f"fold{fold}"
    return folder / "basic" if method == BASE else folder / method / f"order{order}"


def _class_names(workdir: pathlib.Path, config, fold: int) -> tuple[str, ...]:
    if (workdir / "results.json").exists():
        return tuple(results.read(workdir)["data"]["classes"])
    if not Checkpoints(_part(workdir, fold, BASE, None)).steps():
        raise _unfinished(workdir, f"base task of fold {fold}")
    from fer_jax.data.load import load

    return load(config.data).class_names


def _unfinished(workdir: pathlib.Path, part: str, instead: str = "") -> UserError:
    return UserError(f"--workdir {workdir} has no finished {part}; fer-jax train goes on with it{instead}")


def _base(fold: _Reading) -> Params:
    like = jax.eval_shape(lambda: fold.network.init(jax.random.key(0), fold.config.data.image_size))
    workdir = fold.checkpoints.parent
    with Checkpoints(fold.checkpoints / f"fold{fold.number}" / fold.basic) as steps:
        done = steps.latest({"params": like})
    stages = {stage for stage in ("head", "body") if fold.config.basic[stage].max_epochs}
    if done is None or set(done.meta["stages"]) != stages:
        raise _unfinished(workdir, f"base task of fold {fold.number}")
    return done.state["params"]


def _continued(fold: _Reading, base: Params, method: str, order: int) -> tuple[Params, int]:
    """Parameters after the last finished increment, and its number."""
    workdir = fold.checkpoints.parent
    with Checkpoints(_part(workdir, fold.number, method, order)) as steps:
        if not steps.steps():
            raise _unfinished(
                workdir,
                f"increment of {method}, fold {fold.number}, order {order}",
                f", --method {BASE} is the base model",
            )
        how = parts.effective(fold.config, names.method(method))
        if not how.trains:
            raise UserError(
                f"--method is {method!r}, which answers by statistics of the base model's features and has no network "
                f"of its own; it may be another, or {BASE}"
            )
        n_images, capacity = _saved_sizes(steps)
        done = steps.latest(parts.saved_like(fold, base, how, n_images, capacity))
    recipe = parts.recipe_for(fold, how)
    _, frozen = fold.network.split(base, recipe.cut)
    return merge(done.state["trainable"], frozen), done.number


def _saved_sizes(steps: Checkpoints) -> tuple[int, int]:
    """Images in all, where a checkpoint tells, and how many exemplars a class has room for in checkpoints.

    They are the same in all steps, one of which may be damaged.
    """
    for step in reversed(steps.steps()):
        with contextlib.suppress(Exception):  # whatever a damaged file makes a reader raise
            _, shapes = steps.glance(step)
            return shapes.get("['recorded']", (0,))[0], shapes["['memory'].index"][1]
    return 0, 0  # none can be read, which is told by who reads them


@functools.partial(jax.jit, static_argnames="network")
def logits(params: Params, images: jax.Array, network: Network) -> jax.Array:
    """Computes logits f32[B, C] of images u8[B, H, W, 3]."""
    features = network.trunk(params, images.astype(jnp.float32) / 255.0, "head")
    return network.tail(params, features, "head")[0]


def in_batches(function: Callable, *arrays: np.ndarray, batch: int = 64) -> np.ndarray:
    """Calls `function` on batches of arrays [N, ...], the last one padded so that it compiles once; returns [N, ...].

    Raises:
      ValueError: N is 0.
    """
    n = len(arrays[0])
    outputs = []
    for at in range(0, n, batch):
        rows = np.resize(np.arange(at, min(at + batch, n)), batch)
        outputs.append(np.asarray(function(*(array[rows] for array in arrays)))[: n - at])
    return np.concatenate(outputs)
