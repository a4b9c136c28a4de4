"""Paths as a user writes them."""

import os
import pathlib

from fer_jax.errors import UserError


def expanded(path: str | os.PathLike, what: str = "a path") -> pathlib.Path:
    """Returns a path whose leading `~` or `~name` is replaced by that home.

    Args:
      what: the key or flag that has the path, for the message.

    Raises:
      UserError: there is no such home, as in a process without HOME.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{what} is {os.fspath(path)}, and this process has no such home; set HOME or write the whole path"
        ) from None
