"""Answers by features, against scikit-learn and by hand."""

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
