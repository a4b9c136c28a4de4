"""Corrections of the head after an increment, against the bias towards the classes seen last.

A correction takes (head, logits f32[R, C], labels i32[R], context): the logits and labels of reserved images, None if
the method reserves none; a label is -1 where a row is no image. It returns the head, and the numbers of the correction.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize

Params = Any


def align_weights(head: Params, logits: None, labels: None, context: Any) -> tuple[Params, dict[str, jax.Array]]:
    """Scales the new classes' columns to the mean length of the old ones' (WA, arXiv 1911.07053, equations 8 and 9).

    There weights are also clipped to be positive in training, from the base task on; here all methods share a base
    model, whose weights are of both signs. The bias is left as it is.
    """
    del logits, labels
    kernel, new, known = head["logits"]["kernel"], context.new_mask, context.class_mask
    lengths = jnp.linalg.norm(kernel, axis=0)
    old = known & ~new
    factor = jnp.mean(lengths, where=old) / jnp.mean(lengths, where=new)
    scaled = jnp.where(new, factor * kernel, kernel)
    return {**head, "logits": {**head["logits"], "kernel": scaled}}, {"factor": factor}


def correct_bias(head: Params, logits: jax.Array, labels: jax.Array, context: Any) -> tuple[Params, dict[str, float]]:
    """Fits `alpha z + beta` to the new classes' logits z on reserved images (BiC, arXiv 1905.13260, equation 4).

    alpha and beta are put into the new classes' columns, which say the same as a layer behind them. The cross-entropy
    is convex in both.
    """
    new, known = context.new_mask, context.class_mask

    def objective(numbers: np.ndarray) -> tuple[np.float64, np.ndarray]:
        return tuple(map(np.float64, _bias_loss(jnp.float32(numbers), logits, labels, new, known)))

    found = optimize.minimize(objective, np.array([1.0, 0.0]), jac=True)
    alpha, beta = jnp.float32(found.x[0]), jnp.float32(found.x[1])
    kernel, bias = head["logits"]["kernel"], head["logits"]["bias"]
    fitted = {"kernel": jnp.where(new, alpha * kernel, kernel), "bias": jnp.where(new, alpha * bias + beta, bias)}
    return {**head, "logits": fitted}, {"alpha": float(alpha), "beta": float(beta)}


correct_bias.reserved = 0.1  # the share of images that it is fitted on, as in the paper


@jax.jit
@jax.value_and_grad
def _bias_loss(numbers: jax.Array, logits: jax.Array, labels: jax.Array, new: jax.Array, known: jax.Array) -> jax.Array:
    corrected, there = jnp.where(new, numbers[0] * logits + numbers[1], logits), labels >= 0
    # A label that is known for every row, so that no infinite loss is there to be masked.
    filled = jnp.where(there, labels, jnp.argmax(known))
    where = jnp.broadcast_to(known, corrected.shape)
    loss = optax.softmax_cross_entropy_with_integer_labels(corrected, filled, where=where)
    return jnp.mean(jnp.where(known[filled], loss, jnp.inf), where=there)
