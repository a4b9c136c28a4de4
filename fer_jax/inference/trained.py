"""A trained model of a run: which one, its parameters, and the classes that it knows.

Everything that uses models starts here: explanations, predictions, exports. Nothing is trained here.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import protocol
from fer_jax.classifiers import CLASSIFIERS, Classifier, Exemplars, Linear
from fer_jax.config import dotted, names
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.errors import UserError
from fer_jax.inference import linear_head
from fer_jax.inference import taught as taught_models
from fer_jax.inference.taught import Taught
from fer_jax.models.network import Network
from fer_jax.phases import base as base_task
from fer_jax.phases import part as parts
from fer_jax.phases.fold import Fold, build_network
from fer_jax.phases.part import Learned
from fer_jax.runs import checkpoints, results
from fer_jax.runs.checkpoints import OTHER_ARRAYS, CheckpointError, Checkpoints, Saving
from fer_jax.runs.progress import log
from fer_jax.runs.workdir import CHECKPOINT_FORMAT
from fer_jax.runs.workdir import read as read_json

Params = Any
BASE = "base"  # among the methods' names: the base model itself


@dataclasses.dataclass(frozen=True)
class Stored:
    """What the checkpoints hold of a part of a run beside what its model answers by.

    fold: without data. base: parameters of the base model.
    params, class_mask: of the network as it was trained, and the classes that it knows.
    learned: after the last increment; None of the base model itself.
    penalties: those that the method's classifiers chose, by their names.
    """

    fold: Fold
    base: Params
    params: Params
    class_mask: np.ndarray
    learned: Learned | None = None
    penalties: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model after the last finished step of a part of a run, or one that was taught classes beside it.

    params: {"backbone": …, "head": …}, the head over all C classes.
    class_names: C names; class_mask: bool[C], those that the model knows.
    method, fold, order: the part; the base model has the method BASE and no order.
    increment: the last that was learned, from 0; None for the base model.
    stored: what else the run has of it.
    answers: what the network's head is: "network", as it was trained, or a classifier of features that is linear.
    taught: the classes that a user taught, if any.
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
    stored: Stored
    answers: str = "network"
    taught: Taught | None = None

    @property
    def name(self) -> str:
        """A name among the models of a run, such as `fold0-kd_psmr-order0`."""
        return f"fold{self.fold}-{self.method}" + ("" if self.order is None else f"-order{self.order}")

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names of the K classes that it knows."""
        return tuple(name for name, known in zip(self.class_names, self.class_mask, strict=True) if known)

    @property
    def source(self) -> "Trained":
        """The model of the run with the head that was trained, whatever answers here and was taught."""
        fold = self.stored.fold
        return dataclasses.replace(
            self, network=dataclasses.replace(fold.network, mirrored=self.network.mirrored), params=self.stored.params,
            class_names=fold.data.class_names, class_mask=self.stored.class_mask, answers="network", taught=None,
        )  # fmt: skip

    @property
    def home(self) -> pathlib.Path:
        """The folder of what is made of the model: its run's, or its own if it was taught classes."""
        return self.taught.folder if self.taught else self.workdir

    @property
    def column(self) -> str:
        """The column of results.json for this model's answers: `method (network)` if the network answers, and the
        method's own answer is another classifier's.
        """
        return self.method if self.answers == self.answers_by else f"{self.method} ({self.answers})"

    @property
    def answers_by(self) -> str:
        """The method's own classifier, one of `methods.Method.classifiers`."""
        return "network" if self.own_classifier is None else self.own_classifier.name

    @property
    def own_classifier(self) -> Classifier | None:
        """The method's own classifier; None for the network."""
        return None if self.method == BASE else names.method(self.method).answers_by[0]

    @property
    def image_size(self) -> int:
        """S, the pixels of a side."""
        return self.config.data.image_size

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the parameters, of the known classes and of whether mirror images are looked at."""
        return checkpoints.digest(self.params, {"known": self.known_names, "mirrored": self.network.mirrored})

    @property
    def facts(self) -> dict:
        """Which model it is, as written to JSON files."""
        return {"method": self.method, "fold": self.fold, "order": self.order, "increment": self.increment,
                "sha256": self.digest}  # fmt: skip

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
    workdir: pathlib.Path,
    method: str | None = None,
    fold: int | None = None,
    order: int | None = None,
    data: FaceArrays | None = None,
    places: Mapping[str, str] | None = None,
) -> Trained:
    """Restores the model of a run's workdir after the last finished increment, or a model that was taught classes.

    It answers as the method does if the method's own classifier is the network or linear in the features, else as the
    network.

    Args:
      method: None is the run's first method; BASE is the base model.
      fold: None is the first of the run's folds that has the model.
      order: the number of a class order; None is the run's first.
      data: the run's data set if it is at hand; None reads it where it is needed, for a classifier of exemplars.
      places: where the data set lies now, by the config's keys (`config.PLACES`); the config says where it lay.

    Raises:
      UserError: no workdir of a run, a choice that the run does not have, or a phase that is not finished.
      CheckpointError: there are checkpoints and none is whole.
    """
    if taught_models.is_one(workdir):
        return _with_taught(taught_models.read(workdir), method, fold, order, places)
    model = restore_network(workdir, method, fold, order, places)
    try:
        return _answering(model, data)
    except UserError as error:
        log.warning("the network answers, not the method's own classifier: %s", error)
        return model


def restore_network(
    workdir: pathlib.Path,
    method: str | None,
    fold: int | None,
    order: int | None,
    places: Mapping[str, str] | None = None,
) -> Trained:
    """Restores the model of a run with the head that was trained; as `restore`."""
    config = run_config(workdir, places)
    method = _method(config, method)
    folds = (fold,) if fold is not None else tuple(config.protocol.folds)
    if fold is not None and fold not in config.protocol.folds:
        raise UserError(f"--fold is {fold}; it may be one of {', '.join(map(str, config.protocol.folds))}")
    if method == BASE and order is not None:
        raise UserError(f"--order is {order}; leave it out with --method {BASE}, which comes before any class order")
    order = None if method == BASE else _order(config, order)
    folders = [_part(workdir, one, method, order) for one in folds]
    fold = next((one for one, folder in zip(folds, folders, strict=True) if folder.exists()), folds[0])
    class_names = _class_names(workdir, config, fold)
    reading = _Reading.of(workdir, config, class_names, fold)
    if method != BASE:
        reading = base_task.with_objective(reading, names.method(method).base)
    base = _base(reading)
    stored, increment, network = Stored(reading, base, base, reading.base_mask()), None, reading.network
    if method != BASE:
        network = dataclasses.replace(network, mirrored=parts.effective(config, names.method(method)).mirrored)
        learned, penalties, increment = _continued(reading, base, method, order)
        drawn = protocol.class_orders(len(class_names) - config.data.n_base, config.protocol.n_orders,
                                      config.protocol.order_seed)  # fmt: skip
        learned_at = protocol.learned_at(drawn[order], config.data.n_base, config.protocol.classes_per_increment)
        mask = protocol.class_mask(learned_at, increment + 1)
        stored = Stored(reading, base, learned.params, mask, learned, penalties)
    return Trained(
        workdir, config, network, stored.params, class_names, stored.class_mask, method, fold, order, increment,
        stored,
    )  # fmt: skip


def _with_taught(
    taught: Taught,
    method: str | None,
    fold: int | None,
    order: int | None,
    places: Mapping[str, str] | None = None,
) -> Trained:
    taught.check_choice(method, fold, order)
    if not (taught.workdir / "config.json").is_file():
        lay = os.path.relpath(taught.workdir, taught.folder.resolve())
        raise UserError(
            f"--workdir {taught.folder} was taught from a run that lay at {lay} (now {taught.workdir}), which is not "
            "there; move it back"
        )
    model = restore_network(taught.workdir, taught.method, taught.fold, taught.order, places)
    if model.digest != taught.model_sha256:
        raise UserError(
            f"--workdir {taught.folder} was taught from a model that {taught.workdir} has no more, because its run "
            "went on; teach it again"
        )
    shape = model.network.backbone.feature_width, len(taught_models.columns(model.class_names, taught.names))
    if taught.linear.kernel.shape != shape:
        raise UserError(
            f"--workdir {taught.folder} is damaged (its kernel is {taught.linear.kernel.shape}, and its run and "
            f"classes need {shape}); teach it again"
        )
    return taught_classes(model, taught)


def taught_classes(model: Trained, taught: Taught) -> Trained:
    """Returns a run's model, its network, with the classes that a user taught."""
    class_names = taught_models.columns(model.class_names, taught.names)
    known = {*model.known_names, *taught.names}
    network, params = linear_head.headed(model.network, model.params["backbone"], taught.linear)
    return dataclasses.replace(
        model, network=network, params=params, class_names=class_names, answers=taught.learned["classifier"],
        class_mask=np.array([name in known for name in class_names]), taught=taught,
    )  # fmt: skip


