"""A run's folder: which config it belongs to, which process uses it, and what made it."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator

import jax
import ml_collections

from fer_jax import config as configs
from fer_jax.config import ConfigError
from fer_jax.errors import PassingError
from fer_jax.runs import results
from fer_jax.runs.lock import Lock, NoLocks
from fer_jax.runs.progress import log

# Raised when checkpoints of before can no longer be read, or would no longer lead to the same results.
CHECKPOINT_FORMAT = 3
LOCK = ".lock"
# Files that a sweep writes to the workdir of a cell that may not have been begun.
LOG, FAILURE = "log.txt", "failed.txt"


class InUse(PassingError):
    """An error: another run uses the workdir."""


def claim(workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, write: bool) -> bool:
    """Checks that a workdir is empty or belongs to this config, and marks it as such if `write` is set.

    Returns:
      whether a run was begun there before.

    Raises:
      ConfigError: its checkpoints are of another version, it is of another config (the differences are listed), or it
        holds something else.
    """
    origin = workdir / "origin.json"
    if origin.is_file() and (made_in := read(origin).get("checkpoint_format")) != CHECKPOINT_FORMAT:
        raise ConfigError(
            f"--workdir {workdir} has checkpoints of format {made_in}, and training goes on in format "
            f"{CHECKPOINT_FORMAT}; take another folder"
        )
    return claim_as(workdir, "config.json", configs.flatten(config), write)


def claim_as(workdir: pathlib.Path, name: str, wanted: dict, write: bool) -> bool:
    """Claims a workdir as `claim` does, by another file than config.json and by any flat dict.

    Several processes may claim a new folder at once. Data may lie elsewhere than before: `check_origin` compares what
    they are.
    """
    path = workdir / name
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir {workdir} is a file; it may be a folder, new or of the same config")
    # Looked at first: who claims a folder writes this file before any other.
    others = workdir.is_dir() and any(
        p.name not in (LOCK, LOG, FAILURE) and not p.name.startswith((f".{name}", f".{FAILURE}"))
        for p in workdir.iterdir()
    )
    if path.exists():
        there, here = (
            configs.without_defaults(flat, of=wanted) for flat in (read(path), json.loads(json.dumps(wanted)))
        )
        different = _differences(*(_without_places(flat) for flat in (there, here)))
        if different:
            raise ConfigError(
                f"--workdir {workdir} is of another config: {different}; take another folder or that config"
            )
        return True
    if others:
        raise ConfigError(
            f"--workdir {workdir} holds other files; it may be a new or empty folder, or one of the same config"
        )
    _check_writable(workdir)
    if write:
        workdir.mkdir(parents=True, exist_ok=True)
        results.write_json(path, wanted)
    return False


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Locks an existing workdir against other runs; the lock goes with the process, however it ends.

    Raises:
      InUse: another run is at work there.
    """
    lock = Lock(workdir / LOCK)
    try:
        if not lock.take():
            raise InUse(
                f"--workdir {workdir} is in use by another run ({lock.holder()}); wait for it, or take another folder"
            )
    except NoLocks as error:
        # Better to run unguarded than not at all.
        log.warning("%s cannot be locked (%s): do not start a second run there", workdir, error)
    try:
        yield
    finally:
        lock.release()


def outwait(workdir: pathlib.Path, seconds: float) -> None:
    """Waits until a workdir is free, for at most `seconds`; does not wait for a holder known to be alive.

    A file server holds the lock of a machine that died until its lease ends; from another machine the holder looks
    as if it were at work.
    """
    lock, end, logged = Lock(workdir / LOCK), time.monotonic() + seconds, False
    with contextlib.suppress(NoLocks):
        while lock.path.exists() and not lock.take():
            if lock.seen() or time.monotonic() >= end:
                return
            if not logged:
                log.info("%s is held by %s: waiting up to %.0f s for it", workdir, lock.holder(), seconds)
                logged = True
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    lock.release()


def check_origin(workdir: pathlib.Path, data_sha256: str, computed_in: str = "float32") -> None:
    """Records the data and versions of a claimed workdir, or checks that they are unchanged.

    Another version of JAX, another kind or number of devices or processes, another processor or number of its threads
    where that is the device, or another precision is warned of only: the run goes on, and not bit for bit.

    Raises:
      ConfigError: other data, another version of fer_jax or of its checkpoints; the differences are listed.
    """
    path = workdir / "origin.json"
    environment = results.environment(computed_in)
    packages = environment["packages"]
    must = {
        "data_sha256": data_sha256,
        "fer_jax": packages["fer-jax"],
        "checkpoint_format": CHECKPOINT_FORMAT,
    }
    should = {
        "jax": packages["jax"],
        "jaxlib": packages["jaxlib"],
        "device": environment["device"]["kind"],
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "precision": environment["precision"],
    }
    if environment["device"]["platform"] == "cpu":
        should["cpu"] = "{model}, {instructions}".format(**environment["cpu"])
        should["cpu_version"] = environment["cpu"]["version"]
        should["threads"] = environment["cpu"]["threads"]
    if not path.exists():
        results.write_json(path, {**must, **should})
        return
    there = read(path)
    different = _differences({key: there.get(key) for key in must}, must)
    if different:
        raise ConfigError(f"--workdir {workdir} is of other data or another version: {different}; take another folder")
    # Workdirs of before did not note all of it.
    added = ("devices", "processes", "cpu", "cpu_version", "threads")
    noted = {key: value for key, value in should.items() if key in there or key not in added}
    different = _differences({key: there.get(key) for key in noted}, noted)
    if different:
        log.warning("%s: the run goes on, but not bit for bit as it would have", different)


def read(path: pathlib.Path) -> dict:
    """Reads a JSON file that a run wrote to its workdir.

    Raises:
      ConfigError: it is not that.
    """
    try:
        there = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is not readable as JSON ({error})") from None
    if not isinstance(there, dict):
        raise ConfigError(f"{path} is not what fer-jax train wrote there; take another --workdir")
    return there


def moved(workdir: pathlib.Path, config: ml_collections.FrozenConfigDict) -> None:
    """Writes the places of the data to a workdir's config.json, once `check_origin` found the data unchanged."""
    there, here = read(workdir / "config.json"), configs.flatten(config)
    new = {key: here[key] for key in configs.PLACES if key in here and here[key] != there.get(key)}
    for key, place in new.items():
        log.info("config.%s was %s and is %s; the data are the same", key, there.get(key), place)
    if new:
        results.write_json(workdir / "config.json", there | new)


def _without_places(flat: dict) -> dict:
    """Leaves out where data lie, of a run's config and of a sweep's."""
    return {key: value for key, value in flat.items() if not key.endswith(configs.PLACES)}


def _differences(there: dict, here: dict) -> str:
    return "; ".join(
        f"{key} {there.get(key, 'missing')!r} there, {here.get(key, 'missing')!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key, KeyError) != here.get(key, KeyError)
    )


def _check_writable(workdir: pathlib.Path) -> None:
    there = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ConfigError(f"--workdir {workdir} lies under {there}, which is a file; it may be under a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--workdir {workdir}: {there} cannot be written to; it may be a folder of your own")
