"""An experiment: the three phases in order, for every fold; finished work is not repeated."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import protocol, replay
from fer_jax.config import names
from fer_jax.data import residency
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.data.load import load
from fer_jax.errors import DeviceMemoryError, UserError
from fer_jax.models import backbones, precision
from fer_jax.phases import base as base_task
from fer_jax.phases import base_models, continual, few_shot, forms, part, plan, trunk_cache
from fer_jax.phases.fold import Fold, Params, build_network
from fer_jax.runs import processes, results
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.environment import commit, prepare_environment
from fer_jax.runs.progress import Progress, log
from fer_jax.runs.trackers import DEFAULT, Tracked, Tracker
from fer_jax.runs.workdir import check_origin, claim, locked, moved
from fer_jax.training import devices


def train(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    console=None,
    saving: Saving | None = None,
    shared: pathlib.Path | None = None,
    then: Callable[[pathlib.Path, FaceArrays], None] | None = None,
    tracker: str | Tracker = DEFAULT,
) -> dict:
    """Runs `config` in `workdir`, and writes and returns results.json.

    Checkpoints make it repeatable: the same call goes on where the last one stopped.

    Args:
      shared: a folder of base models that runs share; without it every run trains its own. The results are the same.
      then: is called with the workdir and the data set once the results are written, by the process that wrote them
        and while the workdir is still locked.
      tracker: where scalars and results go, a name as `trackers.named` takes it or a tracker.

    Raises:
      ConfigError: a config that cannot be run, or a workdir of another config, data set or version, or with another
        run in it; nothing is written then.
      CheckpointError: no checkpoint of a part is whole, or one could not be written.
      Interrupted: the run was asked to end.
      FloatingPointError: a loss that is not finite.
      DeviceMemoryError: a step does not fit.
      UserError: weights that cannot be read or are another network's, or no such tracker; nothing is written then.
    """
    prepare_environment()
    commit()
    configs.check(config)
    config = configs.resolve(config)
    saving = saving or Saving()
    with contextlib.ExitStack() as stack:
        tracked = stack.enter_context(processes.by_each(lambda: Tracked(tracker if processes.leads() else None)))
        resumed = processes.by_leader(lambda: _enter(workdir, config, stack))
        run_results, data = _train(config, workdir, console, saving, stack, resumed, shared, tracked)
        if then and processes.leads():
            then(workdir, data)
        tracked.end(run_results)
    return run_results


def _enter(workdir: pathlib.Path, config, stack: contextlib.ExitStack) -> bool:
    """Claims and locks a workdir that is there; returns whether it is."""
    resumed = claim(workdir, config, write=False)
    if resumed:
        stack.enter_context(locked(workdir))
    return resumed


def _begin(workdir: pathlib.Path, config, stack: contextlib.ExitStack) -> None:
    """Makes, locks and claims a new workdir."""
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locked(workdir))
    claim(workdir, config, write=True)
    forms.begin(workdir / "checkpoints")


def _load(config, shared: pathlib.Path | None) -> tuple[FaceArrays, str]:
    """Loads the data set, and returns it with the checksum of what the run reads of it.

    Of several processes the first prepares it, and all must have the same.

    Raises:
      UserError: they have not, or an objective asks for a target that the data set does not have.
    """
    first: list[FaceArrays] = []

    def prepare() -> str:
        first.append(base_models.once(shared, "data_set", lambda: load(config.data).with_class_targets()))
        return first[0].checksum(_targets(config, first[0]))

    expected = processes.by_leader(prepare)

    def read() -> FaceArrays:
        data = first[0] if first else load(config.data).with_class_targets()
        sha256 = data.checksum(_targets(config, data))
        if sha256 != expected:
            raise UserError(f"process {jax.process_index()} has other data than the first ({sha256}, {expected})")
        return data

    data = processes.by_each(read)
    _check_pictures(config, data)
    return data, expected


def _targets(config, data: FaceArrays) -> list[str]:
    """Returns the names of the targets that the run reads.

    Raises:
      UserError: the data set does not have one of them.
    """
    wanted, reader = part.targets(config), part.reading_units(config)
    if reader and UNITS not in data.targets:
        raise UserError(
            f"{reader} reads action units, and {config.data.name} has none; config.data.units.path may be a table of "
            "them"
        )
    if missing := set(wanted) - set(data.targets):
        there = ", ".join(sorted(data.targets)) or "none"
        raise UserError(f"an objective asks for the target {min(missing)!r}; {config.data.name} has {there}")
    return wanted


def _check_pictures(config, data: FaceArrays) -> None:
    """Refuses pictures as targets where images are streamed, which every process asks all others."""
    wanted = [name for name in part.targets(config) if data.targets[name].ndim == 4]
    if wanted and _stay(config, data.image, *(data.targets[name] for name in wanted)):
        raise UserError(
            f"an objective asks for pictures as a target ({', '.join(wanted)}), which are not streamed; with "
            "config.data.residency device they and the images may be there"
        )


def _stay(config, *pictures: np.ndarray) -> bool:
    """Returns True if these together stay on the host, in any process."""
    return processes.anywhere(residency.stays_on_host(config.data.residency, sum(one.nbytes for one in pictures)))


def _train(config, workdir, console, saving, stack, resumed, shared, tracked) -> tuple[dict, FaceArrays]:
    weights = processes.by_each(lambda: backbones.load_weights(config.model))
    data, sha256 = _load(config, shared)
    n_new = len(data.class_names) - config.data.n_base
    drawn = protocol.class_orders(n_new, config.protocol.n_orders, config.protocol.order_seed)
    orders = protocol.numbered_orders(drawn, config.protocol.orders)
    network, used_precision = build_network(config, len(data.class_names)), precision.used(config.model.precision)
    _check_folds(config, data)
    part.check_answers(config, data.class_names)
    splits = {fold: _split(config, data, fold) for fold in config.protocol.folds}
    for fold, split in splits.items():
        _check_split(data, fold, split)
        _check_memory(config, len(data.class_names), fold, split)
        trunk_cache.check_size(config, network, data.image.shape, split, *_cached_cuts(config))
    if not resumed:
        processes.by_leader(lambda: _begin(workdir, config, stack))
    processes.by_leader(lambda: check_origin(workdir, sha256, used_precision))
    if resumed:
        processes.by_leader(lambda: moved(workdir, config))
        log.info("going on in %s with what is finished there", workdir)
    if weights:
        log.info("the network starts from the weights of %s, sha256 %s", config.model.weights, weights.sha256)
    else:
        log.info("the network starts from random weights (config.model.weights is none)")
    with (
        Progress(tracked.begin(workdir, configs.flatten(config)), console, file=_progress_file(workdir)) as progress,
        _explained(config, workdir, progress),
        saving.interruption.deferred(),
    ):
        images, labels = _placed(config, data), devices.placed(jnp.asarray(data.label))
        folds = {
            fold: Fold(
                config,
                data,
                network,
                images,
                labels,
                fold,
                split,
                workdir / "checkpoints",
                progress,
                saving,
                weights,
                shared,
            )
            for fold, split in splits.items()
        }
        progress.plan(plan.planned(config, folds, orders))
        phases = run_phases(config, folds, orders)
    run_results = results.assemble(config, data, phases, orders)
    run_results["seconds"]["saving"] = saving.seconds
    if processes.leads():
        results.write_changed(workdir / "results.json", run_results)
    return run_results, data


def _progress_file(workdir: pathlib.Path) -> pathlib.Path | None:
    return workdir / "progress.jsonl" if processes.leads() else None


def _placed(config, data: FaceArrays) -> np.ndarray | jax.Array:
    """The images on the devices, or as they are on the host; in all processes alike."""
    if not _stay(config, data.image):
        return devices.placed(jnp.asarray(data.image))
    log.info("the images, %.2f GB, stay on the host and are streamed", data.image.nbytes / 1e9)
    return data.image


@contextlib.contextmanager
def _explained(config, workdir: pathlib.Path, progress: Progress) -> Iterator[None]:
    """Adds to an error where in a run it was raised, and what to do."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{progress.unit}, {error}; the last good state is kept in {workdir / 'checkpoints'}, "
            "a lower learning rate in another workdir may help"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DeviceMemoryError(
            f"{progress.unit or 'placing the images'}: the device is out of memory; {_lower(config, progress.unit)}, "
            f"in another workdir ({str(error).splitlines()[0][:160]})"
        ) from error


