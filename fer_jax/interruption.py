"""Ending a run early without losing anything: signals, and the errors that they become."""

import contextlib
import signal
from collections.abc import Iterator

from fer_jax.progress import log

# SIGUSR1 is what schedulers can be told to send ahead of a preemption (SLURM: --signal=USR1@120).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """A run that was asked to end.

    saved: whether everything up to now was saved first; else what was saved before holds.
    exit_code: 130 after SIGINT; 143 after SIGTERM, and after SIGUSR1, which announces it.
    """

    def __init__(self, number: int, saved: bool):
        name = signal.Signals(number).name
        kept = (
            "everything is saved, the same command goes on" if saved else "the same command goes on from the last save"
        )
        super().__init__(f"interrupted by {name}; {kept}")
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class Interruption:
    """Turns the first signal into a request, answered after the epoch at hand; the second ends the run at once.

    Outside `deferred` there is nothing to save and the first signal ends the run at once, too.
    """

    def __init__(self):
        self._number: int | None = None
        self._deferred = False

    def requested(self) -> bool:
        """Whether the run was asked to end."""
        return self._number is not None

    def end(self) -> None:
        """Ends the run if it was asked to.

        Raises:
          Interrupted: it was.
        """
        if self._number is not None:
            raise Interrupted(self._number, saved=True)

    @contextlib.contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Handles the signals until the block is left."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Training: a request waits for `end` to be called."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame) -> None:
        again, self._number = self._number is not None, number
        if again or not self._deferred:
            raise Interrupted(number, saved=False)
        log.info(
            "%s: finishing the epoch, then saving; once more ends at once, back to the last save",
            signal.Signals(number).name,
        )
