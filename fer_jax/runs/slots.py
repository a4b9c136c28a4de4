"""Where a part of an experiment is saved: its last finished steps, and the fit in progress."""

import contextlib
import pathlib
import shutil
import time
from typing import Any, NoReturn

from fer_jax.errors import Interrupted, UserError
from fer_jax.runs import processes
from fer_jax.runs.checkpoints import CheckpointError, Checkpoints, Saving
from fer_jax.runs.progress import log
from fer_jax.training.fit import FitPoint

# Finished steps of a part: the last, one in case that is damaged, and one since class orders that are trained side by
# side may be a step apart. What was measured before, and what the memory held, is in every step's meta.
SAVED_STEPS = 3


class Slot:
    """The checkpoints of a part of an experiment: its last finished steps, and the fit in progress.

    The last two saves of the fit in progress are in a folder of the slot's name with `.now` added, until the part is
    finished.
    """

    def __init__(self, directory: pathlib.Path, saving: Saving):
        self.steps = Checkpoints(directory, saving, newest=SAVED_STEPS)
        self._now = Checkpoints(directory.with_name(directory.name + ".now"), saving, newest=2)
        self._saving = saving
        self._next = None

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self._close()
        except CheckpointError as failed:
            # It would hide the error that led here; but one that says "everything is saved" must not stand.
            if error is None or isinstance(error, Interrupted):
                raise
            log.warning("%s", failed)

    def _close(self) -> None:
        with contextlib.ExitStack() as both:
            both.callback(self._now.close)
            both.callback(self.steps.close)

    def _end(self) -> NoReturn:
        self._close()
        self._saving.interruption.end()

    def rest(self) -> None:
        """Ends the run here, between two fits, if it was asked to end.

        Raises:
          Interrupted: the run was asked to end; finished steps are saved.
          CheckpointError: one of them could not be.
        """
        if self._saving.interruption.requested():
            self._end()

    def resume(self, fit: str, state: Any) -> FitPoint | None:
        """Restores the fit of this name in the structure of `state`; returns None if it was not saved.

        Raises:
          Interrupted: the run was asked to end; everything is saved.
        """
        self.rest()
        try:
            # By name first: another fit's save, such as that of the stage before, may have other arrays.
            saved = self._now.latest({"state": state, "best": state}, lambda meta: _is_of(fit, meta))
        except UserError as error:
            # Only time is lost: the fit begins again from a finished step.
            log.warning("%s; this fit begins again", error)
            self._forget()
            return None
        if saved is None:
            return None
        log.info("%s: going on after epoch %d", fit, max(map(len, saved.meta["history"])))
        return FitPoint(saved.state["state"], saved.state["best"], saved.meta["best_epoch"], saved.meta["history"])

    def save(self, fit: str, point: FitPoint) -> None:
        """Saves a fit's point if a save is due or the run was asked to end; in the second case ends the run.

        Raises:
          Interrupted: the run was asked to end.
          CheckpointError: it could not be saved.
        """
        ending = self._saving.interruption.requested()
        if not ending and time.monotonic() - self._saving.last < self._saving.every:
            return
        if processes.leads():
            if self._next is None:
                self._next = max(self._now.steps(), default=-1) + 1
            meta = {"fit": fit, "best_epoch": point.best_epoch, "history": point.history}
            self._now.save(self._next, {"state": point.states, "best": point.best}, meta)
            self._next += 1
        if ending:
            self._end()

    def finish(self) -> None:
        """Waits until all steps are saved, and removes the fit in progress; call it when the part is done."""
        self.steps.drop_old()
        self.steps.close()
        self._forget()

    def _forget(self) -> None:
        self._now.close()
        self._next = None
        if processes.leads():
            shutil.rmtree(self._now.directory, ignore_errors=True)


def _is_of(fit: str, meta: dict) -> bool:
    """Returns whether a save is of the fit of this name, in today's form: an entry a run."""
    return meta["fit"] == fit and isinstance(meta["best_epoch"], list)
