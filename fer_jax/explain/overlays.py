"""Faces under Grad-CAM maps, as `inference.predict` writes them beside its answers."""

import pathlib

import jax.numpy as jnp
import numpy as np

from fer_jax.explain import maps
from fer_jax.explain.figures import overlay
from fer_jax.inference.predict import Overlays
from fer_jax.inference.trained import Trained


def of(trained: Trained, folder: pathlib.Path, class_name: str | None = None, variant: str = "plain") -> Overlays:
    """Returns a function that overlays maps on a model's faces, at the layer that `maps.default_layer` chooses.

    Args:
      folder: where they are written.
      class_name: the class of the maps; None is each face's likeliest one.
      variant: one of `maps.VARIANTS`.

    Raises:
      UserError: an unknown class, or a network none of whose layers has a map.
    """
    layer = maps.default_layer(trained.network, trained.image_size)
    wanted = None if class_name is None else trained.class_index(class_name)

    def draw(faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        images = jnp.asarray(faces, jnp.float32) / 255
        heat = maps.grad_cam(trained.params, images, jnp.asarray(classes), trained.network, layer, variant)
        return np.stack([overlay(face, one) for face, one in zip(faces, np.asarray(heat), strict=True)])

    return Overlays(folder, draw, wanted, variant, layer)
