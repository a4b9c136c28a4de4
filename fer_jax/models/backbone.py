"""The interface of every backbone: a chain of named cuts, run from any one to any later one, and a `Family` that
configs name.

A backbone defines its cuts and how to get from each to the next; what it is made of is its own module's.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.rules import Rule
from fer_jax.models import preparation

Params = Any


class Backbone(nn.Module, kw_only=True):
    """A network from images to features, in steps between cuts.

    calibrate: batch-norm layers measure their input (`calibrate_batch_norm`).
    form: how convolutions are computed, one of `layers.FORMS`.
    dtype: what layers compute in (`models.precision`); None is float32.

    A subclass adds the fields of its architecture, and says:
      cuts: names in order, "input" first and "features" last; a block's name is the tensor that goes into it.
      feature_width: D.
      input_range: the range, by its name in `network.INPUT_RANGES`, that its published weights were trained on.
      layer_cut(layer): the last cut at or before a layer; training from that cut or an earlier one trains the layer.
      advance(cut, x): the tensor at the next cut.
      example_size: a side of images that it takes; no parameter may depend on it.
    """

    example_size = 64

    calibrate: bool = False
    form: str = "auto"
    dtype: type | None = None

    @nn.compact
    def __call__(self, x: jax.Array, start: str = "input", stop: str = "features") -> jax.Array:
        """Runs from one cut to another.

        Args:
          x: the tensor at `start`; images f32[B, H, W, 3] at "input".
          start, stop: names in `cuts`.

        Returns:
          the tensor at `stop`, in the precision of its layers; f32[B, D] at "features".

        Raises:
          ValueError: no such cut, or a stop before the start.
        """
        first, last = self.position(start), self.position(stop)
        if last < first:
            raise ValueError(f"stop {stop!r} comes before start {start!r}; cuts are {', '.join(self.cuts)}")
        for cut in self.cuts[first:last]:
            x = self.advance(cut, x)
        return x.astype(jnp.float32) if stop == "features" else x

    def position(self, cut: str) -> int:
        """Returns the position of a cut in `cuts`.

        Raises:
          ValueError: no such cut.
        """
        if cut not in self.cuts:
            raise ValueError(f"cut {cut!r} does not exist; it may be one of {', '.join(self.cuts)}")
        return self.cuts.index(cut)

    @property
    def map_cuts(self) -> tuple[str, ...]:
        """The cuts whose tensors Grad-CAM can look at: all but the features."""
        return self.cuts[:-1]

    def as_map(self, tensor: jax.Array) -> jax.Array:
        """Returns the tensor at a cut as a map [B, h, w, D], where it is one in another form; else as it is."""
        return tensor

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Returns the shape of every parameter, by layer and name, in the order of the cuts; computes nothing."""
        size = self.example_size
        made = jax.eval_shape(lambda: self.init(jax.random.key(0), jnp.zeros((1, size, size, 3))))["params"]
        layers = sorted(made, key=lambda layer: self.position(self.layer_cut(layer)))
        return {layer: {name: leaf.shape for name, leaf in made[layer].items()} for layer in layers}


class Weights(NamedTuple):
    """Pretrained parameters of a backbone, and the checksum of their file."""

    params: Params
    sha256: str

    @classmethod
    def of(cls, params: Params, path: str | pathlib.Path) -> "Weights":
        """Returns parameters that were read from a file, with its checksum."""
        with open(pathlib.Path(path).expanduser(), "rb") as file:
            return cls(params, hashlib.file_digest(file, "sha256").hexdigest())


def _no_complaint(model: ml_collections.ConfigDict) -> None:
    return None


def _any_size(model: ml_collections.ConfigDict, size: int) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Family:
    """All backbones of one kind: `config.model.name` names a family, and the other keys of `config.model` choose within
    it.

    build: returns the backbone that `config.model` describes.
    keys: the rules of its own config keys, such as "model.widths".
    load_weights: reads what `config.model.weights` names for a backbone, never called with "none"; it raises UserError
      with a message that begins after `config.model.`. None: there are no pretrained weights.
    complaint: returns what the keys of `config.model` say together that cannot be, as `model.key is …; it may be …`, or
      None.
    least_image_size: pixels of a side.
    wrong_size: returns what a side of the images that the backbone sees may be, in words, where it cannot be this one.
    """

    build: Callable[[ml_collections.ConfigDict], Backbone]
    keys: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
    load_weights: Callable[[ml_collections.ConfigDict, Backbone], Weights] | None = None
    complaint: Callable[[ml_collections.ConfigDict], str | None] = _no_complaint
    least_image_size: int = 8
    wrong_size: Callable[[ml_collections.ConfigDict, int], str | None] = _any_size

    def wrong(self, config: ml_collections.ConfigDict) -> str | None:
        """Returns why a whole config cannot be used with this family, as `key is …; it may be …`, or None."""
        model, size = config.model, config.data.image_size
        key, seen = preparation.side(model, size)
        if seen < self.least_image_size:
            return f"{key} is {seen}; with {model.name} it may be from {self.least_image_size}"
        if words := self.wrong_size(model, seen):
            return f"{key} is {seen}; with {model.name} it may be {words}"
        if self.load_weights is None and model.weights != "none":
            return f"model.weights is {model.weights!r}; with {model.name} it may be 'none'"
        return self.complaint(model)


@functools.partial(jax.jit, static_argnums=0)
def calibrate_batch_norm(model: Backbone, params: Params, images: jax.Array) -> Params:
    """Sets the mean and variance of every batch-norm to those of its input on images f32[B, H, W, 3].

    The method never trains batch-norm, which is right for pretrained weights; a network that starts from random
    ones gets its statistics here, in one pass, each layer behind already calibrated ones.
    """
    _, variables = model.clone(calibrate=True).apply({"params": params}, images, mutable=["measured"])
    measured = variables.get("measured", {})
    return {layer: {**leaves, **measured.get(layer, {})} for layer, leaves in params.items()}
