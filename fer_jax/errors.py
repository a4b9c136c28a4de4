"""What the user can put right: one line that says what was wrong, where, and what it may be."""

import errno
import os
import signal

EXIT_MISTAKE = 2
# sysexits.h's EX_TEMPFAIL: nothing is wrong with what was asked for, the same again may succeed.
EXIT_PASSING = 75
# Of the system's errors, those of a path or a right that the user gave; the others are of disks, networks and memory.
_MISTAKES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EACCES, errno.EPERM,
             errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, None)  # fmt: skip


class UserError(ValueError):
    """A mistake in what the user gave; the command prints the message alone and exits with code 2."""


class PassingError(UserError):
    """No mistake: the same command may succeed later, as when a disk is full; told alike, exit code 75."""


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


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def passes(error: BaseException) -> bool:
    """Whether the same command may succeed later, which a cluster then tries; a mistake stays one."""
    if isinstance(error, OSError):
        return error.errno not in _MISTAKES
    if isinstance(error, UserError) and error.__cause__ is not None:
        # A save that failed. What wrote it may be C++, which has the system's error in words alone.
        told = any(os.strerror(number) in str(error) for number in _MISTAKES if number)
        return passes(error.__cause__) if isinstance(error.__cause__, OSError) else not told
    return isinstance(error, PassingError)


def exit_code(error: BaseException) -> int:
    """Of what is told in one line: 75 for what passes, 2 for a mistake of the user's, 1 for the rest."""
    if passes(error):
        return EXIT_PASSING
    return EXIT_MISTAKE if isinstance(error, UserError | OSError) else 1
