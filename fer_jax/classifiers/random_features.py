"""Classifiers of random features: ridge regression on random ReLUs (RanPAC), and a kernel's discriminants (KLDA).

Statistics accumulate class by class and are the same in any order. They hold no random matrix: it derives from a fixed
key.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax import rng
from fer_jax.classifiers.discriminants import Linear, Statistics, solved

WIDTH = 1000  # random features; their products take 4 MB of a checkpoint
NARROW = 200  # random features of action units, of which there are about twenty


class Scaling(NamedTuple):
    """The standardisation of features in front of random ones: shift f32[D], scale f32[D]."""

    shift: jax.Array
    scale: jax.Array

    @classmethod
    def empty(cls, width: int) -> "Scaling":
        """Returns the scaling that changes nothing."""
        return cls(jnp.zeros(width), jnp.ones(width))

    @classmethod
    def of(cls, features: jax.Array, filled: jax.Array) -> "Scaling":
        """Returns the scaling to mean 0 and variance 1 of features f32[R, D] where `filled` bool[R].

        A feature that never changes is only shifted.
        """
        deviation = jnp.std(features, 0, where=filled[:, None])
        return cls(jnp.mean(features, 0, where=filled[:, None]), jnp.where(deviation > 1e-6, deviation, 1.0))

    def __call__(self, features: jax.Array) -> jax.Array:
        """Scales features f32[R, D]."""
        return (features - self.shift) / self.scale


class Ridge(NamedTuple):
    """Statistics of random features relu(h W) of the classes seen so far, each class's sums divided by its images.

    Dividing makes all classes count alike (AIR, arXiv 2408.10349).

    scaling: of the features before W.
    gram: f32[M, M], the sum over classes of the mean outer product.
    mean: f32[M, C].
    """

    scaling: Scaling
    gram: jax.Array
    mean: jax.Array

    @classmethod
    def empty(cls, n_classes: int, width: int, random: int | None = None) -> "Ridge":
        """Returns the statistics of no class yet, for C classes, D features and M random ones, WIDTH unless given."""
        random = random or WIDTH
        return cls(Scaling.empty(width), jnp.zeros((random, random)), jnp.zeros((random, n_classes)))

    @classmethod
    def narrow(cls, n_classes: int, width: int) -> "Ridge":
        """Returns the same with NARROW random features."""
        return cls.empty(n_classes, width, NARROW)

    @classmethod
    def of(cls, features: jax.Array, labels: jax.Array, n_classes: int, weights: jax.Array) -> "Ridge":
        """Returns the statistics of all classes, of features f32[R, D], labels i32[R] (-1: none) and W f32[D, M]."""
        scaling, known = Scaling.of(features, labels >= 0), jax.nn.one_hot(labels, n_classes)
        share = known / jnp.maximum(jnp.sum(known, 0), 1)
        found = random_relu(scaling(features), weights)
        return cls(scaling, (found * jnp.sum(share, 1, keepdims=True)).T @ found, found.T @ share)

    def prepare(self, features: jax.Array) -> "Ridge":
        """Sets the scaling by features f32[R, D], before any class is added."""
        return self._replace(scaling=Scaling.of(features, jnp.ones(len(features), bool)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Ridge":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        return _add_to_ridge(self, class_index, features, filled)


class RandomRidge(NamedTuple):
    """Ridge regression on random features, fitted: W f32[D, M] after a scaling, and what answers, f32[M, C]."""

    scaling: Scaling
    weights: jax.Array
    answers: jax.Array


def random_ridge(
    features: jax.Array, labels: jax.Array, n_classes: int, width: int, penalty: float, key: jax.Array
) -> RandomRidge:
    """Fits ridge regression on random features (RanPAC, arXiv 2307.02251, phase 2; ACIL, arXiv 2205.14922).

    φ = relu(h W) of standardised features h, W ~ N(0, 1) drawn once; the answer is φ (G + λ I)⁻¹ Q. G and Q sum φᵀφ
    and φᵀy over the images, each class divided by its images.

    Args:
      features: f32[N, D].
      labels: i32[N], -1 for a row that is no image.
      width: M, the number of random features.
      penalty: λ, above 0; raised to what float32 resolves beside G.
    """
    weights = jax.random.normal(key, (features.shape[1], width))
    return fitted(Ridge.of(features, labels, n_classes, weights), weights, penalty)


def random_ridge_scores(ridge: RandomRidge, features: jax.Array) -> jax.Array:
    """Scores features f32[R, D], f32[R, C]; a class without images has score 0."""
    return random_relu(ridge.scaling(features), ridge.weights) @ ridge.answers


def fitted(statistics: Ridge, weights: jax.Array, penalty: float) -> RandomRidge:
    """Fits ridge regression by its statistics, with the W f32[D, M] that they were made with."""
    gram = statistics.gram
    # Below float32's resolution of G the sum would not be positive definite.
    penalty = jnp.maximum(penalty, jnp.finfo(jnp.float32).eps * jnp.trace(gram))
    return RandomRidge(statistics.scaling, weights, solved(gram + penalty * jnp.eye(len(gram)), statistics.mean))


@jax.jit
def ridge(statistics: Ridge, features: jax.Array, penalty: float) -> jax.Array:
    """Scores features f32[R, D] by ridge regression on random ones, f32[R, C]."""
    return random_ridge_scores(
        fitted(statistics, ridge_weights(features.shape[1], len(statistics.gram)), penalty), features
    )


def random_relu(features: jax.Array, weights: jax.Array) -> jax.Array:
    """Computes relu(h W), f32[R, M], of h f32[R, D] and W f32[D, M]."""
    return jax.nn.relu(features @ weights)


def ridge_weights(width: int, random: int | None = None) -> jax.Array:
    """Returns the W f32[D, M] of all statistics that accumulate; M is WIDTH unless given."""
    return jax.random.normal(rng.derive(0, "random features"), (width, random or WIDTH))


@jax.jit
def _add_to_ridge(ridge: Ridge, class_index: int, features: jax.Array, filled: jax.Array) -> Ridge:
    found = random_relu(ridge.scaling(features), ridge_weights(features.shape[1], len(ridge.gram)))
    found = jnp.where(filled[:, None], found, 0.0)
    images = jnp.maximum(jnp.sum(filled), 1)
    mean = ridge.mean.at[:, class_index].set(jnp.sum(found, 0) / images)
    return ridge._replace(gram=ridge.gram + found.T @ found / images, mean=mean)


class Kernel(NamedTuple):
    """Statistics of random Fourier features of the classes seen so far, which stand for a Gaussian kernel.

    scaling: of the features before them.
    statistics: of WIDTH random features.
    """

    scaling: Scaling
    statistics: Statistics

    @classmethod
    def empty(cls, n_classes: int, width: int) -> "Kernel":
        """Returns the statistics of no class yet, for C classes and D features."""
        return cls(Scaling.empty(width), Statistics.empty(n_classes, WIDTH))

    def prepare(self, features: jax.Array) -> "Kernel":
        """Sets the scaling by features f32[R, D], before any class is added."""
        return self._replace(scaling=Scaling.of(features, jnp.ones(len(features), bool)))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Kernel":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        return _add_to_kernel(self, class_index, features, filled)


@jax.jit
def klda(kernel: Kernel, features: jax.Array, penalty: float) -> jax.Array:
    """Computes linear discriminants of random Fourier features, f32[R, C] (KLDA, arXiv 2412.15571, no ensemble).

    They are half of -(z - μ)ᵀ (Σ + λ I)⁻¹ (z - μ), without the term that is the same for all classes.
    """
    statistics = kernel.statistics
    covariance = statistics.covariance()
    penalised = covariance + penalty * jnp.eye(len(covariance))
    linear = Linear.by_means(statistics.mean, solved(penalised, statistics.mean.T))
    return linear(fourier(kernel.scaling(features), len(covariance)))


def fourier(features: jax.Array, random: int) -> jax.Array:
    """Computes M random Fourier features z = √(2 / M) cos(h Ω + b), f32[R, M], of features f32[R, D].

    Ω ~ N(0, 2 γ), b ~ U[0, 2 π), γ = 1 / D: zᵀz' approximates exp(-γ ‖h - h'‖²).
    """
    width = features.shape[1]
    turns, phase = (rng.derive(0, "Fourier features", i) for i in range(2))
    omega = jnp.sqrt(2.0 / width) * jax.random.normal(turns, (width, random))
    phase = jax.random.uniform(phase, (random,), maxval=2 * jnp.pi)
    return jnp.sqrt(2.0 / random) * jnp.cos(features @ omega + phase)


@jax.jit
def _add_to_kernel(kernel: Kernel, class_index: int, features: jax.Array, filled: jax.Array) -> Kernel:
    return kernel._replace(
        statistics=kernel.statistics.add(
            class_index, fourier(kernel.scaling(features), len(kernel.statistics.scatter)), filled
        )
    )
