"""What the user can put right: one line that says what was wrong, where, and what it may be."""

import signal


class UserError(ValueError):
    """A mistake in what the user gave; the command prints the message alone and exits with code 2."""


class Interrupted(BaseException):
    """A run that was asked to end; no error, so nothing that deals with errors takes it for one.

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


class ExportError(RuntimeError):
    """An exported model, read back, gives other probabilities than the run's; nothing is left of it."""


class DeviceMemoryError(RuntimeError):
    """The device has too little memory; says what to lower."""
