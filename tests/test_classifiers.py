"""Answers by features, against scikit-learn and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from fer_jax import classifiers


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = rng.normal(size=(120, 5)) @ rng.normal(size=(5, 5)) + 2 * rng.normal(size=(3, 5))[labels]
    return features.astype(np.float32), labels


def gathered(features, labels, order):
    statistics = classifiers.Statistics.empty(3, 5)
    for c in order:
        of_class = features[labels == c]
        padded = np.pad(of_class, ((0, c), (0, 0)), constant_values=7.0)
        statistics = statistics.add(c, jnp.asarray(padded), jnp.arange(len(padded)) < len(of_class))
    return statistics


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_class_means_are_those_of_scikit_learn_in_any_order(data, order):
    features, labels = data
    scores = classifiers.class_mean(gathered(features, labels, order), jnp.asarray(features))
    assert (np.argmax(scores, 1) == NearestCentroid().fit(features, labels).predict(features)).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_discriminant_is_that_of_scikit_learn(data, order):
    features, labels = data
    scores = np.asarray(classifiers.discriminant(gathered(features, labels, order), jnp.asarray(features)))
    known = LinearDiscriminantAnalysis(solver="lsqr", priors=np.ones(3) / 3).fit(features, labels)
    expected = known.decision_function(features)
    # Alike up to what is the same for all classes, and a shrinkage of 1e-4.
    np.testing.assert_allclose(
        scores - scores.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), rtol=0.02, atol=0.1
    )


def test_the_mean_of_exemplars_by_hand():
    exemplars = jnp.asarray([[[3.0, 0.0], [0.0, 5.0], [9.0, 9.0]], [[-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    filled = jnp.asarray([[True, True, False], [True, False, False]])
    # Directions count: the first class's mean points to (1, 1), the second's to (-1, 0).
    scores = classifiers.exemplar_mean(
        classifiers.Exemplars(exemplars, filled), jnp.asarray([[10.0, 10.0], [-2.0, 0.0]])
    )
    half = np.sqrt(0.5)
    expected = [[0.0, -((half + 1) ** 2 + half**2)], [-((half + 1) ** 2 + half**2), 0.0]]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def exemplars_of(features, labels, per_class=50):
    """The memory's form: classes of 40 images each, with empty places that hold anything."""
    stored = np.full((3, per_class, features.shape[1]), 7.0, np.float32)
    filled = np.zeros((3, per_class), bool)
    for c in range(3):
        of_class = features[labels == c]
        stored[c, 3 : 3 + len(of_class)], filled[c, 3 : 3 + len(of_class)] = of_class, True
    return classifiers.Exemplars(jnp.asarray(stored), jnp.asarray(filled))


def centred(scores):
    scores = np.asarray(scores)
    return scores - scores.mean(1, keepdims=True)


def test_the_discriminant_of_exemplars_is_that_of_scikit_learn(data):
    features, labels = data
    scores = classifiers.exemplar_discriminant(exemplars_of(features, labels), jnp.asarray(features), 1e-5)
    known = LinearDiscriminantAnalysis(solver="lsqr", priors=np.ones(3) / 3).fit(features, labels)
    np.testing.assert_allclose(centred(scores), centred(known.decision_function(features)), rtol=0.02, atol=0.1)


def test_a_large_penalty_of_the_discriminant_leaves_the_nearest_mean(data):
    features, labels = data
    scores = classifiers.exemplar_discriminant(exemplars_of(features, labels), jnp.asarray(features), 1e5)
    assert (np.argmax(scores, 1) == NearestCentroid().fit(features, labels).predict(features)).all()


def ridge_by_hand(features, labels, width, penalty, key):
    """The normal equations, an image of a class of n weighing 1 / n."""
    projection = np.asarray(jax.random.normal(key, (features.shape[1], width))) / np.sqrt(features.shape[1])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True) * np.sqrt(features.shape[1])
    random = np.maximum(unit.astype(np.float64) @ projection, 0)
    weights = 1 / np.bincount(labels)[labels]
    gram = random.T @ (weights[:, None] * random)
    wanted = random.T @ (weights[:, None] * np.eye(3)[labels])
    return random @ np.linalg.solve(gram + penalty * np.trace(gram) / width * np.eye(width), wanted)


