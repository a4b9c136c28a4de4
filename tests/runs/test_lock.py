"""A lock is held by one process and goes with it."""

import errno
import fcntl
import subprocess
import sys

import pytest

from fer_jax.runs.lock import Lock, NoLocks

HOLD = """
import pathlib, sys, time
from fer_jax.runs.lock import Lock
lock = Lock(pathlib.Path(sys.argv[1]))
assert lock.take()
print("held", flush=True)
time.sleep(60)
"""


def test_one_holds_it_and_the_dead_hold_nothing(tmp_path):
    lock = Lock(tmp_path / "lock")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock.path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert not lock.take()
        assert lock.holder().startswith(f"process {other.pid} on ")
        other.kill()
        other.wait()
    assert lock.take()
    assert not Lock(lock.path).take()
    lock.release()
    assert Lock(lock.path).take()


def test_a_file_system_without_locks_is_told_from_one_that_is_broken(tmp_path, monkeypatch):
    def failing(number):
        def flock(file, how):
            raise OSError(number, "no")

        return flock

    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(NoLocks):
        Lock(tmp_path / "lock").take()
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match="no"):
        Lock(tmp_path / "lock").take()
