"""Linear discriminants of features: class means, and Gaussians with one covariance.

Each is a kind of statistics and a function that scores features by them. Statistics accumulate class by class (`empty`,
`add`), or are of all classes at once (`of`). They are the same in any order of classes, but for `Streaming`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SHRINKAGE = 1e-4


class Linear(NamedTuple):
    """A classifier that is linear in the features: kernel f32[D, C], bias f32[C]."""

    kernel: jax.Array
    bias: jax.Array

    @classmethod
    def by_means(cls, means: jax.Array, weights: jax.Array) -> "Linear":
        """Returns linear discriminants by means f32[C, D] and these behind the inverse covariance, f32[D, C]."""
        return cls(weights, -0.5 * jnp.sum(means.T * weights, 0))

    def __call__(self, features: jax.Array) -> jax.Array:
        """Scores features f32[R, D], f32[R, C]."""
        return features @ self.kernel + self.bias


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

    @classmethod
    def of(cls, features: jax.Array, filled: jax.Array) -> "Statistics":
        """Returns the statistics of all classes, of features f32[C, M, D] where `filled` bool[C, M]."""
        return cls(*_sums(features, filled))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Statistics":
        """Adds a class's features f32[R, D], the rows `filled` bool[R], all at once; equals adding one by one."""
        mean = jnp.mean(features, 0, where=filled[:, None])
        rest = jnp.where(filled[:, None], features - mean, 0.0)
        return Statistics(
            self.mean.at[class_index].set(mean),
            self.count.at[class_index].set(jnp.sum(filled, dtype=jnp.float32)),
            self.scatter + rest.T @ rest,
        )

    def covariance(self) -> jax.Array:
        """Returns the covariance that all classes share, f32[D, D]."""
        return self.scatter / jnp.maximum(jnp.sum(self.count), 1)


def nearest_mean(statistics: Statistics) -> Linear:
    """Returns the classifier by the nearest class mean (Mensink et al., PAMI 2013).

    A score is minus the squared distance to the mean, without ‖x‖², which is the same for all classes.
    """
    return Linear(2 * statistics.mean.T, -jnp.sum(jnp.square(statistics.mean), 1))


