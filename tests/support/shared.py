"""What all workers of a session share: a cache of compiled programs, and folders that one of them makes."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import tempfile
from collections.abc import Callable

import jax
import pytest

from fer_jax.sweeps import runner

# What JAX reads of the environment as it starts, in workers and in processes that tests start.
CACHE = {
    "JAX_COMPILATION_CACHE_DIR": "",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

# Most of the tests' time is XLA's. This halves it, and what is computed stays as it is but for rounding.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def take_own_cores() -> None:
    """Leaves each worker as many cores of its own; threads of two workers on one core wait for each other.

    What one worker made is compared with what another one computes: both need the same number of threads.
    """
    worker, workers = (os.environ.get(f"PYTEST_XDIST_WORKER{end}", "") for end in ("", "_COUNT"))
    if worker:
        shares = runner.shared_out(int(workers))
        cores = shares[int(worker.removeprefix("gw"))][: min(map(len, shares))]
        if cores:
            os.sched_setaffinity(0, cores)


def share_compiled_programs(config: pytest.Config) -> None:
    """Keeps compiled programs for the session, or for longer where JAX_COMPILATION_CACHE_DIR names a folder.

    They are compiled in little time, unless XLA_FLAGS is set, if only to nothing.
    """
    os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ.update(CACHE, JAX_COMPILATION_CACHE_DIR=folder.name)
    # JAX may have started before.
    for name in CACHE:
        value = os.environ.get(name, CACHE[name])
        jax.config.update(name.lower(), value if name.endswith("DIR") else int(value))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """A folder that one worker makes, while those that want it too wait; not to be changed."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            if folder.exists():
                pytest.fail(f"another worker could not make {name}: see what it says")
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@contextlib.contextmanager
def offline(asked: pathlib.Path):
    """No name can be looked up and no address reached; who asked is a line of a file each."""

    def refuse(where):
        with asked.open("a") as file:
            file.write(json.dumps(str(where)) + "\n")
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    def connect(self, address, allowed=socket.socket.connect):
        return allowed(self, address) if self.family == socket.AF_UNIX else refuse(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect)
        patch.setattr(socket, "getaddrinfo", lambda *names, **named: refuse(names))
        yield
