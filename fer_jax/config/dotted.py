"""A user's own function, named by its dotted path `module.name`.

Importing runs the module, so a path is taken from the config that was named on the command line. A config in a workdir
may be somebody else's: only fer_jax's own paths are taken from it, unless the user trusts it (`trusting`).
"""

import contextlib
import contextvars
import hashlib
import importlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from fer_jax.errors import UserError

# What was named in this process before: to find it again runs nothing.
_named: dict[str, Any] = {}
_trusting = contextvars.ContextVar("trusting", default=False)
_reading = contextvars.ContextVar("reading", default=False)


@contextlib.contextmanager
def trusting(trusted: bool = True) -> Iterator[None]:
    """Allows workdirs' configs to name the user's own modules too, within the block."""
    token = _trusting.set(trusted)
    try:
        yield
    finally:
        _trusting.reset(token)


@contextlib.contextmanager
def reading_workdir() -> Iterator[None]:
    """Marks paths within the block as a workdir's: those outside fer_jax are refused unless trusted."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def find(path: str, instead: str) -> Any:
    """Returns the value that a dotted path names; looks for modules on Python's path and in the working directory.

    Args:
      instead: what else the path may be, for the message.

    Raises:
      UserError: no dotted path, no such module, one that fails, no such name in it, or one that may not be run.
    """
    if path not in _named:
        _named[path] = _import(path, instead)
    return _named[path]


def sources(values: Iterable[Any]) -> dict[str, str]:
    """Returns the SHA-256 of the file of each of the user's own modules that config values name, and tuples of them."""
    modules = {path.rpartition(".")[0] for path in _named.keys() & set(_strings(list(values)))}
    files = {
        name: getattr(sys.modules.get(name), "__file__", None) for name in modules if not name.startswith("fer_jax.")
    }
    return {name: hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() for name, file in files.items() if file}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _strings(inner)


def _import(path: str, instead: str) -> Any:
    module, dot, name = path.rpartition(".")
    if not dot or not all(part.isidentifier() for part in path.split(".")):
        raise UserError(f"{path!r} does not exist; it may be {instead}")
    if _reading.get() and not _trusting.get() and not module.startswith("fer_jax."):
        raise UserError(
            f"{path!r} of a workdir's config would run module {module}; where it is yours, or you trust it, say --trust"
        )
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # whatever the user's own module raises
        raise UserError(f"{path!r}: module {module} cannot be imported ({type(error).__name__}: {error})") from None
    finally:
        if added:
            sys.path.remove(here)
    try:
        return getattr(imported, name)
    except AttributeError:
        raise UserError(f"{path!r}: module {module} has no {name}") from None


def function(path: str, instead: str) -> Any:
    """Returns the function that a dotted path names.

    Raises:
      UserError: as `find`, or it is not callable.
    """
    value = find(path, instead)
    if not callable(value):
        raise UserError(f"{path!r} is a {type(value).__name__}; it may be a function")
    return value