def class_mean(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Scores features f32[R, D] by `nearest_mean`, f32[R, C].

    In the paper the distance is in a learned metric, here in the features as they are.
    """
    return nearest_mean(statistics)(features)


def pooled(statistics: Statistics) -> Linear:
    """Returns linear discriminants with one shrunk covariance (as SLDA's, arXiv 1909.01520, eq. 4 to 6)."""
    covariance = statistics.covariance()
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * jnp.eye(len(covariance))
    return Linear.by_means(statistics.mean, jnp.linalg.solve(covariance, statistics.mean.T))


def discriminant(statistics: Statistics, features: jax.Array) -> jax.Array:
    """Scores features f32[R, D] by `pooled`, f32[R, C]."""
    return pooled(statistics)(features)


class Streaming(NamedTuple):
    """Statistics as SLDA has them (arXiv 1909.01520): of the base classes at once, then of one image after another.

    The covariance of the base classes is the oracle approximating shrinkage estimate (OAS, arXiv 0907.4698). Image
    t + 1 then adds t / (t + 1) of the square of its distance to the class mean before it, which is 0 before a class's
    first image. So a class's first images count for more than the later ones, and the result depends a little on the
    order of images and classes. `Statistics` has the exact covariance, the same in any order.

    statistics: their scatter is the covariance times the number of images.
    base: f32[], the images of the base classes.
    """

    statistics: Statistics
    base: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Streaming":
        """Returns the statistics of no class yet: zeros for C classes and D features."""
        return cls(Statistics.empty(n_classes, width), jnp.zeros(()))

    def prepare(self, features: jax.Array) -> "Streaming":
        """Counts the images f32[R, D] of the base classes, before any class is added."""
        return self._replace(base=jnp.float32(len(features)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Streaming":
        """Adds a class's features f32[R, D], the rows `filled` bool[R], in their order."""
        return _add_to_stream(self, class_index, features, filled)


@jax.jit
def _add_to_stream(stream: Streaming, class_index: int, features: jax.Array, filled: jax.Array) -> Streaming:
    before, after = stream.statistics, stream.statistics.add(class_index, features, filled)
    seen, total = jnp.sum(before.count), jnp.sum(after.count)
    estimated = jnp.where(
        total == stream.base, total * oas(after.scatter / jnp.maximum(total, 1), total), after.scatter
    )
    place = jnp.cumsum(filled)
    there = jnp.where(filled[:, None], features, 0.0)
    mean = (jnp.cumsum(there, axis=0) - there) / jnp.maximum(place - 1, 1)[:, None]
    away = jnp.where(filled[:, None], features - mean, 0.0)
    t = seen + place - 1
    streamed = before.scatter + (away * (t / (t + 1))[:, None]).T @ away
    return stream._replace(statistics=after._replace(scatter=jnp.where(seen < stream.base, estimated, streamed)))


def oas(covariance: jax.Array, n: jax.Array) -> jax.Array:
    """Returns the oracle approximating shrinkage estimate of a covariance f32[D, D] of n images (arXiv 0907.4698).

    As scikit-learn has it, and so SLDA's authors: without two terms of size 1 / D.
    """
    width = len(covariance)
    variance, square = jnp.trace(covariance) / width, jnp.mean(jnp.square(covariance))
    apart = (n + 1) * (square - jnp.square(variance) / width)
    share = jnp.where(apart > 0, jnp.minimum((square + jnp.square(variance)) / jnp.where(apart > 0, apart, 1), 1), 1)
    return (1 - share) * covariance + share * variance * jnp.eye(width)


def streaming_discriminant(stream: Streaming, features: jax.Array) -> jax.Array:
    """Computes SLDA's linear discriminants, f32[R, C] (arXiv 1909.01520, eq. 4 to 6)."""
    return discriminant(stream.statistics, features)


@jax.jit
def shrunk(statistics: Statistics, shrinkage: float) -> Linear:
    """Returns linear discriminants, with the share `shrinkage` in (0, 1] of the covariance made round.

    Round is the identity times the mean variance, so the share means the same for features of any scale.
    """
    covariance = statistics.covariance()
    variance = jnp.maximum(jnp.mean(jnp.diagonal(covariance)), 1e-12)
    covariance = (1 - shrinkage) * covariance + shrinkage * variance * jnp.eye(len(covariance))
    return Linear.by_means(statistics.mean, solved(covariance, statistics.mean.T))


@jax.jit
def shrunk_discriminant(statistics: Statistics, features: jax.Array, shrinkage: float) -> jax.Array:
    """Scores features f32[R, D] by `shrunk`, f32[R, C]."""
    return shrunk(statistics, shrinkage)(features)


def closeness(features: jax.Array, means: jax.Array) -> jax.Array:
    """Computes minus the squared distance of features f32[R, D] to means f32[C, D], f32[R, C]."""
    return 2 * features @ means.T - jnp.sum(jnp.square(means), 1) - jnp.sum(jnp.square(features), 1)[:, None]


@jax.jit
def _sums(features: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns means, counts and scatter, as `Statistics` has them."""
    mean, rest = centred(features, filled)
    rest = rest.reshape(-1, rest.shape[-1])
    return mean, jnp.sum(filled, 1, dtype=jnp.float32), rest.T @ rest


def centred(features: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns each class's mean f32[C, D], and what is left of its features, 0 where there is none."""
    there = filled[..., None]
    mean = jnp.sum(jnp.where(there, features, 0.0), 1) / jnp.maximum(jnp.sum(filled, 1), 1)[:, None]
    return mean, jnp.where(there, features - mean[:, None], 0.0)


def unit(x: jax.Array) -> jax.Array:
    """Scales vectors [..., D] to length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def solved(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Returns the solution for a matrix that is symmetric and positive definite."""
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), right)
