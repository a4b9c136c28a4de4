"""Ends a process that is stuck: in C++ or in the kernel, where no exception and no signal handler reaches it."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from fer_jax.errors import EXIT_PASSING

STALL_SECONDS = 1800


class Watchdog:
    """A thread that ends the process, with one line and exit code 75, if `feed` is not called for some seconds; 0
    disables it.

    Args:
      says: the line, without the command's name.
    """

    def __init__(self, seconds: float, says: str):
        self._seconds, self._says = seconds, says
        self._fed, self._over = time.monotonic(), threading.Event()

    def feed(self) -> None:
        """Records progress, which restarts the countdown."""
        self._fed = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator["Watchdog"]:
        """Watches until the block ends."""
        if not self._seconds:
            yield self
            return
        self.feed()
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(max(0.05, self._fed + self._seconds - time.monotonic())):
            if time.monotonic() - self._fed >= self._seconds:
                print(f"fer-jax: {self._says}", file=sys.stderr, flush=True)
                os._exit(EXIT_PASSING)
