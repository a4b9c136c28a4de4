"""A file that one process at a time holds, among all machines that share its file system."""

import errno
import fcntl
import os
import pathlib
import re

# Longer than the lease of an NFS client that died with a lock (90 s).
WAIT_SECONDS = 120
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class NoLocks(Exception):
    """An error: the file system has no locks, as some network file systems do not."""


class Lock:
    """A lock file, held from `take` to `release` or until the process ends; its folder must exist."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._file = None

    def take(self) -> bool:
        """Takes the lock if no process holds it; returns True if this process holds it now.

        Raises:
          NoLocks: nobody can.
        """
        file = open(self.path, "a+")  # noqa: SIM115  stays open as long as it is held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            file.close()
            if error.errno in _UNSUPPORTED:
                raise NoLocks(error.strerror) from None
            raise
        self._file = file
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        return True

    def holder(self) -> str:
        """Returns a description of the process that holds the lock."""
        return self.path.read_text().strip() or "of unknown number"

    def seen(self) -> bool:
        """Returns True if the holder is another live process of this machine."""
        match = re.fullmatch(r"process (\d+) on (.+)", self.holder())
        if not match or match[2] != os.uname().nodename or int(match[1]) == os.getpid():
            return False  # in a container every process may be number 1 of the same name
        return lives(int(match[1]))

    def release(self) -> None:
        """Releases the lock; does nothing if this process does not hold it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def lives(pid: int) -> bool:
    """Returns True if a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
