"""Discriminants of features: by hand, by their formulae in float64, and in any order of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fer_jax.classifiers import discriminants

D, C = 5, 4


@pytest.fixture(autouse=True)
def few_random_features(monkeypatch):
    monkeypatch.setattr(discriminants, "WIDTH", 200)


def drawn(seed):
    """Features, labels and an order of classes; always as many images, so that one compilation serves all."""
    rng = np.random.default_rng(seed)
    counts = rng.permutation([2, 4, 6, 9])
    labels = np.repeat(np.arange(C), counts)
    features = np.abs(3 * rng.normal(size=(C, D))[labels] + rng.normal(size=(len(labels), D)))
    return features.astype(np.float32), labels, rng.permutation(C)


def gathered(kind, features, labels, order):
    """The classes one after another, each padded by rows that are none of it."""
    statistics = kind.empty(C, D)
    if hasattr(kind, "prepare"):
        statistics = statistics.prepare(jnp.asarray(features))
    for c in order:
        of_class = features[labels == c]
        padded = np.pad(of_class, ((0, 9 - len(of_class)), (0, 0)), constant_values=7.0)
        statistics = statistics.add(int(c), jnp.asarray(padded), jnp.arange(9) < len(of_class))
    return statistics


def by_class(features, labels):
    padded, filled = np.full((C, 9, D), 7.0, np.float32), np.zeros((C, 9), bool)
    for c in range(C):
        n = int((labels == c).sum())
        padded[c, :n], filled[c, :n] = features[labels == c], True
    return jnp.asarray(padded), jnp.asarray(filled)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_ridge_regression_is_the_same_class_by_class_in_any_order(seed):
    features, labels, order = drawn(seed)
    weights = discriminants.ridge_weights(D)
    whole = discriminants.Ridge.of(jnp.asarray(features), jnp.asarray(labels), C, weights)
    streamed = gathered(discriminants.Ridge, features, labels, order)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(streamed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(np.abs(one).max()))
    scores = discriminants.random_ridge_scores(discriminants.fitted(whole, weights, 10.0), features)
    np.testing.assert_allclose(discriminants.ridge(streamed, features, 10.0), scores, atol=2e-3)


def test_ridge_regression_is_its_formula():
    features, labels, _ = drawn(3)
    key, width, penalty = jax.random.key(5), 40, 3.0
    found = discriminants.random_ridge(jnp.asarray(features), jnp.asarray(labels), C, width, penalty, key)
    weights = np.asarray(jax.random.normal(key, (D, width)), np.float64)
    standardised = (features - features.mean(0, dtype=np.float64)) / features.std(0, dtype=np.float64)
    random = np.maximum(standardised @ weights, 0)
    gram, mean = np.zeros((width, width)), np.zeros((width, C))
    for c in range(C):
        of_class = random[labels == c]
        gram += of_class.T @ of_class / len(of_class)
        mean[:, c] = of_class.mean(0)
    expected = random @ np.linalg.solve(gram + penalty * np.eye(width), mean)
    scores = discriminants.random_ridge_scores(found, jnp.asarray(features))
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    # Rows without a class, and the number of images of a class, change nothing.
    beside = np.concatenate([features, features[labels == 1], np.full((3, D), 9.0, np.float32)])
    doubled = np.concatenate([labels, labels[labels == 1], [-1, -1, -1]])
    scaling = found.scaling
    again = discriminants.Ridge.of(jnp.asarray(beside), jnp.asarray(doubled), C, found.weights)
    assert not np.allclose(again.scaling.shift, scaling.shift)  # which does count images
    plain = discriminants.Ridge.of(jnp.asarray(scaling(features)), jnp.asarray(labels), C, found.weights)
    np.testing.assert_allclose(plain.gram, gram, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("penalty", [0.0, 1e-2, 1e4])
def test_ridge_regression_is_finite_with_any_penalty_and_knows_absent_classes(penalty):
    features, labels, _ = drawn(1)
    features[:, 0] = 2.0  # a feature that never changes
    present = np.where(labels == 2, -1, labels)
    found = discriminants.random_ridge(features, jnp.asarray(present), C, 500, penalty, jax.random.key(0))
    scores = discriminants.random_ridge_scores(found, features)
    assert np.isfinite(scores).all()
    assert (np.asarray(scores)[:, 2] == 0).all()


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_kernel_discriminants_are_their_formula_in_any_order(seed):
    features, labels, order = drawn(seed)
    kernel = gathered(discriminants.Kernel, features, labels, order)
    z = np.asarray(discriminants.fourier(kernel.scaling(features), discriminants.WIDTH), np.float64)
    mean = np.stack([z[labels == c].mean(0) for c in range(C)])
    rest = z - mean[labels]
    inverse = np.linalg.inv(rest.T @ rest / len(z) + 0.1 * np.eye(z.shape[1]))
    away = z[:, None] - mean[None]
    expected = -np.einsum("rcd,de,rce->rc", away, inverse, away) / 2
    scores = np.asarray(discriminants.klda(kernel, features, 0.1))
    # Alike up to what is the same for all classes.
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], atol=2e-3)


def test_random_fourier_features_stand_for_a_gaussian_kernel():
    features = np.random.default_rng(0).normal(size=(30, D)).astype(np.float32)
    z = discriminants.fourier(jnp.asarray(features), discriminants.WIDTH)
    squared = np.sum((features[:, None] - features[None]) ** 2, -1)
    # The standard deviation of the mean of WIDTH cosines is at most sqrt(1 / WIDTH).
    np.testing.assert_allclose(z @ z.T, np.exp(-squared / D), atol=5 / np.sqrt(discriminants.WIDTH))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_fecam_is_its_formula_in_any_order_and_at_once(seed):
    features, labels, order = drawn(seed)

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    expected = np.zeros((len(features), C))
    for c in range(C):
        of_class = features[labels == c].astype(np.float64)
        covariance = np.cov(np.sqrt(of_class), rowvar=False)
        off = ~np.eye(D, dtype=bool)
        for _ in range(2):
            covariance = covariance + covariance[~off].mean() * np.eye(D) + covariance[off].mean() * off
        deviation = np.sqrt(np.diag(covariance))
        away = unit(np.sqrt(features.astype(np.float64))) - unit(np.sqrt(of_class.mean(0)))
        correlation = covariance / np.outer(deviation, deviation)
        assume(np.linalg.cond(correlation) < 300)  # what is nearly singular has no inverse in float32 to compare
        inverse = np.linalg.pinv(correlation)
        expected[:, c] = -np.einsum("rd,de,re->r", away, inverse, away)
    streamed = gathered(discriminants.Covariances, features, labels, order)
    np.testing.assert_allclose(discriminants.fecam(streamed, features), expected, rtol=2e-3, atol=1e-4)
    at_once = discriminants.Covariances.of(*by_class(features, labels))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-3), streamed, at_once)


def test_fecam_is_finite_where_a_class_has_no_image_or_one():
    one = discriminants.Covariances.empty(C, D).add(1, jnp.ones((2, D)), jnp.asarray([True, False]))
    assert np.isfinite(discriminants.fecam(one, jnp.ones((3, D)))).all()


def test_the_shrunk_discriminant_is_its_formula_in_any_order_and_at_once():
    features, labels, order = drawn(7)
    statistics = discriminants.Statistics.of(*by_class(features, labels))
    streamed = gathered(discriminants.Statistics, features, labels, order)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3), statistics, streamed)
    mean = np.stack([features[labels == c].mean(0, dtype=np.float64) for c in range(C)])
    rest = features - mean[labels]
    covariance = rest.T @ rest / len(rest)
    for shrinkage in (1e-4, 0.3, 1.0):
        shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / D * np.eye(D)
        weights = np.linalg.solve(shrunk, mean.T)
        expected = features @ weights - 0.5 * np.sum(mean.T * weights, 0)
        scores = discriminants.shrunk_discriminant(statistics, features, shrinkage)
        np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-3)
