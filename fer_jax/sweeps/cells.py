"""The cells of a sweep on disk: their folders, their progress, and how one is run."""

import pathlib
from typing import NamedTuple

from fer_jax.errors import UserError
from fer_jax.runs import files, results
from fer_jax.runs.workdir import FAILURE, LOG, InUse, claim_as
from fer_jax.sweeps.axes import Sweep

SWEEP = "sweep.json"
STATES = ("finished", "begun", "failed", "broken", "missing")


class State(NamedTuple):
    """One of STATES, and why a cell failed or what is wrong with its results, in one line."""

    word: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def claim(workdir: pathlib.Path, sweep: Sweep, write: bool) -> bool:
    """Checks that a folder is new or of this very sweep, and marks it as such if `write` is set.

    Returns:
      whether it was begun there before.

    Raises:
      ConfigError: it is of another sweep, the differences are listed, or it holds something else.
    """
    return claim_as(workdir, SWEEP, sweep.described(), write)


def folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns a cell's own workdir."""
    return workdir / "cells" / name


def shared(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the base models that the cells share."""
    return workdir / "base"


def log_file(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the log file of a cell's process."""
    return folder(workdir, name) / LOG


def state(workdir: pathlib.Path, name: str) -> State:
    """Reads how far a cell got."""
    there = folder(workdir, name)
    if (there / "results.json").exists():
        try:
            results.read(there)
        except UserError as error:
            return State("broken", str(error))
        return State("finished")
    try:
        return State("failed", (there / FAILURE).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return State("begun" if (there / "config.json").exists() else "missing")


def unfinished(workdir: pathlib.Path, sweep: Sweep) -> list[int]:
    """Returns the numbers of the cells that are still to run, or to run again."""
    return [number for number, name in enumerate(sweep.names) if state(workdir, name).word != "finished"]


def fail(workdir: pathlib.Path, name: str, reason: str) -> None:
    """Records why a cell failed."""
    there = folder(workdir, name)
    there.mkdir(parents=True, exist_ok=True)
    files.write(there / FAILURE, f"{reason}\n")


def run(
    sweep: Sweep, number: int, workdir: pathlib.Path, console=None, saving=None, then=None, tracker="tensorboard"
) -> bool:
    """Runs one cell, or resumes it; returns whether there was anything to do.

    Args:
      then, tracker: as `experiment.train` has them.

    Raises:
      InUse: another process is at work in it.
      UserError, FloatingPointError, DeviceMemoryError: as `experiment.train`; the reason is written down.
      Interrupted: the run was asked to end.
    """
    from fer_jax import experiment
    from fer_jax.runs import processes

    name = sweep.names[number]
    processes.by_leader(lambda: claim(workdir, sweep, write=True))
    if processes.by_leader(lambda: state(workdir, name).word) == "finished":
        return False
    there = folder(workdir, name)
    if processes.leads():
        (there / FAILURE).unlink(missing_ok=True)
    try:
        experiment.train(sweep.cell(number), there, console, saving, shared(workdir), then, tracker)
    except InUse:
        raise
    except Exception as error:
        if processes.leads():
            fail(workdir, name, one_line(error))
        raise
    return True


def one_line(error: Exception) -> str:
    """Returns the first line of an error, with its type unless it is the user's mistake."""
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")
