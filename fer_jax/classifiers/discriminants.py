"""Discriminants of features: class means, Gaussians with one or many covariances, ridge regression on random features.

Each is a kind of statistics and a function that scores features by them. Statistics accumulate class by class (`empty`,
`add`), or are of all classes at once (`of`). They are the same in any order of classes, but for `Streaming`. They hold
no random matrix: those derive from a fixed key.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax import rng

SHRINKAGE = 1e-4
WIDTH = 1000  # random features; their products take 4 MB of a checkpoint
NARROW = 200  # random features of action units, of which there are about twenty


class Linear(NamedTuple):
    """A classifier that is linear in the features: kernel f32[D, C], bias f32[C]."""

    kernel: jax.Array
    bias: jax.Array

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
    covariance = _covariance(statistics)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * jnp.eye(len(covariance))
    return _linear(statistics.mean, jnp.linalg.solve(covariance, statistics.mean.T))


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
    covariance = _covariance(statistics)
    variance = jnp.maximum(jnp.mean(jnp.diagonal(covariance)), 1e-12)
    covariance = (1 - shrinkage) * covariance + shrinkage * variance * jnp.eye(len(covariance))
    return _linear(statistics.mean, _solved(covariance, statistics.mean.T))


@jax.jit
def shrunk_discriminant(statistics: Statistics, features: jax.Array, shrinkage: float) -> jax.Array:
    """Scores features f32[R, D] by `shrunk`, f32[R, C]."""
    return shrunk(statistics, shrinkage)(features)


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
    return RandomRidge(statistics.scaling, weights, _solved(gram + penalty * jnp.eye(len(gram)), statistics.mean))


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
    covariance = _covariance(statistics)
    penalised = covariance + penalty * jnp.eye(len(covariance))
    linear = _linear(statistics.mean, _solved(penalised, statistics.mean.T))
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
        _, rest = _centred(_root(features), filled)
        return cls(_centred(features, filled)[0], jnp.einsum("cmd,cme->cde", rest, rest))

    def add(self, class_index: int, features: jax.Array, filled: jax.Array) -> "Covariances":
        """Adds a class's features f32[R, D], the rows `filled` bool[R]."""
        found = Covariances.of(features[None], filled[None])
        return Covariances(
            self.mean.at[class_index].set(found.mean[0]), self.scatter.at[class_index].set(found.scatter[0])
        )


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
        return -jnp.sum(away.T * _solved(correlation, away.T), 0)

    return jax.lax.map(lambda one: of_class(*one), (statistics.mean, statistics.scatter)).T


def closeness(features: jax.Array, means: jax.Array) -> jax.Array:
    """Computes minus the squared distance of features f32[R, D] to means f32[C, D], f32[R, C]."""
    return 2 * features @ means.T - jnp.sum(jnp.square(means), 1) - jnp.sum(jnp.square(features), 1)[:, None]


def _covariance(statistics: Statistics) -> jax.Array:
    """Returns the covariance that all classes share, f32[D, D]."""
    return statistics.scatter / jnp.maximum(jnp.sum(statistics.count), 1)


def _linear(means: jax.Array, weights: jax.Array) -> Linear:
    """Returns linear discriminants by means f32[C, D] and these behind the inverse covariance, weights f32[D, C]."""
    return Linear(weights, -0.5 * jnp.sum(means.T * weights, 0))


@jax.jit
def _sums(features: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns means, counts and scatter, as `Statistics` has them."""
    mean, rest = _centred(features, filled)
    rest = rest.reshape(-1, rest.shape[-1])
    return mean, jnp.sum(filled, 1, dtype=jnp.float32), rest.T @ rest


def _centred(features: jax.Array, filled: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns each class's mean f32[C, D], and what is left of its features, 0 where there is none."""
    there = filled[..., None]
    mean = jnp.sum(jnp.where(there, features, 0.0), 1) / jnp.maximum(jnp.sum(filled, 1), 1)[:, None]
    return mean, jnp.where(there, features - mean[:, None], 0.0)


def _root(x: jax.Array) -> jax.Array:
    """Returns the square root, with the sign of what is negative; pooled ReLUs are not."""
    return jnp.sign(x) * jnp.sqrt(jnp.abs(x))


def unit(x: jax.Array) -> jax.Array:
    """Scales vectors [..., D] to length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _solved(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves by a matrix that is symmetric and positive definite."""
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), right)
