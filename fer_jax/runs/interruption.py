"""Ends a run early without losing anything: a signal becomes a request, which the run answers where it can save."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import NoReturn

from fer_jax.errors import Interrupted
from fer_jax.runs import processes
from fer_jax.runs.progress import log

# SIGUSR1 is what schedulers can be told to send ahead of a preemption (SLURM: --signal=USR1@120).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """Turns the first signal into a request, answered after the epoch at hand; the second ends the run at once.

    Outside `deferred` there is nothing to save and the first signal ends the run at once, too.

    Args:
      alive: is called whenever training asks, which is after every epoch and between its parts.
    """

    def __init__(self, alive: Callable[[], None] = lambda: None):
        self._alive = alive
        self._number: int | None = None
        self._deferred = False

    def requested(self) -> bool:
        """Returns True if any process of the run was asked to end; every process must call it."""
        self._alive()
        return processes.anywhere(self._number is not None)

    def end(self) -> NoReturn:
        """Ends the run, with everything saved.

        Raises:
          Interrupted: always.
        """
        raise Interrupted(self._number or signal.SIGTERM, saved=True)

    @contextlib.contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Handles the signals until the block ends."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Delays a request during training: until the block ends, only a call of `end` answers it."""
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
