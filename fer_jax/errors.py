"""Errors that the user can correct: one line that says what was wrong, where, and what it may be."""

import errno
import importlib
import os
import signal
import types

EXIT_MISTAKE = 2
# sysexits.h's EX_TEMPFAIL: nothing is wrong with what was asked for, the same again may succeed.
EXIT_PASSING = 75
# Of the system's errors, those of a path or a right that the user gave; the others are of disks, networks and memory.
_MISTAKES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EACCES, errno.EPERM,
             errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, None)  # fmt: skip


class UserError(ValueError):
    """A mistake in the user's input; the command prints only the message and exits with code 2."""


class PassingError(UserError):
    """A temporary failure, such as a full disk: the same command may succeed later; one line, exit code 75."""


class Interrupted(BaseException):
    """The end of a run that was asked to end; not an `Exception`, so that no handler of errors catches it.

    saved: whether everything up to now was saved first; else what was saved before holds.
    exit_code: 130 after SIGINT; 143 after SIGTERM, and after SIGUSR1, which announces it.
    """

    def __init__(self, number: int, saved: bool):
        name = signal.Signals(number).name
        outcome = (
            "everything is saved, the same command goes on" if saved else "the same command goes on from the last save"
        )
        super().__init__(f"interrupted by {name}; {outcome}")
        self.saved = saved
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class ExportError(RuntimeError):
    """An exported model whose probabilities, when read back, are not the run's; its files are removed."""


class DeviceMemoryError(RuntimeError):
    """An error for too little device memory; names the settings to lower."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def passes(error: BaseException) -> bool:
    """Returns True if the same command may succeed later, so that a cluster tries again; a mistake never does."""
    if isinstance(error, OSError):
        return error.errno not in _MISTAKES
    if isinstance(error, UserError) and error.__cause__ is not None:
        # A save that failed. What wrote it may be C++, which has the system's error in words alone.
        mistake = any(os.strerror(number) in str(error) for number in _MISTAKES if number)
        return passes(error.__cause__) if isinstance(error.__cause__, OSError) else not mistake
    return isinstance(error, PassingError)


def exit_code(error: BaseException) -> int:
    """Returns the exit code of an error of one line: 75 if it is temporary, 2 for a user's mistake, else 1."""
    if passes(error):
        return EXIT_PASSING
    return EXIT_MISTAKE if isinstance(error, UserError | OSError) else 1


def import_extra(module: str, extra: str, need: str) -> types.ModuleType:
    """Imports a module that only an extra of pyproject.toml installs.

    Args:
      need: what needs which package, the beginning of the message.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UserError(f"{need}; install it with pip install -e '.[{extra}]'") from None
