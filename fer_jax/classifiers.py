"""Classifiers beside the network: class means, discriminants and ridge regression of features.

Each computes one number for every image and class; the answer is the class with the highest. `Classifier` is one as a
value. Those of statistics take in one class after another, in any order; those of exemplars are computed anew from the
memory, so that they follow a network whose tail moves.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SHRINKAGE = 1e-4
WIDTH = 1000  # random features; papers take 10,000 for 50,000 images


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


@jax.jit
def exemplar_discriminant(exemplars: Exemplars, features: jax.Array, penalty: float = 0.1) -> jax.Array:
    """Computes linear discriminants of the exemplars, f32[R, C], with one covariance for all classes.

    Args:
      penalty: is added to the covariance's diagonal, in units of its mean.
    """
    mean, rest = _centred(exemplars)
    covariance = rest.T @ rest / jnp.maximum(jnp.sum(exemplars.filled), 1)
    weights = jnp.linalg.solve(_loaded(covariance, penalty), mean.T)  # [D, C]
    return features @ weights - 0.5 * jnp.sum(mean.T * weights, 0)


@jax.jit
def exemplar_ridge(exemplars: Exemplars, features: jax.Array, penalty: float = 1e-3) -> jax.Array:
    """Computes ridge regression on random features of the exemplars, f32[R, C]; see `random_ridge`."""
    n_classes, width = len(exemplars.filled), exemplars.features.shape[-1]
    labels = jnp.where(exemplars.filled, jnp.arange(n_classes)[:, None], -1).reshape(-1)
    rows, key = exemplars.features.reshape(-1, width), jax.random.key(0)
    return random_ridge_scores(random_ridge(rows, labels, n_classes, WIDTH, penalty, key), features)


class RandomRidge(NamedTuple):
    """Ridge regression on random features: the projection f32[D, M] and the solution f32[M, C]."""

    projection: jax.Array
    solution: jax.Array


def random_ridge(
    features: jax.Array, labels: jax.Array, n_classes: int, width: int, penalty: float, key: jax.Array
) -> RandomRidge:
    """Fits ridge regression on random features (RanPAC, arXiv 2307.02251, phase 2; ACIL, 2205.14922).

    Every class weighs the same, whatever its images (AIR, arXiv 2408.10349).

    Args:
      features: f32[N, D].
      labels: i32[N], -1 where a row is no image.
      width: M, the number of random features.
      penalty: of the solution's squares, in units of the mean diagonal of the random features' second moments.
      key: of the projection; the same key, the same projection.
    """
    statistics, projection = RidgeStatistics.empty(n_classes, width), _projection(key, features.shape[1], width)
    random = _random_features(features, projection)
    own = jax.nn.one_hot(labels, n_classes)  # zeros where a row is no image
    own = own / jnp.maximum(jnp.sum(own, 0), 1)
    statistics = RidgeStatistics((random * jnp.sum(own, 1)[:, None]).T @ random, random.T @ own)
    return RandomRidge(projection, statistics.solution(penalty))


def random_ridge_scores(fitted: RandomRidge, features: jax.Array) -> jax.Array:
    """Computes the regression's answers f32[R, C] for features f32[R, D]."""
    return _random_features(features, fitted.projection) @ fitted.solution


