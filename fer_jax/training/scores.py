"""Scores of answers, computed on the device: loss, accuracy, confusion."""

import jax
import jax.numpy as jnp

from fer_jax import losses
from fer_jax.models.head import predict_class


@jax.jit
def score(
    logits: jax.Array, labels: jax.Array, include: jax.Array, class_mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns mean cross-entropy and accuracy over the included examples, among the known classes.

    Args:
      logits: f32[N, C].
      labels: i32[N].
      include: bool[N].
      class_mask: bool[C]; the label of every included example must be in it.
    """
    loss = losses.cross_entropy(logits, labels, class_mask)
    correct = predict_class(logits, class_mask) == labels
    n = jnp.maximum(jnp.sum(include), 1)
    return jnp.sum(jnp.where(include, loss, 0.0)) / n, jnp.sum(include & correct) / n


@jax.jit
def confusion(logits: jax.Array, labels: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Counts answers, i32[C, C], row truth and column answer, over the examples of known classes."""
    n_classes = class_mask.shape[0]
    counts = jnp.zeros((n_classes, n_classes), jnp.int32)
    return counts.at[labels, predict_class(logits, class_mask)].add(class_mask[labels].astype(jnp.int32))
