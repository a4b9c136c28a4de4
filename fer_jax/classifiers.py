"""Classifiers beside the network: class means and linear discriminants of features.

Each computes one number for every image and class; the answer is the class with the highest. `Classifier` is one as a
value.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SHRINKAGE = 1e-4


class Statistics(NamedTuple):
    """Statistics of the features of the classes seen so far.

    mean: f32[C, D].
    count: f32[C], images of each class.
    scatter: f32[D, D], summed over the images: what is left of them after their class's mean.
    """

    mean: jax.Array
    count: jax.Array
    scatter: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Statistics":
        """Returns the statistics of no class yet: zeros for C classes and D features."""
        return cls(jnp.zeros((n_classes, width)), jnp.zeros(n_classes), jnp.zeros((width, width)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Statistics":
        """Adds a class's features f32[R, D], the rows `filled` bool[R], all at once; equals adding one by one."""
        mean = jnp.mean(features, 0, where=filled[:, None])
        rest = jnp.where(filled[:, None], features - mean, 0.0)
        return Statistics(
            self.mean.at[class_index].set(mean),
            self.count.at[class_index].set(jnp.sum(filled, dtype=jnp.float32)),
            self.scatter + rest.T @ rest,
        )


def class_mean(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Computes minus the squared distance to every class mean, f32[R, C] (Mensink et al., PAMI 2013)."""
    return _closeness(features, statistics.mean)


def discriminant(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Computes linear discriminants with one shrunk covariance, f32[R, C] (SLDA, arXiv 1909.01520, eq. 4 to 6)."""
    width = len(statistics.scatter)
    covariance = statistics.scatter / jnp.maximum(jnp.sum(statistics.count), 1)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * jnp.eye(width)
    weights = jnp.linalg.solve(shrunk, statistics.mean.T)  # [D, C]
    return features @ weights - 0.5 * jnp.sum(statistics.mean.T * weights, 0)


class Exemplars(NamedTuple):
    """The exemplar memory, as a classifier sees it.

    features: f32[C, M, D], of the model that answers.
    filled: bool[C, M], which places of the memory hold an image.
    """

    features: jax.Array
    filled: jax.Array


def exemplar_mean(exemplars: Exemplars, features: jax.Array) -> jax.Array:
    """Computes minus the squared distance to each class's mean exemplar, f32[R, C] (arXiv 1611.07725, algorithm 1).

    All features are brought to length 1.
    """
    stored, filled = _unit(exemplars.features), exemplars.filled
    mean = jnp.sum(stored * filled[..., None], 1) / jnp.maximum(jnp.sum(filled, 1), 1)[:, None]
    return _closeness(_unit(features), _unit(mean))


def _closeness(features: jax.Array, means: jax.Array) -> jax.Array:
    return 2 * features @ means.T - jnp.sum(jnp.square(means), 1) - jnp.sum(jnp.square(features), 1)[:, None]


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier of features.

    name: what results call it.
    scores: (what it reads, features f32[R, D]) to f32[R, C]; the highest score of a known class is the answer.
    empty: (n_classes, width) to the statistics of no class yet. None: it has no statistics, and reads `Exemplars`.
    add: (statistics, class_index, features f32[R, D], filled bool[R]) to the statistics with one class more, of the
      base model's features of all its training images. The classifiers of a method share one kind of statistics.
    """

    name: str
    scores: Callable[[Any, jax.Array], jax.Array]
    empty: Callable[[int, int], Any] | None = None
    add: Callable[[Any, int, jax.Array, jax.Array], Any] | None = None


CLASSIFIERS = {
    one.name: one
    for one in (
        Classifier("exemplar_mean", exemplar_mean),
        Classifier("class_mean", class_mean, Statistics.empty, Statistics.add),
        Classifier("discriminant", discriminant, Statistics.empty, Statistics.add),
    )
}
