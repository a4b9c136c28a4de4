"""Backbones for small pictures, without batch-norm: a multi-layer perceptron and a plain convolutional network.

Class-incremental methods are usually compared with these on digits and clothes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.rules import Rule, several, whole
from fer_jax.models.backbone import Backbone, Family
from fer_jax.models.layers import conv, max_pool

KEYS: dict[str, Rule] = {"model.widths": several(whole(1)).means("Widths of the layers.")}


class Mlp(Backbone):
    """Grey values, then dense ReLU layers.

    widths: of the layers; the last one is D.
    """

    widths: tuple[int, ...] = (128, 128)
    input_range = "zero_one"

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order."""
        return ("input", *(f"dense{i}" for i in range(1, len(self.widths))), "features")

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return self.widths[-1]

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "input" if layer == "dense0" else layer

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        number = 0 if cut == "input" else int(cut.removeprefix("dense"))
        if not number:
            x = x.mean(-1).reshape(x.shape[0], -1)  # len() would not take the symbolic batch of an export
        return nn.relu(
            nn.Dense(
                self.widths[number], dtype=self.dtype, kernel_init=nn.initializers.he_uniform(), name=f"dense{number}"
            )(x)
        )


class ConvNet(Backbone):
    """3×3 convolutions with ReLU and 2×2 max pools; the features are the mean over the remaining positions.

    widths: of the convolutions; the last one is D.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    input_range = "zero_one"

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order."""
        return ("input", *(f"conv{i}" for i in range(1, len(self.widths))), "map", "features")

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return self.widths[-1]

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "input" if layer == "conv0" else layer

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "map":
            return x.mean((1, 2), dtype=jnp.float32)
        number = 0 if cut == "input" else int(cut.removeprefix("conv"))
        x = nn.relu(conv(f"conv{number}", self.widths[number], 3, use_bias=True, form=self.form, dtype=self.dtype)(x))
        return max_pool(x, 2, 2)


def _mlp(model: ml_collections.ConfigDict) -> Mlp:
    return Mlp(tuple(model.widths))


def _convnet(model: ml_collections.ConfigDict) -> ConvNet:
    return ConvNet(tuple(model.widths))


MLP, CONVNET = Family(_mlp, KEYS), Family(_convnet, KEYS)
