"""Gaussian mixtures of each class, with independent features; one Gaussian a class is naive Bayes.

Statistics accumulate class by class, in any order, and a class is fitted once, of its own images alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.classifiers.random_features import Scaling

COMPONENTS = 3
ITERATIONS = 20
FLOOR = 1e-2  # added to variances during the fit; standardised features have variance 1


class Mixtures(NamedTuple):
    """A mixture of K Gaussians for each class seen so far, each with a variance of its own in every direction.

    scaling: of the features in front of them.
    weight: f32[C, K], the shares of the components; 0 of a class without images.
    mean, variance: f32[C, K, D].
    """

    scaling: Scaling
    weight: jax.Array
    mean: jax.Array
    variance: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int, components: int = COMPONENTS) -> "Mixtures":
        """Returns the mixtures of no class yet, for C classes, D features and K components."""
        zeros = jnp.zeros((n_classes, components, width))
        return cls(Scaling.empty(width), jnp.zeros((n_classes, components)), zeros, zeros)

    @classmethod
    def single(cls, n_classes: int, width: int) -> "Mixtures":
        """Returns the same with one component a class."""
        return cls.empty(n_classes, width, 1)

    def prepare(self, features: jax.Array) -> "Mixtures":
        """Sets the scaling by features f32[R, D], before any class is added."""
        return self._replace(scaling=Scaling.of(features, jnp.ones(len(features), bool)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Mixtures":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        return _add(self, class_index, features, filled)


@jax.jit
def mixture(mixtures: Mixtures, features: jax.Array, floor: float) -> jax.Array:
    """Computes the logarithm of each class's density, f32[R, C], all classes equally frequent.

    Args:
      features: f32[R, D].
      floor: added to every variance of the standardised features, above 0.
    """
    scaled = mixtures.scaling(features)

    def of_class(one):
        weight, mean, variance = one
        return jax.nn.logsumexp(_log_joint(scaled, weight, mean, variance + floor), axis=1)

    return jax.lax.map(of_class, (mixtures.weight, mixtures.mean, mixtures.variance)).T


def _log_joint(features: jax.Array, weight: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Computes log weight + log density of each component, f32[R, K], up to a constant."""

    def of_component(one):
        share, centre, spread = one
        away = jnp.square(features - centre) / spread
        return jnp.log(jnp.maximum(share, 1e-12)) - 0.5 * (jnp.sum(away, 1) + jnp.sum(jnp.log(spread)))

    return jax.lax.map(of_component, (weight, mean, variance)).T


@jax.jit
def _add(mixtures: Mixtures, class_index: int, features: jax.Array, filled: jax.Array) -> Mixtures:
    scaled = jnp.where(filled[:, None], mixtures.scaling(features), 0.0)

    def improved(_, found):
        weight, mean, variance = found
        share = jax.nn.softmax(_log_joint(scaled, weight, mean, variance + FLOOR), axis=1)
        return _maximised(scaled, share * filled[:, None])

    first = _maximised(scaled, _nearest(scaled, filled, mixtures.weight.shape[1]))
    weight, mean, variance = jax.lax.fori_loop(0, ITERATIONS, improved, first)
    return mixtures._replace(
        weight=mixtures.weight.at[class_index].set(weight),
        mean=mixtures.mean.at[class_index].set(mean),
        variance=mixtures.variance.at[class_index].set(variance),
    )


def _maximised(features: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns weight, mean and variance of the components by each image's shares f32[R, K] (the M step)."""
    count = jnp.maximum(jnp.sum(share, 0), 1e-6)[:, None]
    mean = share.T @ features / count
    # About the mean, not as a difference of squares, which float32 would round to negative numbers.
    variance = jax.lax.map(lambda one: one[0] @ jnp.square(features - one[1]), (share.T, mean)) / count
    return count[:, 0] / jnp.sum(count), mean, variance


def _nearest(features: jax.Array, filled: jax.Array, components: int) -> jax.Array:
    """Returns bool[R, K], to which of K images far apart each image is nearest; nothing is drawn at random.

    The first one is nearest to the mean, each other one farthest from those before it.
    """
    centre = jnp.mean(features, 0, where=filled[:, None])
    first = jnp.argmin(jnp.where(filled, _distance(features, centre), jnp.inf))
    away = [_distance(features, features[first])]
    for _ in range(components - 1):
        apart = jnp.where(filled, jnp.min(jnp.stack(away), 0), -1.0)
        away.append(_distance(features, features[jnp.argmax(apart)]))
    nearest = jnp.argmin(jnp.stack(away, 1), 1)
    return jax.nn.one_hot(nearest, components) * filled[:, None]


def _distance(features: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(features - other), 1)
