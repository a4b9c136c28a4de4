"""How a method answers, beside its network: class means and linear discriminants of features.

Each gives one number an image and class, the highest of which is the answer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SHRINKAGE = 1e-4


class Statistics(NamedTuple):
    """Features of the classes seen so far.

    mean: f32[C, D].
    count: f32[C], images of each class.
    scatter: f32[D, D], summed over the images: what is left of them after their class's mean.
    """

    mean: jax.Array
    count: jax.Array
    scatter: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Statistics":
        """Those of no class yet: zeros for C classes and D features."""
        return cls(jnp.zeros((n_classes, width)), jnp.zeros(n_classes), jnp.zeros((width, width)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Statistics":
        """These and a class's features f32[R, D], those of the rows `filled` bool[R], all at once; as one by one."""
        mean = jnp.mean(features, 0, where=filled[:, None])
        rest = jnp.where(filled[:, None], features - mean, 0.0)
        return Statistics(
            self.mean.at[class_index].set(mean),
            self.count.at[class_index].set(jnp.sum(filled, dtype=jnp.float32)),
            self.scatter + rest.T @ rest,
        )


def class_mean(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Minus the squared distance to every class mean, f32[R, C] (Mensink et al., PAMI 2013)."""
    return _closeness(features, statistics.mean)


def discriminant(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Linear discriminant analysis with one shrunk covariance, f32[R, C] (SLDA, arXiv 1909.01520, equations 4 to 6)."""
    width = len(statistics.scatter)
    covariance = statistics.scatter / jnp.maximum(jnp.sum(statistics.count), 1)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * jnp.eye(width)
    weights = jnp.linalg.solve(shrunk, statistics.mean.T)  # [D, C]
    return features @ weights - 0.5 * jnp.sum(statistics.mean.T * weights, 0)


def exemplar_mean(exemplars: jax.Array, kept: jax.Array, features: jax.Array) -> jax.Array:
    """Minus the squared distance to the mean of every class's exemplars, f32[R, C] (arXiv 1611.07725, algorithm 1).

    Args:
      exemplars: f32[C, M, D], features of the exemplars.
      kept: bool[C, M].
      features: f32[R, D]; all features are brought to length 1.
    """
    exemplars, features = _unit(exemplars), _unit(features)
    mean = jnp.sum(exemplars * kept[..., None], 1) / jnp.maximum(jnp.sum(kept, 1), 1)[:, None]
    return _closeness(features, _unit(mean))


def _closeness(features: jax.Array, means: jax.Array) -> jax.Array:
    return 2 * features @ means.T - jnp.sum(jnp.square(means), 1) - jnp.sum(jnp.square(features), 1)[:, None]


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