def _lower(config, unit: str) -> str:
    """What takes less of the device's memory, by what the run was at."""
    if not unit:
        return "take config.data.residency=host or lower config.data.image_size"
    phase = unit.split(" ")[0].replace("-", "_")
    together = phase == "continual" and config.continual.side_by_side > 1
    cached = phase == "continual" and config.feature_cache.views
    return (
        f"lower {'config.continual.side_by_side, ' if together else ''}"
        f"{'config.feature_cache.views, ' if cached else ''}config.{phase}.batch_size or "
        "config.data.image_size, or take config.data.residency=host"
    )


def run_phases(config, folds: dict[int, Fold], orders: dict[int, np.ndarray]) -> list[dict]:
    """Runs the base task of every fold, then increments and few shots of the folds that continue."""
    based = {number: base_models.run(fold) for number, fold in folds.items()}
    measured = []
    for number, (params, base) in based.items():
        params = devices.placed(params)
        phase = {"fold": number, "basic": base, "bases": {}, "base_of": {}, "continual": {}, "few_shot": []}
        if number in _continued(config, based):
            bases = {folds[number].basic: params}
            for name in config.methods:
                method = names.method(name)
                fold = _based(folds[number], method.base, bases, phase)
                if fold is not folds[number]:
                    phase["base_of"][name] = method.base
                phase["continual"][name] = continual.run_all(fold, bases[fold.basic], method, orders)
            if config.few_shot.shots:
                fold = _based(folds[number], config.few_shot.base, bases, phase)
                phase["few_shot"] = few_shot.run(fold, bases[fold.basic])
        folds[number].cache.clear()
        measured.append(phase)
    return measured