def test_random_ridge_solves_the_normal_equations(data):
    features, labels = data
    features, labels, key = features[10:], labels[10:], jax.random.key(3)  # the first class has fewer images
    fitted = classifiers.random_ridge(jnp.asarray(features), jnp.asarray(labels), 3, 20, 0.1, key)
    scores = classifiers.random_ridge_scores(fitted, jnp.asarray(features))
    np.testing.assert_allclose(scores, ridge_by_hand(features, labels, 20, 0.1, key), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_ridge_class_by_class_in_any_order_and_of_exemplars_is_ridge_of_all(data, order):
    features, labels = data
    statistics = classifiers.RidgeStatistics.empty(3)
    for c in order:
        padded = np.pad(features[labels == c], ((0, c), (0, 0)), constant_values=7.0)
        statistics = statistics.add(c, jnp.asarray(padded), jnp.arange(len(padded)) < 40)
    fitted = classifiers.random_ridge(
        jnp.asarray(features), jnp.asarray(labels), 3, classifiers.WIDTH, 0.1, jax.random.key(0)
    )
    wanted = classifiers.random_ridge_scores(fitted, jnp.asarray(features))
    for scores in (
        classifiers.ridge(statistics, jnp.asarray(features), 0.1),
        classifiers.exemplar_ridge(exemplars_of(features, labels), jnp.asarray(features), 0.1),
    ):
        np.testing.assert_allclose(scores, wanted, rtol=1e-2, atol=1e-3)


def fecam_by_hand(features, labels, alpha):
    """arXiv 2309.14062, with loops."""
    scores = np.zeros((len(features), 3))
    roots = np.sqrt(features.astype(np.float64))
    for c in range(3):
        own = roots[labels == c]
        s = np.cov(own.T, bias=True)
        for _ in range(2):
            d = len(s)
            off = (s.sum() - np.trace(s)) / (d * (d - 1))
            s = s + alpha * np.trace(s) / d * np.eye(d) + alpha * off * (1 - np.eye(d))
        r = s / np.sqrt(np.outer(np.diag(s), np.diag(s)))
        mean = own.mean(0) / np.linalg.norm(own.mean(0))
        for i, x in enumerate(roots):
            d = x / np.linalg.norm(x) - mean
            scores[i, c] = -d @ np.linalg.inv(r) @ d
    return scores


def test_fecam_of_statistics_and_of_exemplars_by_hand(data):
    features, labels = np.abs(data[0]), data[1]
    statistics = classifiers.ClassCovariances.empty(3, 5)
    for c in (1, 0, 2):
        padded = np.pad(features[labels == c], ((0, c), (0, 0)), constant_values=7.0)
        statistics = statistics.add(c, jnp.asarray(padded), jnp.arange(len(padded)) < 40)
    wanted = fecam_by_hand(features, labels, 0.5)
    for scores in (
        classifiers.fecam(statistics, jnp.asarray(features), 0.5),
        classifiers.exemplar_fecam(exemplars_of(features, labels), jnp.asarray(features), 0.5),
    ):
        np.testing.assert_allclose(scores, wanted, rtol=2e-3, atol=1e-4)


def test_fecam_of_a_class_without_images_is_finite():
    statistics = classifiers.ClassCovariances.empty(3, 5).add(0, jnp.ones((4, 5)), jnp.ones(4, bool))
    assert np.isfinite(classifiers.fecam(statistics, jnp.ones((2, 5)))).all()


def test_fourier_features_approximate_a_gaussian_kernel():
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    z = np.asarray(classifiers._fourier(jnp.asarray(x)))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = ((unit[:, None] - unit) ** 2).sum(-1)
    np.testing.assert_allclose(z @ z.T, np.exp(-4 * distance), atol=0.15)


def test_klda_tells_apart_what_no_line_does():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    labels = (np.sin(2 * angle) > 0).astype(int)  # opposite quarters of a circle
    features = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    kernel = classifiers.CLASSIFIERS["klda"]
    linear = classifiers.CLASSIFIERS["discriminant"]
    right = []
    for one, penalty in ((kernel, (0.01,)), (linear, ())):
        statistics = one.empty(2, 2)
        for c in range(2):
            of_class = jnp.asarray(features[labels == c])
            statistics = one.add(statistics, c, of_class, jnp.ones(len(of_class), bool))
        right.append((np.argmax(one.scores(statistics, jnp.asarray(features), *penalty), 1) == labels).mean())
    assert right[0] > 0.9 > 0.7 > right[1]
