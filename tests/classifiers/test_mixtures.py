"""Gaussian mixtures of each class: one Gaussian by scikit-learn, several by hand, and in any order of classes."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from fer_jax.classifiers import CLASSIFIERS
from fer_jax.classifiers.mixtures import Mixtures, mixture

C, D, ROWS = 3, 4, 30


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(C), (12, 20, 30))
    spread = rng.uniform(0.5, 2, (C, D))[labels]
    return (rng.normal(size=(C, D))[labels] + spread * rng.normal(size=(len(labels), D))).astype(np.float32), labels


def gathered(empty, features, labels, order) -> Mixtures:
    """The classes one after another, each padded by rows that are none of it."""
    mixtures = empty(C, D).prepare(jnp.asarray(features))
    for c in order:
        of_class = features[labels == c]
        padded = np.pad(of_class, ((0, ROWS - len(of_class)), (0, 0)), constant_values=9.0)
        mixtures = mixtures.add(int(c), jnp.asarray(padded), jnp.arange(ROWS) < len(of_class))
    return mixtures


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_one_gaussian_a_class_is_naive_bayes(data, order):
    features, labels = data
    found = mixture(gathered(Mixtures.single, features, labels, order), jnp.asarray(features), 1e-6)
    scaled = (features - features.mean(0)) / features.std(0)
    known = GaussianNB(priors=np.ones(C) / C, var_smoothing=0).fit(scaled, labels)
    np.testing.assert_allclose(
        found - np.mean(found, 1, keepdims=True),
        known.predict_log_proba(scaled) - known.predict_log_proba(scaled).mean(1, keepdims=True), rtol=1e-3, atol=5e-3,
    )  # fmt: skip


def test_a_class_in_several_places_is_found_in_all_of_them():
    """The second class lies between two halves of the first, where one Gaussian a class sees the first."""
    rng = np.random.default_rng(1)
    away = np.where(np.arange(ROWS) % 2, 4.0, -4.0)[:, None]
    features = np.concatenate([away + 0.3 * rng.normal(size=(ROWS, D)), 0.5 * rng.normal(size=(ROWS, D)),
                               9 + rng.normal(size=(ROWS, D))]).astype(np.float32)  # fmt: skip
    labels = np.repeat(np.arange(C), ROWS)
    mixtures = gathered(Mixtures.empty, features, labels, (1, 0, 2))
    scores = np.asarray(mixture(mixtures, jnp.asarray(features), 1e-3))
    assert (scores.argmax(1) == labels).all()
    np.testing.assert_allclose(np.sum(mixtures.weight, 1), 1, atol=1e-5)
    # Each half is the mean of one component, or of two.
    scaled = np.asarray(mixtures.scaling(jnp.asarray(features)))
    for half in (0, 1):
        centre = scaled[:ROWS][np.arange(ROWS) % 2 == half].mean(0)
        assert np.abs(mixtures.mean[0] - centre).mean(1).min() < 0.05
    # A class's images alone make its mixture, whatever was there before.
    other = gathered(Mixtures.empty, features, labels, (2, 1, 0))
    np.testing.assert_allclose(other.mean, mixtures.mean, atol=1e-5)


@pytest.mark.parametrize("name", [one for one in CLASSIFIERS if one.startswith("units_")])
def test_classifiers_of_units_answer_finitely_where_images_are_few_and_units_never_change(name):
    classifier = CLASSIFIERS[name]
    units = np.zeros((3, 5), np.float32)
    units[1:, 2], units[2, 4] = 1.0, 0.7
    state = classifier.empty(C, 5)
    if classifier.prepare is not None:
        state = classifier.prepare(state, jnp.asarray(units[:2]))
    for c in range(2):
        state = classifier.add(state, c, jnp.asarray(units[c : c + 2]), jnp.asarray([True, False]))
    for penalty in classifier.penalties or (None,):
        scores = np.asarray(classifier.scores(state, jnp.asarray(units), *([] if penalty is None else [penalty])))
        assert np.isfinite(scores).all()
        assert scores[:2, :2].argmax(1).tolist() == [0, 1]