def _answering(model: Trained, data: FaceArrays | None) -> Trained:
    """Returns the model with the method's own classifier as its head, if that is linear in the features.

    Raises:
      UserError: it reads exemplars, and the data of the run are not there any more, or have changed.
    """
    own, stored = model.own_classifier, model.stored
    if own is None or own.linear is None or own.reads != "features":
        return model
    given = (stored.penalties[own.name],) if own.penalties else ()
    if own.reads_stored:
        backbone, linear = model.params["backbone"], _of_exemplars(model, own, given, data)
    else:  # statistics of the base model's features
        backbone, linear = stored.base["backbone"], own.linear(stored.learned.statistics, *given)
    network, params = linear_head.headed(model.network, backbone, linear)
    return dataclasses.replace(model, network=network, params=params, answers=own.name)


def _of_exemplars(model: Trained, own: Classifier, given: tuple[float, ...], data: FaceArrays | None) -> Linear:
    """Returns the linear form of a classifier of exemplars, made once and saved in `heads/`."""
    index = np.asarray(model.stored.learned.memory.index)
    path = model.workdir / "heads" / f"{model.name}.npz"
    facts = {"classifier": own.name, "penalty": given, "mirrored": model.network.mirrored}
    stamp = checkpoints.digest({"params": model.params, "memory": index}, facts)
    built_in = own is CLASSIFIERS.get(own.name)  # a user's own may have been changed
    if built_in and (saved := linear_head.read(path, stamp)) is not None:
        return saved
    data, _ = load_data(model, data)
    seen = features(model, data.image[np.maximum(index, 0).reshape(-1)])
    exemplars = Exemplars(jax.device_put(seen.reshape(*index.shape, -1)), jax.device_put(index >= 0))
    linear = own.linear(exemplars if own.fit is None else own.fit(exemplars), *given)
    if built_in:
        linear_head.write(path, stamp, linear)
    return linear