class RidgeStatistics(NamedTuple):
    """Moments of random features, each class divided by its number of images: they add up in any order of classes.

    gram: f32[M, M]; means: f32[M, C].
    """

    gram: jax.Array
    means: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int = WIDTH) -> "RidgeStatistics":
        """Returns the moments of no class yet, for C classes and M random features."""
        return cls(jnp.zeros((width, width)), jnp.zeros((width, n_classes)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "RidgeStatistics":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        random = _random_features(features, _projection(jax.random.key(0), features.shape[1], len(self.gram)))
        weights = filled / jnp.maximum(jnp.sum(filled), 1)
        gram = self.gram + (random * weights[:, None]).T @ random
        return RidgeStatistics(gram, self.means.at[:, class_index].set(weights @ random))

    def solution(self, penalty: float) -> jax.Array:
        """Returns the ridge regression's solution f32[M, C]."""
        return jnp.linalg.solve(_loaded(self.gram, penalty), self.means)


@jax.jit
def ridge(statistics: RidgeStatistics, features: jax.Array, penalty: float = 1e-3) -> jax.Array:
    """Computes ridge regression on random features, f32[R, C], of moments that grew class by class."""
    projection = _projection(jax.random.key(0), features.shape[1], len(statistics.gram))
    return random_ridge_scores(RandomRidge(projection, statistics.solution(penalty)), features)


def _projection(key: jax.Array, width: int, random_width: int) -> jax.Array:
    return jax.random.normal(key, (width, random_width)) / jnp.sqrt(width)


def _random_features(features: jax.Array, projection: jax.Array) -> jax.Array:
    """Returns `relu(h W)` of features brought to one length, the root of D, so that no scale needs to be known."""
    return jax.nn.relu(jnp.sqrt(features.shape[1]) * _unit(features) @ projection)


@jax.jit
def fecam(statistics: "ClassCovariances", features: jax.Array, penalty: float = 1.0) -> jax.Array:
    """Computes minus the Mahalanobis distance by each class's own covariance, f32[R, C] (FeCAM, arXiv 2309.14062).

    Args:
      penalty: alpha, by which a covariance is shrunk, twice; 1 in the paper.
    """
    differences = _unit(_rooted(features))[:, None] - _unit(statistics.mean)  # [R, C, D]

    def distance(covariance, differences):
        shrunk = _shrunk(_shrunk(covariance, penalty), penalty)
        scale = jnp.sqrt(jnp.diagonal(shrunk))
        return jnp.sum(differences * jnp.linalg.solve(shrunk / jnp.outer(scale, scale), differences.T).T, -1)

    filled = (statistics.count > 0)[:, None, None]
    covariances = jnp.where(filled, statistics.covariance, jnp.eye(features.shape[1]))
    return -jax.lax.map(lambda one: distance(*one), (covariances, jnp.swapaxes(differences, 0, 1))).T


class ClassCovariances(NamedTuple):
    """Mean f32[C, D], count f32[C] and covariance f32[C, D, D] of the roots of each class's features."""

    mean: jax.Array
    count: jax.Array
    covariance: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "ClassCovariances":
        """Returns the statistics of no class yet: zeros for C classes and D features."""
        return cls(jnp.zeros((n_classes, width)), jnp.zeros(n_classes), jnp.zeros((n_classes, width, width)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "ClassCovariances":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        mean, covariance = _moments(_rooted(features), filled)
        return ClassCovariances(
            self.mean.at[class_index].set(mean),
            self.count.at[class_index].set(jnp.sum(filled, dtype=jnp.float32)),
            self.covariance.at[class_index].set(covariance),
        )


@jax.jit
def exemplar_fecam(exemplars: Exemplars, features: jax.Array, penalty: float = 1.0) -> jax.Array:
    """Computes FeCAM's scores of the exemplars, f32[R, C]."""
    mean, covariance = jax.vmap(_moments)(_rooted(exemplars.features), exemplars.filled)
    return fecam(ClassCovariances(mean, jnp.sum(exemplars.filled, 1), covariance), features, penalty)


def _moments(features: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array]:
    count = jnp.maximum(jnp.sum(filled), 1)
    mean = jnp.sum(features * filled[:, None], 0) / count
    rest = (features - mean) * filled[:, None]
    return mean, rest.T @ rest / count


def _rooted(features: jax.Array) -> jax.Array:
    """Returns the roots of features, which makes their distribution more normal; none is negative behind a ReLU."""
    return jnp.sqrt(jnp.maximum(features, 0))


def _shrunk(covariance: jax.Array, alpha: float) -> jax.Array:
    """Returns S + alpha (mean variance) I + alpha (mean covariance) (1 - I)."""
    width = len(covariance)
    variance = jnp.trace(covariance) / width
    between = (jnp.sum(covariance) - jnp.trace(covariance)) / (width * (width - 1))
    eye = jnp.eye(width)
    return covariance + (alpha * variance + 1e-12) * eye + alpha * between * (1 - eye)


@jax.jit
def klda(statistics: Statistics, features: jax.Array, penalty: float = 1e-3) -> jax.Array:
    """Computes minus the Mahalanobis distance of random Fourier features, f32[R, C] (KLDA, arXiv 2412.15571)."""
    mean, covariance = statistics.mean, statistics.scatter / jnp.maximum(jnp.sum(statistics.count), 1)
    weights = jnp.linalg.solve(_loaded(covariance, penalty), mean.T)
    return _fourier(features) @ weights - 0.5 * jnp.sum(mean.T * weights, 0)


def _add_fourier(statistics: Statistics, class_index: int, features: jax.Array, filled: jax.Array) -> Statistics:
    return statistics.add(class_index, _fourier(features), filled)


def _fourier(features: jax.Array) -> jax.Array:
    """Returns `sqrt(2 / M) cos(h O + b)`, whose products approximate a Gaussian kernel of features of one length.

    gamma is 4 of unit length: two features at a right angle have a kernel of e^-8, of alike ones 1.
    """
    weights_key, phase_key = jax.random.split(jax.random.key(1))
    weights = jnp.sqrt(2 * 4.0) * jax.random.normal(weights_key, (features.shape[1], WIDTH))
    phases = jax.random.uniform(phase_key, (WIDTH,), maxval=2 * jnp.pi)
    return jnp.sqrt(2 / WIDTH) * jnp.cos(_unit(features) @ weights + phases)


def _centred(exemplars: Exemplars) -> tuple[jax.Array, jax.Array]:
    """Returns class means f32[C, D], and what is left of the exemplars after them f32[C * M, D]; 0 in empty places."""
    filled = exemplars.filled[..., None]
    mean = jnp.sum(exemplars.features * filled, 1) / jnp.maximum(jnp.sum(filled, 1), 1)
    return mean, ((exemplars.features - mean[:, None]) * filled).reshape(-1, mean.shape[1])


def _loaded(moments: jax.Array, penalty: float) -> jax.Array:
    """Adds a penalty to the diagonal, in units of its mean; what is all zero stays invertible."""
    width = len(moments)
    return moments + (penalty * jnp.trace(moments) / width + 1e-12) * jnp.eye(width)


def _closeness(features: jax.Array, means: jax.Array) -> jax.Array:
    return 2 * features @ means.T - jnp.sum(jnp.square(means), 1) - jnp.sum(jnp.square(features), 1)[:, None]


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier of features.

    name: what results call it.
    scores: (what it reads, features f32[R, D]) to f32[R, C]; the highest score of a known class is the answer. With
      `penalties` it takes one of them as a third argument.
    empty: (n_classes, width) to the statistics of no class yet. None: it has no statistics, and reads `Exemplars`.
    add: (statistics, class_index, features f32[R, D], filled bool[R]) to the statistics with one class more, of the
      base model's features of all its training images. The classifiers of a method share one kind of statistics.
    penalties: candidates, from which validation images of the classes seen so far choose after every increment.
    """

    name: str
    scores: Callable[[Any, jax.Array], jax.Array]
    empty: Callable[[int, int], Any] | None = None
    add: Callable[[Any, int, jax.Array, jax.Array], Any] | None = None
    penalties: tuple[float, ...] = ()


CLASSIFIERS = {
    one.name: one
    for one in (
        Classifier("exemplar_mean", exemplar_mean),
        Classifier("exemplar_discriminant", exemplar_discriminant, penalties=(0.01, 0.03, 0.1, 0.3, 1.0)),
        Classifier("exemplar_ridge", exemplar_ridge, penalties=(1e-3, 1e-2, 0.1, 1.0, 10.0)),
        Classifier("exemplar_fecam", exemplar_fecam, penalties=(0.3, 1.0, 3.0)),
        Classifier("class_mean", class_mean, Statistics.empty, Statistics.add),
        Classifier("discriminant", discriminant, Statistics.empty, Statistics.add),
        Classifier(
            "ridge",
            ridge,
            lambda n_classes, width: RidgeStatistics.empty(n_classes),
            RidgeStatistics.add,
            penalties=(1e-3, 1e-2, 0.1, 1.0, 10.0),
        ),
        Classifier(
            "klda",
            klda,
            lambda n_classes, width: Statistics.empty(n_classes, WIDTH),
            _add_fourier,
            penalties=(1e-2, 0.1, 1.0, 10.0),
        ),
        Classifier("fecam", fecam, ClassCovariances.empty, ClassCovariances.add, penalties=(0.3, 1.0, 3.0)),
    )
}
