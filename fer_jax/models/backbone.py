"""What every backbone is: a chain of named cuts, run from any one to any later one.

A backbone says what its cuts are and how to get from each to the next; what it is made of is its own module's.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any


class Backbone(nn.Module):
    """A network from images to features, in steps between cuts.

    A subclass has the fields of its architecture, `calibrate: bool`, `form: str` (one of `layers.FORMS`) and `dtype`,
    what its layers compute in (`models.precision`), and says:
      cuts: names in order, "input" first and "features" last; a block's name is the tensor that goes into it.
      feature_width: D.
      feature_map: the cut whose tensor is pooled to features.
      input_range: the range, by its name in `network.INPUT_RANGES`, that its published weights were trained on.
      layer_cut(layer): the last cut at or before a layer; training from that cut or an earlier one trains the layer.
      advance(cut, x): the tensor at the next cut.
    """

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
        """Where a cut comes in `cuts`.

        Raises:
          ValueError: no such cut.
        """
        if cut not in self.cuts:
            raise ValueError(f"cut {cut!r} does not exist; it may be one of {', '.join(self.cuts)}")
        return self.cuts.index(cut)

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shape of every parameter, by layer and name, in the order of the cuts; nothing is computed."""
        size = 64  # no parameter depends on it
        made = jax.eval_shape(lambda: self.init(jax.random.key(0), jnp.zeros((1, size, size, 3))))["params"]
        layers = sorted(made, key=lambda layer: self.position(self.layer_cut(layer)))
        return {layer: {name: leaf.shape for name, leaf in made[layer].items()} for layer in layers}


@functools.partial(jax.jit, static_argnums=0)
def calibrate_batch_norm(model: Backbone, params: Params, images: jax.Array) -> Params:
    """Sets every batch-norm's mean and variance to those of its input on images f32[B, H, W, 3].

    The method never trains batch-norm, which is right for pretrained weights; a network that starts from random
    ones gets its statistics here, in one pass, each layer behind already calibrated ones.
    """
    _, found = model.clone(calibrate=True).apply({"params": params}, images, mutable=["measured"])
    measured = found.get("measured", {})
    return {layer: {**leaves, **measured.get(layer, {})} for layer, leaves in params.items()}