def run_config(workdir: pathlib.Path, places: Mapping[str, str] | None = None) -> ml_collections.FrozenConfigDict:
    """Reads the resolved config of a run's workdir.

    Args:
      places: replace where the data set lies, as in `restore`.

    Raises:
      UserError: it is not the workdir of a run, its data set has no such place, its config is of another version,
        or names a module of the user's own that was neither named on this command line nor trusted
        (`dotted.trusting`).
    """
    path = workdir / "config.json"
    if (workdir / "sweep.json").exists():
        raise UserError(f"--workdir {workdir} is a sweep's; it may be that of one of its cells in {workdir / 'cells'}")
    if not path.is_file():
        raise UserError(f"--workdir {workdir} is not that of a run: it has no config.json; it may be a --workdir "
                        "of fer-jax train")  # fmt: skip
    config = ml_collections.ConfigDict(configs.nested(read_json(path) | dict(places or {})))
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
    try:
        there = read_json(trained.workdir / "origin.json").get("data_sha256")
    except FileNotFoundError:
        raise UserError(f"--workdir {trained.workdir} has no origin.json, which says what its data set was") from None
    if data.with_class_targets().checksum(parts.targets(trained.config)) != there:
        raise UserError(f"the data set of --workdir {trained.workdir} has changed since it was trained on")
    p = trained.config.protocol
    return data, protocol.split(
        data.subject, trained.fold, p.n_folds, p.name, data.official_test, data.label, data.official_validation
    )


