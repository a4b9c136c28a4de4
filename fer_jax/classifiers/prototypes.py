"""Classes by one vector each, compared by angle; those of few images move towards similar base classes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.classifiers.discriminants import unit


def cosine(prototypes: jax.Array, features: jax.Array) -> jax.Array:
    """Computes the cosine of the angle between features f32[R, D] and prototypes f32[C, D], f32[R, C]."""
    return unit(features) @ unit(prototypes).T


def teen(prototypes: jax.Array, base_prototypes: jax.Array, tau: float = 16.0, alpha: float = 0.5) -> jax.Array:
    """Moves few-shot prototypes towards similar base ones, f32[..., D] (TEEN, arXiv 2312.05229).

    p' = (1 - α) p̂ + α unit(Σ_b softmax_b(τ p̂·p̂_b) p̂_b); p̂ has length 1. `cosine` answers by them.

    Args:
      prototypes: f32[..., D], mean features of a new class's few images.
      base_prototypes: f32[B, D], mean features of the base classes; a row of zeros is none.
    """
    own, base = unit(prototypes), unit(base_prototypes)
    there = jnp.any(base_prototypes != 0, 1)
    near = jax.nn.softmax(jnp.where(there, tau * own @ base.T, -1e30))
    return (1 - alpha) * own + alpha * unit(near @ base)


class Prototypes(NamedTuple):
    """Statistics of the classes seen so far.

    mean: f32[C, D], of features; a class that came after the base classes has what `teen` makes of it.
    base: f32[C, D], the means of the base classes; zeros until they are all there, and in other rows.
    """

    mean: jax.Array
    base: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Prototypes":
        """Returns the statistics of no class yet: zeros for C classes and D features."""
        return cls(jnp.zeros((n_classes, width)), jnp.zeros((n_classes, width)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Prototypes":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        own = jnp.mean(features, 0, where=filled[:, None])
        moved = jnp.where(jnp.any(self.base != 0), teen(own, self.base), own)
        return self._replace(mean=self.mean.at[class_index].set(moved))

    def settle(self) -> "Prototypes":
        """Takes the classes added so far for the base classes."""
        return self._replace(base=self.mean)

    def scores(self, features: jax.Array) -> jax.Array:
        """Computes the cosine of features f32[R, D] with every class, f32[R, C]."""
        return cosine(self.mean, features)
