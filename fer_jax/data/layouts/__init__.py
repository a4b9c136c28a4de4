"""Data sets in the forms in which they go round, a module each: from a folder and `config.data` to a `Listing`.

A module has `scan`, which opens no picture, and `DATA_SET`, which a config names. None guesses: what a layout does not
say (subjects, a test set) is among the listing's notes, which every load logs.
"""

import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from fer_jax.config.rules import Rule
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import FILE_KEYS, DataSet
from fer_jax.data.listing import Listing


def data_set(
    name: str,
    description: str,
    scan: Callable[[pathlib.Path, ConfigDict], Listing],
    keys: dict[str, Rule] | None = None,
) -> DataSet:
    """Returns the data set of a layout.

    Args:
      name: in lower case; prepared copies are below a folder of this name.
      description: what is in it, one line, with its source.
      scan: from the folder `manual_dir` and `config.data` to what is there.
      keys: rules of its own keys.
    """

    def load(config: ConfigDict) -> FaceArrays:
        from fer_jax.data import file_builder, from_tfds

        root = from_tfds.manual_dir(config)
        return file_builder.load(file_builder.kind(name, description), scan(root, config), config)

    return DataSet({**FILE_KEYS, **(keys or {})}, load)
