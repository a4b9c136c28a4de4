"""Traces of JAX's profiler, for TensorBoard and Perfetto."""

import contextlib
import pathlib

import jax

from fer_jax.errors import UserError


def check(folder: pathlib.Path) -> None:
    """Makes the folder of a trace, before what is traced begins.

    Raises:
      UserError: it is a file, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--profile {folder}: {error.strerror}; it may be a folder, or a new one") from None


class Tracing(contextlib.ExitStack):
    """Traces two epochs of a run, after its first, which compiles; what there is, if the run ends before.

    folder: where to; None traces nothing.
    """

    def __init__(self, folder: pathlib.Path | None):
        super().__init__()
        self._folder = folder
        self._asked = 0

    def epoch(self) -> None:
        """Counts that training asks whether to end, which it does before its first epoch and after each."""
        self._asked += 1
        if self._folder is not None and self._asked == 2:
            self.enter_context(jax.profiler.trace(self._folder))
        if self._asked == 4:
            self.close()
