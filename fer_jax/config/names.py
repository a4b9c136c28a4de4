"""The names that a config gives to data sets: a built-in one is short for a dotted path.

What a path names is imported when a config is checked, not before, since data sets take seconds to import and lie
above this folder.
"""

from typing import Any

from fer_jax.config import dotted
from fer_jax.errors import UserError

TFDS = "tfds:"  # what names of TFDS's own data sets begin with
DATA_SETS = {
    "facs_faces": "fer_jax.data.facs_faces.DATA_SET",
    "cfee": "fer_jax.data.cfee.DATA_SET",
    "rafdb": "fer_jax.data.rafdb.DATA_SET",
    "image_folder": "fer_jax.data.image_folder.DATA_SET",
    "digits": "fer_jax.data.standard.DIGITS",
    "idx": "fer_jax.data.standard.IDX",
    TFDS: "fer_jax.data.standard.TFDS_SET",
}
_DATA_SET = "fer_jax.data.data_set.DataSet"
DATA_SET_WORDS = f"one of {', '.join(DATA_SETS)}NAME, or the dotted path of a {_DATA_SET}"


def data_set(name: str) -> Any:
    """The `data.data_set.DataSet` that `data.name` names; all of TFDS's own are one.

    Raises:
      UserError: there is none, or the path names something else.
    """
    short = TFDS if name.startswith(TFDS) else name
    path = name if name == TFDS else DATA_SETS.get(short, name)
    return _value(name, path, _DATA_SET, DATA_SET_WORDS)


def _value(name: str, path: str, kind: str, words: str) -> Any:
    found = dotted.find(path, words)
    if not isinstance(found, dotted.find(kind, words)):
        raise UserError(f"{name!r} is a {type(found).__name__}; it may be a {kind}")
    return found
