"""A user's own function, by its dotted path `module.name`.

Importing runs the module: a path is only ever taken from the config that was named on the command line.
"""

import functools
import importlib
import os
import sys
from typing import Any

from fer_jax.errors import UserError


@functools.cache
def find(path: str, instead: str) -> Any:
    """What a dotted path names; modules are looked for where Python does, and in the working directory.

    Args:
      instead: what else the path may be, for the message.

    Raises:
      UserError: no dotted path, no such module, one that fails, or no such name in it.
    """
    module, dot, name = path.rpartition(".")
    if not dot or not all(part.isidentifier() for part in path.split(".")):
        raise UserError(f"{path!r} does not exist; it may be {instead}")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever the user's own module raises
        raise UserError(f"{path!r}: module {module} cannot be imported ({type(error).__name__}: {error})") from None
    finally:
        if added:
            sys.path.remove(here)
    try:
        return getattr(found, name)
    except AttributeError:
        raise UserError(f"{path!r}: module {module} has no {name}") from None


def function(path: str, instead: str) -> Any:
    """What a dotted path names, which must be callable.

    Raises:
      UserError: as `find`, or it is not callable.
    """
    found = find(path, instead)
    if not callable(found):
        raise UserError(f"{path!r} is a {type(found).__name__}; it may be a function")
    return found