@dataclasses.dataclass(frozen=True)
class _Reading(Fold):
    """What reading a checkpoint takes of a fold: no data. All that is made of a model is computed in float32."""

    @classmethod
    def of(cls, workdir: pathlib.Path, config, names: tuple[str, ...], fold: int) -> "_Reading":
        size, none = config.data.image_size, np.zeros(0, np.int32)
        data = FaceArrays(np.zeros((0, size, size, 3), np.uint8), none, none, names, _units(workdir))
        return cls(
            config, data, build_network(config, len(names), "float32"), data.image, none, fold,
            protocol.Split(none, none, none), workdir / "checkpoints", None, Saving(),
        )  # fmt: skip


def _units(workdir: pathlib.Path) -> dict:
    """Returns the action units that the run's data had, which heads and statistics of units are as wide as."""
    there = results.read(workdir)["data"].get("metadata", {}) if (workdir / "results.json").exists() else {}
    return {UNITS: there[UNITS]} if UNITS in there else {}


def _method(config, method: str | None) -> str:
    if method is None:
        return config.methods[0]
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
    stages = {stage.name for stage in base_task.schedule(fold.config)}
    if done is None or set(done.meta["stages"]) != stages:
        raise _unfinished(workdir, f"base task of fold {fold.number}")
    return done.state["params"]


def _continued(fold: _Reading, base: Params, method: str, order: int) -> tuple[Learned, dict[str, float], int]:
    """Returns what the last finished increment left, the penalties of its classifiers, and its number."""
    workdir = fold.checkpoints.parent
    with Checkpoints(_part(workdir, fold.number, method, order)) as steps:
        if not steps.steps():
            raise _unfinished(
                workdir,
                f"increment of {method}, fold {fold.number}, order {order}",
                f", --method {BASE} is the base model",
            )
        how = parts.effective(fold.config, names.method(method))
        if not how.trains and getattr(how.answers_by[0], "linear", None) is None:
            raise UserError(
                f"--method is {method!r}, which trains no network, and whose classifier is not linear in the base "
                f"model's features; it may be another, or {BASE}"
            )
        n_images, capacity = _saved_sizes(steps)
        try:
            done = steps.latest(parts.saved_like(fold, base, how, n_images, capacity))
        except CheckpointError as error:
            made_in = read_json(workdir / "origin.json").get("checkpoint_format")
            if made_in == CHECKPOINT_FORMAT or OTHER_ARRAYS not in str(error):
                raise
            raise UserError(
                f"--workdir {workdir} has checkpoints of format {made_in}, whose {method} cannot be read in format "
                f"{CHECKPOINT_FORMAT}; train it again"
            ) from error
    learned = parts.restored(fold, base, how, done.state)
    return learned, done.meta["steps"][-1].get("penalties", {}), done.number


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


@functools.partial(jax.jit, static_argnames="network")
def _features(params: Params, images: jax.Array, network: Network) -> jax.Array:
    return network.trunk(params, images.astype(jnp.float32) / 255.0, "head")


def features(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Computes features f32[N, D] of images u8[N, H, W, 3]."""
    params = {"backbone": trained.params["backbone"]}
    network = dataclasses.replace(trained.network, head=trained.stored.fold.network.head)  # one program for all heads
    return in_batches(lambda some: _features(params, some, network), images)


def scores(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Computes logits f32[N, C] of images u8[N, H, W, 3], by `features`."""
    return np.asarray(trained.network.head_logits(trained.params["head"], features(trained, images)))


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
