"""The importance of each parameter for what was learned: the diagonal of the Fisher information (arXiv 1612.00796).

One anchor stands for all earlier tasks: importances add up, and parameters are held at the last increment's (Schwarz et
al., arXiv 1805.06370; Huszár, PNAS 2018).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fer_jax import losses
from fer_jax.models.network import Network, merge

Params = Any
BATCH = 16


def fisher(
    trainable: Params,
    frozen: Params,
    activations: jax.Array,
    labels: jax.Array,
    class_mask: jax.Array,
    network: Network,
    cut: str,
) -> Params:
    """Computes the mean square of the gradient of `log p(label | image)` over images, in the trainable parameters'
    structure: the empirical Fisher information, at the images' labels and not at labels drawn from the model.

    Args:
      activations: f32[R, ...], the trunk's output of the images.
      labels: i32[R], known classes, -1 for a row that is no image.
    """
    total = jax.tree.map(jnp.zeros_like, trainable)
    for begin in range(0, len(labels), BATCH):  # from the host: gradients of convolutions are slow in loops on the CPU
        rows = jnp.arange(begin, begin + BATCH)
        there = rows < len(labels)
        rows = jnp.minimum(rows, len(labels) - 1)
        there &= labels[rows] >= 0
        part = _squares(trainable, frozen, activations[rows], labels[rows], there, class_mask, network, cut)
        total = jax.tree.map(jnp.add, total, part)
    return jax.tree.map(lambda leaf: leaf / jnp.sum(labels >= 0), total)


@functools.partial(jax.jit, static_argnames=("network", "cut"))
def _squares(trainable, frozen, activations, labels, there, class_mask, network, cut):
    def loss(trainable, activation, label):
        logits, _ = network.tail(merge(trainable, frozen), activation[None], cut)
        # A label that is known, so that no infinite loss is there to be masked.
        label = jnp.where(label >= 0, label, jnp.argmax(class_mask))
        return losses.cross_entropy(logits, label[None], class_mask)[0]

    gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(trainable, activations, labels)
    return jax.tree.map(lambda leaf: jnp.tensordot(there.astype(leaf.dtype), jnp.square(leaf), 1), gradients)
