"""Who writes to a run's folder in an object store: an object that the writer renews, because stores have no locks.

A process that dies cannot take it back. It lapses once it was not renewed for `STALE_SECONDS`, at once if the same
machine knows that its process is gone.
"""

import contextlib
import json
import os
import time
import uuid

from fer_jax.errors import PassingError, UserError
from fer_jax.runs.lock import lives
from fer_jax.runs.progress import log
from fer_jax.runs.remote import OWNER, Store
from fer_jax.runs.workdir import InUse

_NAMES = ("host", "process", "token", "time", "ended")
RENEW_SECONDS, STALE_SECONDS, SETTLE_SECONDS = 30.0, 180.0, 2.0


class Lost(PassingError):
    """An error: another run has taken the folder over."""


class Lease:
    """The right to write to a store's folder, from `take` to `end`.

    token: of this owner alone.
    """

    def __init__(self, store: Store):
        self._store, self._path, self.token = store, store / OWNER, uuid.uuid4().hex

    def take(self, wait: float = 0.0) -> str | None:
        """Takes the lease, after waiting for at most some seconds; returns the token of an owner that did not end it.

        Raises:
          InUse: another run has it.
          UserError: the object is not of a run.
        """
        deadline, told, before = time.monotonic() + wait, False, None
        while not self._create():
            there = self._read()
            if there is None:
                continue
            if _over(there):
                log.info("%s was written to by %s; this run goes on there", self._store.url, _described(there))
                before = there["token"]
                self._store.fs.pipe_file(self._path, self._content())
                break
            if _lives_here(there) or time.monotonic() >= deadline:
                raise InUse(
                    f"--workdir {self._store.url} is in use by another run ({_described(there)}); wait for it, or take "
                    "another folder"
                )
            if not told:
                log.info("%s is in use by %s: waiting up to %.0f s", self._store.url, _described(there), wait)
            told = True
            time.sleep(min(5.0, max(0.0, deadline - time.monotonic())))
        if before:
            time.sleep(SETTLE_SECONDS)  # another run may have found the same owner gone
            self.check()
        return before

    def check(self) -> None:
        """Checks that this run still has the lease.

        Raises:
          Lost: it has not.
        """
        there = self._read()
        if there is None or there["token"] != self.token:
            by = _described(there) if there else f"nobody: {OWNER} was removed"
            raise Lost(f"--workdir {self._store.url} now belongs to another run ({by}); this one ended")

    def renew(self, ended: bool = False) -> None:
        """Records that this run is at work, or that it ended and may go on.

        Raises:
          Lost: another run has the lease.
        """
        self.check()
        self._store.fs.pipe_file(self._path, self._content(ended))

    def end(self) -> None:
        """Removes the owner: nothing is left to do."""
        self.check()
        self._remove()

    def _content(self, ended: bool = False) -> bytes:
        me = {"host": os.uname().nodename, "process": os.getpid(), "token": self.token}
        return json.dumps({**me, "time": time.time(), "ended": ended}).encode()

    def _create(self) -> bool:
        """Creates the object unless there is one, which stores do in one go."""
        try:
            self._store.fs.pipe_file(self._path, self._content(), mode="create")
        except Exception:  # of a kind of each package's own, where there is one
            if self._read() is None:
                raise
            return False
        return True

    def _read(self) -> dict | None:
        try:
            content = self._store.fs.cat_file(self._path)
        except FileNotFoundError:
            return None
        try:
            there = json.loads(content)
            return {name: there[name] for name in _NAMES}
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"--workdir {self._store.url} holds an {OWNER} that is not of a run, which has {', '.join(_NAMES)}; "
                "remove it, or take another folder"
            ) from None

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._store.fs.rm_file(self._path)


def _described(there: dict) -> str:
    age = max(0.0, time.time() - there["time"])
    return f"process {there['process']} on {there['host']}, {'ended' if there['ended'] else 'seen'} {age:.0f} s ago"


def _over(there: dict) -> bool:
    if there["ended"] or time.time() - there["time"] > STALE_SECONDS:
        return True
    # In a container every process may be number 1 of a host of the same name.
    return _is_here(there) and there["process"] != os.getpid() and not lives(there["process"])


def _lives_here(there: dict) -> bool:
    return _is_here(there) and there["process"] != os.getpid() and lives(there["process"])


def _is_here(there: dict) -> bool:
    return there["host"] == os.uname().nodename
