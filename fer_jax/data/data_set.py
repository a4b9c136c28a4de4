"""What a data set is to a config: its own keys, how it is loaded, and what it says of a whole config."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from fer_jax.config.rules import Rule
from fer_jax.data.arrays import FaceArrays


def _no_complaint(config: ConfigDict) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set that `config.data.name` names."""

    keys: dict[str, Rule]
    load: Callable[[ConfigDict], FaceArrays]
    complaint: Callable[[ConfigDict], str | None] = _no_complaint
