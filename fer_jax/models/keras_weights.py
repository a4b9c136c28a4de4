"""Loads weights that Keras wrote for `resnet_v2`; `keras_file` reads the file."""

import pathlib
from typing import Any

from fer_jax.models import keras_file
from fer_jax.models.resnet_v2 import ResNetV2

Params = Any


def load(path: str | pathlib.Path, model: ResNetV2 | None = None) -> Params:
    """Returns the parameters of a ResNetV2 backbone, as `resnet_v2.features` takes them.

    Args:
      path: as `keras_file.load` takes it.
      model: the network that the file must hold; None is the one that its layers' names and shapes say.

    Raises:
      UserError: as `keras_file.load`.
    """
    return keras_file.load(path, model or ResNetV2)
