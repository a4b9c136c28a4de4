"""Gaussian mixtures of each class: one Gaussian by scikit-learn, several by hand, and in any order of classes."""

import jax
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


def log_joint(rows, weight, mean, variance):
    away = np.square(rows[:, None] - mean) / variance
    return np.log(np.maximum(weight, 1e-12)) - 0.5 * (away.sum(2) + np.log(variance).sum(1))


def maximised(rows, share):
    count = np.maximum(share.sum(0), 1e-6)
    mean = share.T @ rows / count[:, None]
    variance = np.stack([share[:, k] @ np.square(rows - mean[k]) / count[k] for k in range(share.shape[1])])
    return count / count.sum(), mean, variance


def fitted(rows):
    """Three components after twenty steps of expectation maximisation, from images that lie far apart."""
    starts = [rows[np.square(rows - rows.mean(0)).sum(1).argmin()]]
    for _ in range(2):
        nearest = np.min([np.square(rows - one).sum(1) for one in starts], 0)
        starts.append(rows[nearest.argmax()])
    found = maximised(rows, np.eye(3)[np.argmin([np.square(rows - one).sum(1) for one in starts], 0)])
    for _ in range(20):
        weight, mean, variance = found
        joint = log_joint(rows, weight, mean, variance + 0.01)
        share = np.exp(joint - joint.max(1, keepdims=True))
        found = maximised(rows, share / share.sum(1, keepdims=True))
    return found


def test_a_mixture_is_its_steps_by_hand(data):
    features, labels = data
    # The first class has three images, two of them the same, so that a component is left without any.
    keep = (labels != 0) | (np.arange(len(labels)) < 3)
    features, labels = features[keep].copy(), labels[keep]
    features[1:3] = features[0] + 0.2
    # In the last one components overlap, so that one more or one fewer step is seen.
    features[labels == 2] = np.random.default_rng(5).normal(size=(30, 1)) * [2, 0, 0, 0]
    mixtures = gathered(Mixtures.empty, features, labels, (0, 1, 2))
    scaled = np.asarray(mixtures.scaling(jnp.asarray(features)), np.float64)
    expected = [fitted(scaled[labels == c]) for c in range(C)]
    for found, known in zip(mixtures[1:], zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(found, np.stack(known), rtol=1e-3, atol=1e-4)
    joint = [log_joint(scaled, weight, mean, variance + 0.3) for weight, mean, variance in expected]
    scores = [np.log(np.exp(one).sum(1)) for one in joint]
    np.testing.assert_allclose(mixture(mixtures, jnp.asarray(features), 0.3), np.stack(scores, 1), rtol=1e-3, atol=1e-3)
    # Classes are as many as components here by chance alone.
    two = Mixtures.empty(2, D).add(0, jnp.asarray(features), jnp.ones(len(features), bool))
    assert two.mean.shape == (2, 3, D)


def test_what_adds_and_what_scores_is_one_compiled_program():
    empty, features = Mixtures.empty(C, D), jnp.ones((3, D))
    for function, *arguments in ((empty.add, 0, features, jnp.ones(3, bool)), (mixture, empty, features, 0.1)):
        (program,) = jax.make_jaxpr(function)(*arguments).eqns
        assert program.primitive.name in ("jit", "pjit"), function


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
