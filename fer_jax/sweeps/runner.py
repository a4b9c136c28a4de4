"""Runs the cells of a sweep on this machine, several at a time, each in a subprocess that writes to the cell's log."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fer_jax.errors import Interrupted
from fer_jax.runs.environment import threads
from fer_jax.runs.interruption import SIGNALS
from fer_jax.runs.progress import Bar, log
from fer_jax.sweeps import cells
from fer_jax.sweeps.axes import Sweep

POLL_SECONDS = 0.1
ASKED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class Relay:
    """Collects signals for the children, which then end in order; raises nothing."""

    def __enter__(self) -> "Relay":
        self.received: list[int] = []
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame) -> None:
        self.received.append(number)


class Cell(NamedTuple):
    """A cell at work: its process, when it began, where its part of the log starts, and which cores are its own."""

    process: subprocess.Popen
    began: float
    start: int
    cores: list[int]


def shared_out(jobs: int) -> list[list[int]]:
    """Splits the cores of this process among so many cells; names none where there are not enough for all.

    Threads of several processes on one core wait for each other.
    """
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if not 1 < jobs <= len(mine):
        return [[] for _ in range(jobs)]
    return [part.tolist() for part in np.array_split(mine, jobs)]


class Runner:
    """Runs cells of a sweep.

    Args:
      command: gives the command line of the cell of a number.
      jobs: how many at a time, each on cores of its own.
    """

    def __init__(self, sweep: Sweep, workdir: pathlib.Path, command: Callable[[int], list[str]], jobs: int):
        self._names, self._workdir, self._command, self._jobs = sweep.names, workdir, command, jobs
        self._running: dict[int, Cell] = {}
        self._free = shared_out(jobs)
        self._failed: dict[str, str] = {}
        self._saved = True

    def run(self, numbers: list[int], console=None) -> dict[str, str]:
        """Runs these cells; a cell that fails stops no other.

        Returns:
          the names of those that are not finished, and why.

        Raises:
          Interrupted: a signal came, and every child received it and has ended.
        """
        todo, passed_on = list(numbers), 0
        with Relay() as relay, Bar("cells", len(numbers), console) as bar:
            while self._running or (todo and not relay.received):
                while todo and len(self._running) < self._jobs and not relay.received:
                    self._start(todo.pop(0), bar)
                for number in relay.received[passed_on:]:
                    passed_on += 1
                    log.info("%s: passed on to %d cells", signal.Signals(number).name, len(self._running))
                    for cell in self._running.values():
                        cell.process.send_signal(number)
                for number in [n for n, cell in self._running.items() if cell.process.poll() is not None]:
                    self._end(number, relay.received, bar)
                time.sleep(POLL_SECONDS)
            if relay.received:
                raise Interrupted(relay.received[0], self._saved and len(relay.received) == 1)
        return self._failed

    def _start(self, number: int, bar: Bar) -> None:
        name = self._names[number]
        if cells.state(self._workdir, name).word == "finished":
            log.info("cell %d %s: finished elsewhere meanwhile", number, name)
            bar.advance(1)
            return
        path = cells.log_file(self._workdir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if self._jobs > 1:
            # Else the first process takes three quarters of an accelerator's memory.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / self._jobs:.3f}")
            # As many threads as the whole run would have: results are the same however many cells run at a time.
            environment.setdefault("NPROC", str(threads()))
        with path.open("ab") as file:
            start = file.seek(0, os.SEEK_END)
            # A session of its own: an interrupt from the terminal reaches it through `Relay` alone, once.
            process = subprocess.Popen(
                self._command(number), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
                start_new_session=True,
            )  # fmt: skip
        cores = self._free.pop()
        if cores:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.sched_setaffinity(process.pid, cores)
        self._running[number] = Cell(process, time.monotonic(), start, cores)
        log.info("cell %d %s: started, its log is %s", number, name, path)

    def _end(self, number: int, signals: list[int], bar: Bar) -> None:
        process, began, start, cores = self._running.pop(number)
        self._free.append(cores)
        name, code = self._names[number], process.returncode
        outcome = cells.state(self._workdir, name)
        if outcome.word == "finished":
            log.info("cell %d %s: finished after %.0f s", number, name, time.monotonic() - began)
            if code:
                log.warning(
                    "cell %d %s: its results are there, but it ended with: %s",
                    number,
                    name,
                    self._last_line(name, start),
                )
        elif signals and (code in ASKED or -code in signals):  # the latter before it could listen, with nothing begun
            log.info("cell %d %s: saved", number, name)
        else:
            if code < 0:
                cells.fail(self._workdir, name, f"ended by {signal.Signals(-code).name}")
                self._saved = False
                outcome = cells.state(self._workdir, name)
            self._failed[name] = outcome.reason or self._last_line(name, start) or f"ended with exit code {code}"
            log.warning("cell %d %s: not finished: %s", number, name, self._failed[name])
        bar.advance(1)

    def _last_line(self, name: str, start: int) -> str:
        """Returns the last line that the cell printed in this attempt."""
        with cells.log_file(self._workdir, name).open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("fer-jax: ") if lines else ""


def command(arguments: list[str], number: int) -> list[str]:
    """Returns the command line of one cell, from the arguments that all cells share."""
    return [sys.executable, "-m", "fer_jax.cli.main", "sweep", *arguments, "--cell", str(number)]
