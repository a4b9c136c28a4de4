"""Counts the multiply-adds of a network by a formula over its layers: convolutions and dense layers, kernel x output.

Zero padding is included, which an implementation may compute or skip.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.interpreters import ad

from fer_jax.models.network import Network


class Layer(NamedTuple):
    """One call of a convolution or dense layer.

    multiply_adds: of one forward pass.
    input_learns: whether what goes in depends on trained parameters, so that a step needs the gradient by it.
    """

    name: str
    multiply_adds: int
    input_learns: bool


def layers(function, *arguments) -> list[Layer]:
    """Lists the layers that a function of flax modules calls, without computing anything.

    Args:
      arguments: arrays or their shapes.
    """
    called: list[Layer] = []

    def note(call, arguments, keywords, context):
        out, module = call(*arguments, **keywords), context.module
        if context.method_name == "__call__" and isinstance(module, (nn.Conv, nn.Dense)):
            x = arguments[0]
            each = x.shape[-1]
            if isinstance(module, nn.Conv):
                each = each * math.prod(module.kernel_size) // module.feature_group_count
            # While a derivative is traced, values that depend on what it is taken by are marked.
            called.append(Layer(module.name, out.size * each, isinstance(x, ad.JVPTracer)))
        return out

    with nn.intercept_methods(note):
        jax.eval_shape(function, *arguments)
    return called


def forward(network: Network, image_size: int, cut: str, batch: int = 1) -> tuple[int, int]:
    """Counts the multiply-adds of the trunk below the cut and of the tail from it on, for a batch."""
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), image_size))
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
    activations = jax.eval_shape(lambda p, x: network.trunk(p, x, cut), params, images)
    below = layers(lambda p, x: network.trunk(p, x, cut), params, images)
    above = layers(lambda p, x: network.tail(p, x, cut), params, activations)
    return sum(layer.multiply_adds for layer in below), sum(layer.multiply_adds for layer in above)
