"""Discriminants of features: by hand, by their formulae in float64, and in any order of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS

from fer_jax.classifiers import covariances, discriminants, random_features

D, C = 5, 4
GOLDEN_WEIGHTS = [[0.56328249, 1.6066066], [1.0004528, 0.7902953]]
GOLDEN_FOURIER = [[0.43901163, 0.81462216, -0.05119748]]


@pytest.fixture(autouse=True)
def few_random_features(monkeypatch):
    monkeypatch.setattr(random_features, "WIDTH", 200)


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


@pytest.mark.parametrize("n", [3, 40])
def test_the_covariance_of_base_classes_is_that_of_scikit_learn(n):
    rest = np.random.default_rng(n).normal(size=(n, D)) @ np.random.default_rng(0).normal(size=(D, D))
    found = discriminants.oas(jnp.asarray(rest.T @ rest / n, jnp.float32), jnp.float32(n))
    np.testing.assert_allclose(found, OAS(assume_centered=True).fit(rest).covariance_, rtol=1e-4, atol=1e-5)
    assert np.isfinite(discriminants.oas(jnp.zeros((D, D)), jnp.float32(n))).all()


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_streaming_statistics_are_those_of_one_image_after_another(seed):
    """The equations, in float64; rows that are no image may be anywhere."""
    features, labels, order = drawn(seed)
    base, wide = np.isin(labels, order[:2]), features.astype(np.float64)
    mean, count = np.zeros((C, D)), np.zeros(C)
    for c in order[:2]:
        mean[c], count[c] = wide[labels == c].mean(0), (labels == c).sum()
    covariance = OAS(assume_centered=True).fit((wide - mean[labels])[base]).covariance_
    for row in np.concatenate([np.flatnonzero(labels == c) for c in order[2:]]):
        x, c = wide[row], labels[row]
        t, away = count.sum(), x - mean[c]
        covariance = (t * covariance + t / (t + 1) * np.outer(away, away)) / (t + 1)
        mean[c] += away / (count[c] + 1)
        count[c] += 1
    stream = discriminants.Streaming.empty(C, D).prepare(jnp.asarray(features[base]))
    for c in order:
        padded, filled = np.full((12, D), 7.0, np.float32), np.zeros(12, bool)
        filled[np.sort(np.random.default_rng(seed).permutation(12)[: (labels == c).sum()])] = True
        padded[filled] = features[labels == c]
        stream = stream.add(int(c), jnp.asarray(padded), jnp.asarray(filled))
    np.testing.assert_allclose(stream.statistics.mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stream.statistics.scatter / count.sum(), covariance, rtol=1e-3, atol=1e-3)
    shrunk = np.linalg.inv((1 - 1e-4) * covariance + 1e-4 * np.eye(D)) @ mean.T
    expected = wide @ shrunk - 0.5 * np.sum(mean.T * shrunk, 0)
    np.testing.assert_allclose(discriminants.streaming_discriminant(stream, features), expected, rtol=2e-2, atol=2e-2)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_ridge_regression_is_the_same_class_by_class_in_any_order(seed):
    features, labels, order = drawn(seed)
    weights = random_features.ridge_weights(D)
    whole = random_features.Ridge.of(jnp.asarray(features), jnp.asarray(labels), C, weights)
    streamed = gathered(random_features.Ridge, features, labels, order)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(streamed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(np.abs(one).max()))
    scores = random_features.random_ridge_scores(random_features.fitted(whole, weights, 10.0), features)
    np.testing.assert_allclose(random_features.ridge(streamed, features, 10.0), scores, atol=2e-3)


def test_ridge_regression_is_its_formula():
    features, labels, _ = drawn(3)
    key, width, penalty = jax.random.key(5), 40, 3.0
    found = random_features.random_ridge(jnp.asarray(features), jnp.asarray(labels), C, width, penalty, key)
    weights = np.asarray(jax.random.normal(key, (D, width)), np.float64)
    standardised = (features - features.mean(0, dtype=np.float64)) / features.std(0, dtype=np.float64)
    random = np.maximum(standardised @ weights, 0)
    gram, mean = np.zeros((width, width)), np.zeros((width, C))
    for c in range(C):
        of_class = random[labels == c]
        gram += of_class.T @ of_class / len(of_class)
        mean[:, c] = of_class.mean(0)
    expected = random @ np.linalg.solve(gram + penalty * np.eye(width), mean)
    scores = random_features.random_ridge_scores(found, jnp.asarray(features))
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    # Rows without a class, and the number of images of a class, change nothing.
    beside = np.concatenate([features, features[labels == 1], np.full((3, D), 9.0, np.float32)])
    doubled = np.concatenate([labels, labels[labels == 1], [-1, -1, -1]])
    scaling = found.scaling
    again = random_features.Ridge.of(jnp.asarray(beside), jnp.asarray(doubled), C, found.weights)
    assert not np.allclose(again.scaling.shift, scaling.shift)  # which does count images
    plain = random_features.Ridge.of(jnp.asarray(scaling(features)), jnp.asarray(labels), C, found.weights)
    np.testing.assert_allclose(plain.gram, gram, rtol=1e-3, atol=1e-3)


def test_ridge_regression_leaves_out_rows_without_a_class_and_knows_classes_of_one_image():
    features, labels, _ = drawn(4)
    (first, *_), weights = np.flatnonzero(labels == 1), random_features.ridge_weights(D)
    others = (labels == 1) & (np.arange(len(labels)) != first)
    found = random_features.Ridge.of(jnp.asarray(features), jnp.asarray(np.where(others, -1, labels)), C, weights)
    alone = random_features.Ridge.of(jnp.asarray(features[~others]), jnp.asarray(labels[~others]), C, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, alone)
    of_image = random_features.random_relu(found.scaling(features[first]), weights)
    np.testing.assert_allclose(found.mean[:, 1], of_image, rtol=1e-4, atol=1e-4)


def test_features_are_standardised_and_those_that_never_change_are_shifted():
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32) * [1e-3, 1.0, 1e3]
    features[:, 1] = 2.0
    filled = np.arange(20) < 12
    scaled = random_features.Scaling.of(jnp.asarray(features), jnp.asarray(filled))(features)[:12]
    np.testing.assert_allclose(scaled.mean(0), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), [1.0, 0.0, 1.0], rtol=1e-4)


def test_a_feature_that_never_changes_is_only_shifted():
    scaling = random_features.Scaling.of(
        jnp.asarray([[1.0, 7.0], [5.0, 7.0], [9.0, 8.0]]), jnp.asarray([True, True, False])
    )
    np.testing.assert_allclose(scaling(jnp.asarray([[3.0, 11.0]])), [[0.0, 4.0]])


def test_random_matrices_are_those_of_earlier_checkpoints():
    """Statistics hold no random matrix, so that another one would answer by numbers that mean nothing."""
    np.testing.assert_allclose(random_features.ridge_weights(2, 2), GOLDEN_WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(random_features.fourier(jnp.ones((1, 2)), 3), GOLDEN_FOURIER, rtol=1e-4)


def test_action_units_have_fewer_random_features(monkeypatch):
    monkeypatch.setattr(random_features, "NARROW", 7)
    assert random_features.Ridge.narrow(C, D).gram.shape == (7, 7)
    assert random_features.Ridge.empty(C, D).gram.shape == (200, 200)


@pytest.mark.parametrize("penalty", [0.0, 1e-2, 1e4])
def test_ridge_regression_is_finite_with_any_penalty_and_knows_absent_classes(penalty):
    features, labels, _ = drawn(1)
    features[:, 0] = 2.0  # a feature that never changes
    present = np.where(labels == 2, -1, labels)
    found = random_features.random_ridge(features, jnp.asarray(present), C, 500, penalty, jax.random.key(0))
    scores = random_features.random_ridge_scores(found, features)
    assert np.isfinite(scores).all()
    assert (np.asarray(scores)[:, 2] == 0).all()


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_kernel_discriminants_are_their_formula_in_any_order(seed):
    features, labels, order = drawn(seed)
    kernel = gathered(random_features.Kernel, features, labels, order)
    z = np.asarray(random_features.fourier(kernel.scaling(features), random_features.WIDTH), np.float64)
    mean = np.stack([z[labels == c].mean(0) for c in range(C)])
    rest = z - mean[labels]
    inverse = np.linalg.inv(rest.T @ rest / len(z) + 0.1 * np.eye(z.shape[1]))
    away = z[:, None] - mean[None]
    expected = -np.einsum("rcd,de,rce->rc", away, inverse, away) / 2
    scores = np.asarray(random_features.klda(kernel, features, 0.1))
    # Alike up to what is the same for all classes.
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], atol=2e-3)


def test_random_fourier_features_stand_for_a_gaussian_kernel():
    features = np.random.default_rng(0).normal(size=(30, D)).astype(np.float32)
    z = random_features.fourier(jnp.asarray(features), random_features.WIDTH)
    squared = np.sum((features[:, None] - features[None]) ** 2, -1)
    # The standard deviation of the mean of WIDTH cosines is at most sqrt(1 / WIDTH).
    np.testing.assert_allclose(z @ z.T, np.exp(-squared / D), atol=5 / np.sqrt(random_features.WIDTH))


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
    streamed = gathered(covariances.Covariances, features, labels, order)
    np.testing.assert_allclose(covariances.fecam(streamed, features), expected, rtol=2e-3, atol=1e-4)
    at_once = covariances.Covariances.of(*by_class(features, labels))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-3), streamed, at_once)


def test_what_adds_and_what_scores_is_one_compiled_program():
    features, filled = jnp.ones((3, D)), jnp.ones(3, bool)
    kinds = (random_features.Ridge, random_features.Kernel, discriminants.Streaming)
    ridge, kernel, stream = (kind.empty(C, D) for kind in kinds)
    calls = [(discriminants.Statistics.of, features[None], filled[None])]
    calls += [(statistics.add, 1, features, filled) for statistics in (ridge, kernel, stream)]
    calls += [(random_features.ridge, ridge, features, 1.0), (random_features.klda, kernel, features, 1.0)]
    calls += [(covariances.fecam, covariances.Covariances.empty(C, D), features)]
    calls += [(discriminants.shrunk, stream.statistics, 0.1)]
    calls += [(discriminants.shrunk_discriminant, stream.statistics, features, 0.1)]
    for function, *arguments in calls:
        (program,) = jax.make_jaxpr(function)(*arguments).eqns
        assert program.primitive.name in ("jit", "pjit"), function


def test_fecam_is_finite_where_a_class_has_no_image_or_one():
    one = covariances.Covariances.empty(C, D).add(1, jnp.ones((2, D)), jnp.asarray([True, False]))
    assert np.isfinite(covariances.fecam(one, jnp.ones((3, D)))).all()


def test_statistics_of_no_image_and_of_one_are_finite():
    """What is divided by the number of images is not halved for one, and not NaN for none."""
    features, there, none = jnp.ones((2, D)), jnp.asarray([True, False]), jnp.zeros(2, bool)
    statistics = discriminants.Statistics.empty(C, D)
    np.testing.assert_array_equal(statistics.covariance(), np.zeros((D, D)))
    alone = statistics._replace(count=statistics.count.at[0].set(1.0), scatter=jnp.eye(D))
    np.testing.assert_array_equal(alone.covariance(), np.eye(D))
    one = statistics.add(0, features, there)
    assert np.isfinite(discriminants.shrunk_discriminant(one, features, 0.5)).all()
    ridge = random_features.Ridge.empty(C, D)
    expected = random_features.random_relu(features[:1], random_features.ridge_weights(D))
    np.testing.assert_allclose(ridge.add(0, features, there).mean[:, 0], expected[0], rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in ridge.add(0, features, none))


def test_the_discriminants_covariance_is_shrunk_to_the_identity(monkeypatch):
    monkeypatch.setattr(discriminants, "SHRINKAGE", 0.3)
    features, labels, _ = drawn(2)
    mean = np.stack([features[labels == c].mean(0, dtype=np.float64) for c in range(C)])
    rest = features - mean[labels]
    found = discriminants.pooled(discriminants.Statistics.of(*by_class(features, labels)))
    expected = np.linalg.solve(0.7 * rest.T @ rest / len(rest) + 0.3 * np.eye(D), mean.T)
    np.testing.assert_allclose(found.kernel, expected, rtol=2e-3, atol=1e-4)


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
