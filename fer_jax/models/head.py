"""The expression head: hidden layers and one logit for each of all C classes.

A mask outside the head tells which classes are known, so growing by a class fills a column and changes no shape.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any


class ExpressionHead(nn.Module):
    """Dropout, Dense sigmoid, …, Dropout, Dense C: raw logits over all classes.

    hidden: widths of the sigmoid layers.
    n_classes: C.
    dropout: rate in front of every layer.
    dtype: what the layers compute in (`models.precision`).
    """

    hidden: tuple[int, ...] = (512, 32)
    n_classes: int = 21
    dropout: float = 0.2
    dtype: type | None = None

    @nn.compact
    def __call__(self, features: jax.Array, deterministic: bool = True) -> jax.Array:
        """Logits f32[B, C] of features f32[B, D]; not deterministic needs an rng named "dropout"."""
        x = features
        for i, width in enumerate(self.hidden):
            x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
            x = nn.sigmoid(_dense(f"hidden{i}", width, self.dtype)(x))
        x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
        return _dense("logits", self.n_classes, self.dtype)(x).astype(jnp.float32)


def _dense(name: str, width: int, dtype: type | None) -> nn.Dense:
    return nn.Dense(width, dtype=dtype, kernel_init=nn.initializers.glorot_uniform(), name=name)


def fill_column(head: Params, key: jax.Array, class_index: jax.Array | int) -> Params:
    """Fills the column of one class with fresh parameters, and leaves every other column unchanged.

    The column is Glorot-uniform for shape [H, 1] with bias 0, as the published code grows its head; unlike there
    each column has a key of its own.
    """
    kernel, bias = head["logits"]["kernel"], head["logits"]["bias"]
    column = nn.initializers.glorot_uniform()(key, (kernel.shape[0], 1), kernel.dtype)
    grown = {
        "kernel": kernel.at[:, class_index].set(column[:, 0]),
        "bias": bias.at[class_index].set(0.0),
    }
    return {**head, "logits": grown}


def masked_probabilities(logits: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Computes the softmax over the known classes, f32[B, C], exactly 0 elsewhere."""
    where = jnp.broadcast_to(class_mask, logits.shape)
    return jnp.where(where, jax.nn.softmax(logits, where=where), 0.0)


def predict_class(logits: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Returns the known class with the highest logit, i32[B]."""
    return jnp.argmax(jnp.where(class_mask, logits, -jnp.inf), axis=-1).astype(jnp.int32)
