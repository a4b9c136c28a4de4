"""What a method corrects in the head after an increment: the bias towards the classes that were seen last.

A correction has (head, logits f32[R, C], labels i32[R], context): reserved images' logits and labels, which not every
one needs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from fer_jax import losses

Params = Any


def align_weights(head: Params, logits: jax.Array, labels: jax.Array, context: Any) -> Params:
    """Scales the new classes' columns to the mean length of the old ones' (WA, arXiv 1911.07053, equations 8 and 9).

    There weights are also clipped to be positive in training; here they are not. The bias is left as it is.
    """
    del logits, labels
    kernel, new, known = head["logits"]["kernel"], context.new_mask, context.class_mask
    lengths = jnp.linalg.norm(kernel, axis=0)
    old = known & ~new
    factor = jnp.mean(lengths, where=old) / jnp.mean(lengths, where=new)
    return {**head, "logits": {**head["logits"], "kernel": jnp.where(new, factor * kernel, kernel)}}


def correct_bias(head: Params, logits: jax.Array, labels: jax.Array, context: Any) -> Params:
    """New logits become `alpha z + beta`, by cross-entropy on reserved images (BiC, arXiv 1905.13260, equation 4).

    alpha and beta are put into the new classes' columns, which say the same as a layer behind them. The cross-entropy
    is convex in both.
    """
    new, known = context.new_mask, context.class_mask

    def corrected(z: jax.Array, numbers: jax.Array) -> jax.Array:
        return jnp.where(new, numbers[0] * z + numbers[1], z)

    @jax.jit
    def objective(numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda n: jnp.mean(losses.cross_entropy(corrected(logits, n), labels, known)))(
            numbers
        )

    found = optimize.minimize(
        lambda n: tuple(map(np.float64, objective(jnp.float32(n)))), np.array([1.0, 0.0]), jac=True
    )
    alpha, beta = jnp.float32(found.x[0]), jnp.float32(found.x[1])
    kernel, bias = head["logits"]["kernel"], head["logits"]["bias"]
    fitted = {"kernel": jnp.where(new, alpha * kernel, kernel), "bias": jnp.where(new, alpha * bias + beta, bias)}
    return {**head, "logits": fitted}