def _based(fold: Fold, objective: str, bases: dict[str, Params], phase: dict) -> Fold:
    """Returns the fold with a base objective, whose base model is trained if it is not among `bases` yet."""
    fold = base_task.with_objective(fold, objective)
    if fold.basic not in bases:
        params, phase["bases"][objective] = base_models.run(fold)
        bases[fold.basic] = devices.placed(params)
    return fold


def _continued(config, based: dict[int, tuple]) -> list[int]:
    """The folds whose base model goes on: all, or as the published code has it the best one."""
    if config.protocol.name == "published":
        return [max(based, key=lambda fold: based[fold][1]["validation_accuracy"])]
    return list(based)


def _check_folds(config, data) -> None:
    official = [rows for rows in (data.official_test, data.official_validation) if rows is not None]
    foldable = data.subject[~np.any(official, axis=0)] if official else data.subject
    n_subjects = len(np.unique(foldable))
    if config.protocol.n_folds > n_subjects:
        raise configs.ConfigError(
            f"config.protocol.n_folds is {config.protocol.n_folds}; "
            f"it may be at most the number of subjects, {n_subjects}"
        )


def _check_memory(config, n_classes: int, fold: int, split: protocol.Split) -> None:
    m, per_increment = config.memory, config.protocol.classes_per_increment
    least = min(
        replay.exemplars_per_class(
            len(split.train), n_classes, config.data.n_base, i, m.mode, config.protocol.name, m.share, per_increment
        )
        for i in range(protocol.n_increments(n_classes - config.data.n_base, per_increment))
    )
    if least < 1:
        raise configs.ConfigError(
            f"config.memory.share is {m.share}; of {len(split.train)} training images in fold {fold} that is less than "
            f"one a class; it may be from {n_classes / len(split.train):.4f}"
        )
    reserving = [name for name in config.methods if part.effective(config, names.method(name)).reserved]
    if least < 2 and reserving:
        raise configs.ConfigError(
            f"config.memory.share is {m.share}; in fold {fold} a class has one exemplar at times, and {reserving[0]} "
            "reserves some of them and trains on the others: there may be two or more"
        )


def _cached_cuts(config) -> tuple[list[str], list[str]]:
    """Returns the cuts at which a trunk's output is cached, one for every base model that is cut there, and those of
    them at which mirror images are, too.
    """
    effective = [part.effective(config, names.method(name)) for name in config.methods]
    read = [(method.base, config[method.settings].cut, method.mirrored) for method in effective]
    if config.few_shot.shots:
        read.append((config.few_shot.base, config.continual.cut, False))
    named = {(base_task.folder(config, base), cut, mirrored) for base, cut, mirrored in read if cut != "input"}
    every, mirrored = {one[:2] for one in named}, {one[:2] for one in named if one[2]}
    return sorted(cut for _, cut in every), sorted(cut for _, cut in mirrored)


def _split(config, data: FaceArrays, fold: int) -> protocol.Split:
    p = config.protocol
    return protocol.split(
        data.subject, fold, p.n_folds, p.name, data.official_test, data.label, data.official_validation
    )


def _check_split(data, fold: int, split: protocol.Split) -> None:
    for name in ("train", "validation", "test"):
        counts = np.bincount(data.label[getattr(split, name)], minlength=len(data.class_names))
        if not counts.all():
            c = int(counts.argmin())
            raise configs.ConfigError(f"fold {fold} has no {name} images of {data.class_names[c]}{_remedy(data, c)}")


def _remedy(data, c: int) -> str:
    """Says what gives a class images in every part of a split; fewer folds cannot where it has too few subjects."""
    n_subjects = len(np.unique(data.subject[data.label == c]))
    n_images = int(np.sum(data.label == c))
    of = f" (the data set has {n_images}, of {n_subjects} subjects)"
    leave_out = "config.data.exclude leaves the class out"
    fixed = data.official_test is not None or data.official_validation is not None
    folds = "" if n_subjects < 3 or fixed else "fewer config.protocol.n_folds may help, or "
    return f"{of}; {folds}{leave_out}"
