"""What is done to an image before a pretrained backbone sees it: its centre is cut out, resized and normalised.

Published weights expect what they were trained on; `config.model.input` states it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax.config.rules import TEXT, Rule, fits, number, one_of, optional, whole

INTERPOLATIONS = {"bilinear": "linear", "bicubic": "cubic"}


def _channels(rule: Rule) -> Rule:
    words = f"() or a tuple of three, one a channel, each {rule.words}"
    return optional(Rule((tuple, list), lambda v: len(v) in (0, 3) and all(fits(rule, x) for x in v), words, rule), ())


KEYS: dict[str, Rule] = {
    "model.input.mean": _channels(number(-10, 10)).means(
        "Means of the channels that are subtracted; an empty tuple takes those of model.input_range."
    ),  # of images in [0, 1]; () is what model.input_range says
    "model.input.std": _channels(number(0, 10, open_low=True)).means(
        "Deviations that the channels are divided by; an empty tuple takes those of model.input_range."
    ),
    "model.input.size": optional(whole(0, 1024), 0).means(
        "Side of the images that the backbone sees, in pixels; 0 is data.image_size."
    ),  # pixels of a side that the backbone sees; 0 is data.image_size
    "model.input.crop": optional(number(0, 1, open_low=True), 1.0).means(
        "Share of a side that is left in the centre before resizing."
    ),  # the part of a side that is kept, in the centre
    "model.input.interpolation": optional(one_of(*INTERPOLATIONS), "bicubic").means(
        "How images are resized for the backbone."
    ),
    "model.source": optional(TEXT, "").means(
        "Where the file of weights comes from, for the model card."
    ),  # where the file of weights came from, for the model card
}


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The steps from an image in [0, 1] to a backbone's input, in their order.

    crop: the part of a side that is kept, in the centre.
    size: pixels of a side; 0 leaves it. Pillow's filter, in float32: antialiased where it makes an image smaller.
    mean, std: of the three channels; the result is (image - mean) / std.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int = 0
    crop: float = 1.0
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, model: ml_collections.ConfigDict) -> "Preparation | None":
        """Returns that of a resolved `config.model`; None for a backbone without `model.input`."""
        if "input" not in model:
            return None
        own = model.input
        return cls(tuple(own.mean), tuple(own.std), own.size, own.crop, own.interpolation)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns f32[B, size, size, 3] of images f32[B, H, W, 3] in [0, 1]."""
        n_pixels = max(1, round(images.shape[1] * self.crop))
        first = (images.shape[1] - n_pixels) // 2
        images = images[:, first : first + n_pixels, first : first + n_pixels]
        if self.size and self.size != n_pixels:
            shape = (images.shape[0], self.size, self.size, 3)
            images = jax.image.resize(images, shape, INTERPOLATIONS[self.interpolation])
        return (images - jnp.asarray(np.float32(self.mean))) / jnp.asarray(np.float32(self.std))


def complaint(model: ml_collections.ConfigDict) -> str | None:
    """Returns why `model.input` or `model.weights`, which no package has, cannot be, or None."""
    if model.weights == "pretrained":
        words = "'none' or the path of a file (docs/weights.md)"
        return f"model.weights is 'pretrained'; with {model.name} it may be {words}"
    given = model.get("input", {})
    if bool(given.get("mean", ())) != bool(given.get("std", ())):
        return "model.input has one of mean and std; it may have both or neither"
    return None


def side(model: ml_collections.ConfigDict, image_size: int) -> tuple[str, int]:
    """Returns the side of the images that the backbone sees, and the key that decides it."""
    given = model.get("input", {})
    if given.get("size", 0):
        return "model.input.size", given["size"]
    crop = given.get("crop", 1.0)
    key = "data.image_size" if crop == 1 else "model.input.crop of data.image_size"
    return key, max(1, round(image_size * crop))
