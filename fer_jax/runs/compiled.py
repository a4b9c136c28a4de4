"""Compiled programs, kept in the user's cache folder from one command to the next."""

import contextlib
import os
import pathlib
import re
import stat
from collections.abc import MutableMapping

from fer_jax.runs.environment import processor

MOST_BYTES = 1_000_000_000
FOLDER, ENABLED = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
# JAX would leave out what compiles in less than a second, which is most of a model.
ALL_PROGRAMS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def reuse(environment: MutableMapping[str, str] = os.environ, most_bytes: int = MOST_BYTES) -> None:
    """Sets where JAX stores what it compiles and finds it again; has no effect once JAX has compiled.

    That is a folder in `$XDG_CACHE_HOME/fer_jax`, one for each processor model, as XLA compiles for the one that it
    runs on. What was used least recently goes first where it is over `most_bytes`. A folder that cannot be made or
    written is no error: then nothing is stored. Does nothing where the environment says what JAX is to store.
    """
    if FOLDER in environment or ENABLED in environment:
        return
    try:
        home = pathlib.Path(environment.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        folder = home / "fer_jax" / re.sub(r"\W+", "-", " ".join(map(str, processor().values())))
        folder.mkdir(parents=True, exist_ok=True)
        _trim(folder, most_bytes)
    except (OSError, RuntimeError):  # A RuntimeError: the user has no home.
        return
    if os.access(folder, os.W_OK):
        environment.update({**ALL_PROGRAMS, **environment, FOLDER: str(folder)})


def reuse_none(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes JAX compile all anew and store nothing, here and in the processes that this one starts."""
    environment[ENABLED] = "false"


def _trim(folder: pathlib.Path, most_bytes: int) -> None:
    """Removes files, those read or written least recently first, until the rest is within the bound."""
    found = []
    for path in folder.rglob("*"):  # on GPUs XLA stores what it measured in a folder inside
        with contextlib.suppress(FileNotFoundError):  # Another process removed it first.
            of = path.stat()
            if stat.S_ISDIR(of.st_mode):
                continue
            found.append((max(of.st_atime_ns, of.st_mtime_ns), of.st_size, path))
    size = sum(one[1] for one in found)
    for _, length, path in sorted(found):
        if size <= most_bytes:
            return
        path.unlink(missing_ok=True)
        size -= length
