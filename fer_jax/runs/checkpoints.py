"""Orbax checkpoints: finished steps, each with arrays (`state`) and plain values (`meta`).

Saving costs Orbax about the same for every array, whatever its size. So arrays of one type are joined into one; their
names and shapes are saved beside `meta` (`Checkpoints.arrays`).

What is measured goes into `meta` as soon as it is measured, so results are only ever read from checkpoints and a
resumed run reports what an uninterrupted one does. Every step carries a digest of its content, because Orbax does not
notice a flipped bit in an array. With several processes the first alone reads and writes, and sends the others what it
read.
"""

import contextlib
import dataclasses
import errno
import gc
import hashlib
import json
import logging
import math
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from fer_jax.errors import UserError, first_line
from fer_jax.runs import processes, remote
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.progress import log
from fer_jax.training import devices

ASIDE = "damaged"


OTHER_ARRAYS = "its arrays are others than are looked for"


class CheckpointError(UserError):
    """An error about checkpoints that cannot be used or written; one line."""


class Step(NamedTuple):
    """A finished step: its number, arrays and plain values."""

    number: int
    state: Any
    meta: dict


def _leaders() -> dict[str, Any]:
    """Options of Orbax's managers by which the first of several processes reads and writes alone; none of one process.

    Else a manager waits for the others wherever it is made, also where only the first process is.
    """
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    return {"multiprocessing_options": alone} if jax.process_count() > 1 else {}


