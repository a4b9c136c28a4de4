"""Backbone and head as one network, run and trained in two parts around a cut."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.config.keys import INPUT_STATISTICS
from fer_jax.models.backbone import Backbone
from fer_jax.models.head import ExpressionHead
from fer_jax.models.layers import BATCH_STATISTICS
from fer_jax.models.preparation import Preparation

Params = Any

# Images in [0, 1] are multiplied and added to, by the names of `config.INPUT_RANGES`: Keras' ImageNet weights expect
# [-1, 1], EfficientNet-Lite's (pixel - 127) / 128. "imagenet" and "clip" are means and deviations of channels.
INPUT_RANGES = {"zero_one": (1, 0), "minus_one_one": (2, -1), "around_127": (255 / 128, -127 / 128)} | {
    name: (1 / np.float32(std), -np.float32(mean) / np.float32(std))
    for name, (mean, std) in INPUT_STATISTICS.items()
    if name in ("imagenet", "clip")
}


@dataclasses.dataclass(frozen=True)
class Network:
    """Pure functions of parameters {"backbone": …, "head": …}.

    A cut is a name in `backbone.cuts`, or "head". The trunk lies below the cut, the tail from it on.
    input_range: a name in INPUT_RANGES; images come in [0, 1] and are brought there first.
    preparation: what is done to them instead, if the backbone's family has `model.input`.
    mirrored: whether the features of images, below the cut "head", are the means over an image and its mirror image.
    """

    backbone: Backbone
    head: ExpressionHead
    input_range: str = "zero_one"
    mirrored: bool = False
    preparation: Preparation | None = None

    def __post_init__(self):
        if self.input_range not in INPUT_RANGES:
            raise ValueError(f"input_range is {self.input_range!r}; it may be one of {', '.join(INPUT_RANGES)}")

    # Compiled whole: layer by layer, so many shapes would take half a minute.
    @functools.partial(jax.jit, static_argnums=(0, 2))
    def init(self, key: jax.Array, image_size: int, backbone: Params | None = None) -> Params:
        """Returns fresh parameters, with all C columns of the head; the backbone's are those given, if any."""
        backbone_key, head_key = jax.random.split(key)
        if backbone is None:
            images = self.scale_input(jnp.zeros((1, image_size, image_size, 3)))
            backbone = self.backbone.init(backbone_key, images)["params"]
        pooled = jnp.zeros((1, self.backbone.feature_width))
        return {"backbone": backbone, "head": self.head.init(head_key, pooled)["params"]}

    def scale_input(self, images: jax.Array) -> jax.Array:
        """Scales images in [0, 1] to the backbone's input range, and resizes them if it has a size of its own."""
        if self.preparation is not None:
            return self.preparation(images)
        factor, offset = INPUT_RANGES[self.input_range]
        return images * factor + offset

    def trunk(self, params: Params, images: jax.Array, cut: str) -> jax.Array:
        """Computes the tensor at the cut from images f32[B, H, W, 3] in [0, 1]."""
        stop = "features" if cut == "head" else cut

        def of(side: jax.Array) -> jax.Array:
            return self.backbone.apply({"params": params["backbone"]}, self.scale_input(side), stop=stop)

        if self.mirrored and cut == "head":
            return (of(images) + of(images[:, :, ::-1])) / 2
        return of(images)

    def tail(
        self, params: Params, activations: jax.Array, cut: str, dropout_keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Computes logits f32[B, C] and features f32[B, D] from the tensor at the cut; drops out only with keys, one a
        row.
        """
        features = activations
        if cut != "head":
            features = self.backbone.apply({"params": params["backbone"]}, activations, start=cut)
        head = {"params": params["head"]}
        if dropout_keys is None or not self.head.dropout:
            return self.head.apply(head, features), features

        def one(row, key):
            return self.head.apply(head, row, deterministic=False, rngs={"dropout": key})

        return jax.vmap(one)(features, dropout_keys), features

    def head_logits(self, head: Params, features: jax.Array) -> jax.Array:
        """Computes logits f32[B, C] from pooled features f32[B, D], without dropout."""
        return self.head.apply({"params": head}, features)

    def split(self, params: Params, cut: str) -> tuple[Params, Params]:
        """Splits parameters into those that training from the cut changes, and the others.

        Trained are the kernels and biases of every layer at or after the cut, and the head; batch-norm never is.
        """
        first = len(self.backbone.cuts) if cut == "head" else self.backbone.position(cut)
        trainable: Params = {"head": params["head"], "backbone": {}}
        frozen: Params = {"backbone": {}}
        for layer, leaves in params["backbone"].items():
            norm = set(leaves) == set(BATCH_STATISTICS)
            trained = not norm and self.backbone.position(self.backbone.layer_cut(layer)) >= first
            (trainable if trained else frozen)["backbone"][layer] = leaves
        return trainable, frozen


def merge(trainable: Params, frozen: Params) -> Params:
    """Merges what `Network.split` split."""
    return {
        "backbone": {**frozen["backbone"], **trainable["backbone"]},
        "head": trainable["head"],
    }
