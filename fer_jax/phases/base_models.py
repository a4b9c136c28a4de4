"""Base models that several runs share: trained once by the first that needs one, copied by the others.

A shared folder holds `<digest>/` for everything that a base task depends on, with the checkpoints of its folds, a lock
and a mark for each. It works between processes and, on a file system that they share, between machines.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

from fer_jax.config import base_settings, dotted, flatten
from fer_jax.errors import UserError
from fer_jax.models import precision
from fer_jax.phases import base as base_task
from fer_jax.phases.fold import Fold, Params
from fer_jax.runs import processes, results
from fer_jax.runs import workdir as workdirs
from fer_jax.runs.lock import Lock, NoLocks
from fer_jax.runs.progress import log

POLL_SECONDS = 0.5


def digest(flat: dict[str, Any]) -> str:
    """Computes 16 hexadecimal digits of everything that a flat resolved config says about the base model.

    A module of the user's that it names counts by its content.
    """
    settings = base_settings(flat)
    described = [settings, found] if (found := dotted.sources(settings.values())) else settings
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def run(fold: Fold) -> tuple[Params, dict]:
    """Trains or restores the base model that runs of the same base task share; as `base.run`.

    Without `fold.shared` this run trains one of its own.

    Raises:
      UserError: the model there is of other data, another version or other pretrained weights, or is damaged.
      Interrupted: the run was asked to end, perhaps while it waited for another one's training.
    """
    own = fold.checkpoints / f"fold{fold.number}" / fold.basic
    if fold.shared is None or processes.by_leader(own.exists):
        return base_task.run(fold)
    flat = flatten(fold.config)
    folder = fold.shared / digest(flat)
    mark = folder / f"fold{fold.number}.done"
    trained = None
    try:
        # Looked at before and again under the lock: many runs that find it there do not queue.
        if not processes.by_leader(mark.exists):
            processes.by_leader(lambda: folder.mkdir(parents=True, exist_ok=True))
            with _held(folder / f"fold{fold.number}.lock", f"base model of fold {fold.number}", fold.saving):
                if not processes.by_leader(mark.exists):
                    processes.by_leader(lambda: _describe(folder, flat, fold))
                    trained = base_task.run(
                        dataclasses.replace(fold, checkpoints=folder / "checkpoints", basic="basic")
                    )
                    processes.by_leader(mark.touch)
    except NoLocks as error:
        log.warning("%s cannot be locked (%s): this run trains a base model of its own", folder, error)
        return base_task.run(fold)
    processes.by_leader(lambda: _describe(folder, flat, fold))
    processes.by_leader(lambda: _copy(folder / "checkpoints" / f"fold{fold.number}" / "basic", own))
    if trained:
        return trained
    log.info("basic fold %d: the base model in %s", fold.number, folder)
    return base_task.run(fold)


def once(shared: pathlib.Path | None, name: str, make: Callable[[], Any]) -> Any:
    """Returns what `make` returns; the first of several processes calls it alone, because it may prepare files for all.

    Args:
      shared: where they meet; None does not wait for others.
    """
    if shared is None:
        return make()
    mark = shared / f"{name}.done"
    if mark.exists():
        return make()
    shared.mkdir(parents=True, exist_ok=True)
    try:
        with _held(shared / f"{name}.lock", name.replace("_", " ")):
            made = make()
            mark.touch()
            return made
    except NoLocks:
        return make()


@contextlib.contextmanager
def _held(path: pathlib.Path, what: str, saving=None) -> Iterator[None]:
    """Waits until this run has the lock; all processes of the run go along with the first one.

    Raises:
      Interrupted: the run was asked to end; with `saving`, which every process then gives.
      NoLocks: there are none here.
    """
    lock, told = Lock(path), False

    def take() -> bool | str:
        try:
            return lock.take()
        except NoLocks as error:
            return str(error)

    ask = processes.by_leader if saving else lambda function: function()
    while (taken := ask(take)) is not True:
        if isinstance(taken, str):
            raise NoLocks(taken)
        if not told:
            told = True
            log.info("waiting for the %s, which another run makes (%s)", what, ask(lock.holder))
        if saving and saving.interruption.requested():
            saving.interruption.end()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _describe(folder: pathlib.Path, flat: dict[str, Any], fold: Fold) -> None:
    """Says what the folder is of, and that it is of the same data and version as this run."""
    if not (folder / "config.json").exists():
        results.write_json(folder / "config.json", base_settings(flat))
    workdirs.check_origin(
        folder,
        fold.data.checksum({name for one in base_task.objectives_of(fold.config) for name in one.targets}),
        precision.used(fold.config.model.precision),
    )


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a folder whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):  # by a run that was killed here; nobody else is in its workdir
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        temporary.rename(target)
    except OSError as error:
        raise UserError(f"the base model in {source} cannot be copied to {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
