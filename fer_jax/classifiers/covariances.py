"""A classifier by a covariance of each class (FeCAM)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.classifiers.discriminants import centred, solved, unit


class Covariances(NamedTuple):
    """Statistics of the classes seen so far, a covariance of each.

    mean: f32[C, D], of the features.
    scatter: f32[C, D, D], of their square roots about the root's mean, summed over the images.
    """

    mean: jax.Array
    scatter: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Covariances":
        """Returns the statistics of no class yet: zeros for C classes and D features."""
        return cls(jnp.zeros((n_classes, width)), jnp.zeros((n_classes, width, width)))

    @classmethod
    def of(cls, features: jax.Array, filled: jax.Array) -> "Covariances":
        """Returns the statistics of all classes, of features f32[C, M, D] where `filled` bool[C, M]."""
        _, rest = centred(_root(features), filled)
        return cls(centred(features, filled)[0], jnp.einsum("cmd,cme->cde", rest, rest))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Covariances":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        (mean,), (scatter,) = Covariances.of(features[None], filled[None])
        return Covariances(self.mean.at[class_index].set(mean), self.scatter.at[class_index].set(scatter))


@jax.jit
def fecam(statistics: Covariances, features: jax.Array) -> jax.Array:
    """Computes minus the squared Mahalanobis distance by each class's own correlations, f32[R, C].

    (FeCAM, arXiv 2309.14062): of square roots (Tukey's transform), the covariance twice shrunk towards its mean
    variance and covariance, then brought to correlations. Its scale, and so the number of images, has no influence.
    """
    roots = unit(_root(features))
    eye = jnp.eye(features.shape[1])

    def of_class(mean, scatter):
        for _ in range(2):
            variance = jnp.mean(jnp.diagonal(scatter))
            covariance = jnp.sum(scatter * (1 - eye)) / jnp.maximum(jnp.sum(1 - eye), 1)
            scatter = scatter + variance * eye + covariance * (1 - eye)
        # A class without images has no variance; anything finite will do.
        deviation = jnp.sqrt(jnp.maximum(jnp.diagonal(scatter), 1e-12))
        correlation = jnp.where(eye > 0, 1.0, scatter / jnp.outer(deviation, deviation))
        away = roots - unit(_root(mean))
        return -jnp.sum(away.T * solved(correlation, away.T), 0)

    return jax.lax.map(lambda one: of_class(*one), (statistics.mean, statistics.scatter)).T


def _root(x: jax.Array) -> jax.Array:
    """Returns the square root, with the sign of what is negative; pooled ReLUs are not."""
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))
