"""The interface of a data set: its own config keys, how it is loaded, and its checks of a whole config.

A built-in one is a value in its own module, and `fer_jax.config.names` lists them. A user's own is named by its dotted
path.
"""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from fer_jax.config.rules import TEXT, Rule, one_of, several
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.listing import ON_BAD_IMAGE

# The keys of every data set of picture files.
FILE_KEYS = {
    "data.manual_dir": TEXT.means("Folder of the picture files."),
    "data.on_bad_image": one_of(*ON_BAD_IMAGE).means("Whether an unreadable picture ends the run or is left out."),
    "data.base_classes": several(TEXT, 0).means(
        "Names of the classes of the base task; an empty tuple leaves the data set's order."
    ),
}


def _no_complaint(config: ConfigDict) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set that `config.data.name` names.

    A module that holds one is imported whenever a config is checked, so `load` imports what takes long to import.

    keys: the rules of its own config keys, such as "data.n_subjects".
    load: from `config.data` to all images of all classes, `image_size` pixels wide and high; `fer_jax.data.load.load`
      leaves out the classes of `exclude`.
    complaint: from a whole config whose keys are all right by themselves to "data.key is …; it may be …", or None.
    """

    keys: dict[str, Rule]
    load: Callable[[ConfigDict], FaceArrays]
    complaint: Callable[[ConfigDict], str | None] = _no_complaint

    def __post_init__(self):
        wrong = [key for key in self.keys if not key.startswith("data.")]
        if wrong:
            raise ValueError(f"keys has {wrong}; the keys of a data set begin with 'data.'")