class Checkpoints:
    """The finished steps of one part of an experiment, such as one method on one class order.

    Nothing is written before the first save. With several processes every one must make the same calls.

    Args:
      saving: adds up how long callers waited.
      newest: how many steps stay, the newest; None is all.
    """

    def __init__(self, directory: pathlib.Path, saving: "Saving | None" = None, newest: int | None = None):
        self._saving = saving or Saving()
        self.directory = directory.resolve()
        # Orbax counts by the wall clock: one that jumps ahead must not make it give up.
        patient = ocp.options.AsyncOptions(timeout_secs=10**9)
        # The other processes receive what the first one reads; they take no part in reading and writing.
        self._options = ocp.CheckpointManagerOptions(
            create=False, max_to_keep=newest, async_options=patient, **_leaders()
        )
        self._newest = newest
        self._manager: ocp.CheckpointManager | None = None
        self._unsettled: tuple[int, Any] | None = None

    def steps(self) -> list[int]:
        """Returns the numbers of the finished steps, ascending."""
        return sorted(self._opened().all_steps()) if self.directory.exists() else []

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Saves a pytree of arrays and a JSON-able dict; may return before the write is finished.

        Raises:
          CheckpointError: this or the save before it could not be written; finished steps stay as they are.
        """
        self._saving.last = time.monotonic()
        if not processes.leads():
            return
        began = time.perf_counter()
        # Copies: the next step gives the state's memory to its successor while this one is still being written.
        state = jax.device_get(state)
        packed = _packed(state)
        meta = json.loads(json.dumps(meta))  # a copy: the caller goes on while this is written
        meta = {"digest": digest(state, meta), "layout": _layout(state), "meta": meta}
        args = ocp.args.Composite(state=ocp.args.StandardSave(packed), meta=ocp.args.JsonSave(meta))
        self._settle()
        with self._reported(f"step {step}"):
            try:
                self._opened().save(step, args=args)
            except Exception as error:
                self._once_more(step, args, error)
        self._unsettled = step, args
        self._saving.seconds += time.perf_counter() - began

    def latest(self, like: Any, wanted: Callable[[dict], bool] | None = None) -> Step | None:
        """Restores the newest undamaged step; returns None if there is no step.

        Moves damaged steps to `damaged/` beside the folder, and names them in the log.

        Args:
          like: the structure, shapes and types that the arrays must have.
          wanted: tells by a step's `meta` whether it is one to look at. The others are skipped unread, since their
            arrays may be of another structure; None looks at all.

        Raises:
          CheckpointError: there are steps to look at and none is whole; nothing is changed then.
          OSError: one cannot be read at the moment, whole or not; nothing is changed then.
        """
        read: list[Step | None] = []

        def look() -> dict | None:
            read.append(self._latest(like, wanted))
            return read[0] and {"number": read[0].number, "meta": read[0].meta}

        newest = processes.by_leader(look)
        if newest is None:
            return None
        state = read[0].state if read else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        # Not jnp.asarray, which compiles once for every shape.
        return Step(newest["number"], jax.device_put(devices.agreed(state)), newest["meta"])

    def _latest(self, like: Any, wanted: Callable[[dict], bool] | None) -> Step | None:
        self._settle()  # what is wrong with a save is no damage to what is read
        damaged: dict[int, str] = {}
        for number in reversed(self.steps()):
            try:
                if wanted and not wanted(self._meta(number)):
                    continue
                step = self._read(number, like)
            except Exception as error:  # whatever a damaged file makes a reader raise
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
                if _is_of_the_machine(error):
                    raise OSError(
                        f"step {number} in {self.directory} cannot be read at the moment ({reason}); nothing was "
                        "changed, the same command tries again"
                    ) from error
                damaged[number] = reason
            else:
                if damaged:
                    for bad, reason in damaged.items():
                        self._set_aside(bad, f"is damaged ({reason})")
                    log.warning("going on from step %d of %s, the last one that is whole", number, self.directory)
                    self._opened().reload()
                return step
        if damaged:
            number, reason = next(iter(damaged.items()))
            raise CheckpointError(
                f"no checkpoint in {self.directory} is whole (step {number}: {reason}); nothing was changed; "
                "put a copy of it back, or remove that folder to train its part again"
            )
        return None

    def glance(self, number: int) -> tuple[dict, dict[str, tuple[int, ...]]]:
        """Reads the plain values of a step and the shapes of its arrays by name, without checking them.

        Raises:
          Exception: whatever a damaged file makes a reader raise.
        """
        stored = self._opened().restore(number, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        return stored["meta"], {name: tuple(shape) for name, _, shape in stored["layout"]}

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """Reads the arrays of a step by name, without checking them; raises what `glance` raises."""
        args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
        restored = self._opened().restore(number, args=args)
        layout = restored["meta"]["layout"]
        return dict(zip((name for name, *_ in layout), _unpacked(restored["state"], layout), strict=True))

    def set_aside_after(self, step: int, reason: str) -> None:
        """Moves the steps after this one to `damaged/` beside the folder, and logs the reason."""
        if processes.leads():
            self._settle()
            ahead = [number for number in self.steps() if number > step]
            for number in ahead:
                self._set_aside(number, reason)
            if ahead:
                self._opened().reload()

    def drop_old(self) -> None:
        """Removes all but the `newest` steps; a kill just after a save can leave more."""
        if self._newest and processes.leads():
            self._settle()
            for number in self.steps()[: -self._newest]:
                self._opened().delete(number)

    def close(self) -> None:
        """Waits for the last save.

        Raises:
          CheckpointError: it could not be written.
        """
        if self._manager is not None:
            began = time.perf_counter()
            try:
                self._settle()
            finally:
                self._saving.seconds += time.perf_counter() - began
                self._drop_manager()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _opened(self) -> ocp.CheckpointManager:
        if self._manager is None:
            remote.complete(self.directory)
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.directory, options=self._options)
        return self._manager

    def _drop_manager(self) -> None:
        manager, self._manager = self._manager, None
        with contextlib.suppress(Exception):  # the save's error, once more
            manager.close()

    def _settle(self) -> None:
        """Waits for the last save; one that gave up since the clock jumped is written once more."""
        if self._manager is None:
            return
        unsettled, self._unsettled = self._unsettled, None
        with self._reported("the last step"):
            try:
                self._manager.wait_until_finished()
            except Exception as error:
                if unsettled is None:
                    raise
                self._once_more(*unsettled, error)

    def _once_more(self, step: int, args: Any, error: Exception) -> None:
        if not _timed_out(error):
            raise error
        log.warning("saving step %d in %s took too long by the clock; it is saved again", step, self.directory)
        self._drop_manager()
        self._opened().save(step, args=args)
        self._manager.wait_until_finished()

    def _meta(self, number: int) -> dict:
        with _silent():
            return self.glance(number)[0]

    def _read(self, number: int, like: Any) -> Step:
        template = _packed(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like))
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template), meta=ocp.args.JsonRestore())
        with _silent():
            restored = self._opened().restore(number, args=args)
        stored = restored["meta"]
        if stored["layout"] != _layout(like):
            raise ValueError(OTHER_ARRAYS)
        state = jax.tree.unflatten(jax.tree.structure(like), _unpacked(restored["state"], stored["layout"]))
        if digest(state, stored["meta"]) != stored["digest"]:
            raise ValueError("its content is not what was saved")
        return Step(number, state, stored["meta"])

    def _set_aside(self, number: int, reason: str) -> None:
        aside = self.directory.parent / ASIDE / f"{self.directory.name}-{number}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        shutil.move(self.directory / str(number), aside)
        log.warning("checkpoint %s %s; moved to %s", self.directory / str(number), reason, aside)

    @contextlib.contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax hands on whatever its writing thread met
            reason = first_line(error)
            raise CheckpointError(
                f"could not save {what} in {self.directory}: {reason}; what was saved before is still there, the same "
                "command goes on from there"
            ) from error


def _timed_out(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_of_the_machine(error: Exception) -> bool:
    """Returns True if a read failed for want of memory, file handles, a working disk, …: the file may be intact."""
    if isinstance(error, OSError):
        return not isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
    # TensorStore's own errors are all ValueError, with the system's number in the text.
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return int(code[1]) not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silences the reader's pages about a damaged checkpoint; our own line reports it."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    except BaseException:
        gc.collect()  # the reader's unfinished coroutines complain when they are collected
        raise
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _layout(state: Any) -> list:
    """Name, type and shape of every array, in the order in which they lie."""
    leaves = jax.tree.leaves_with_path(state)
    return [[jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves]


def _packed(state: Any) -> dict[str, np.ndarray]:
    """Copies of the arrays, one after another, by their type."""
    parts: dict[str, list[np.ndarray]] = {}
    for leaf in jax.tree.leaves(state):
        parts.setdefault(str(leaf.dtype), []).append(np.asarray(leaf).reshape(-1))
    return {dtype: np.concatenate(arrays) for dtype, arrays in parts.items()}


def _unpacked(packed: dict[str, np.ndarray], layout: list) -> Iterator[np.ndarray]:
    ends: dict[str, int] = {}
    for _, dtype, shape in layout:
        begin = ends.get(dtype, 0)
        ends[dtype] = begin + math.prod(shape)
        yield packed[dtype][begin : ends[dtype]].reshape(shape)


def digest(state: Any, meta: dict) -> str:
    """Returns the SHA-256 of arrays, their names and types, and plain values."""
    hashed = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.asarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


@dataclasses.dataclass
class Saving:
    """Settings and state of saving that all checkpoints of a run share.

    every: seconds between two saves of a fit in progress; finished steps are always saved.
    interruption: tells whether the run was asked to end.
    seconds: that training has waited for saves so far.
    last: when the last save was begun, by `time.monotonic`.
    """

    every: float = 60.0
    interruption: Interruption = dataclasses.field(default_factory=Interruption)
    seconds: float = 0.0
    last: float = dataclasses.field(default_factory=time.monotonic)
