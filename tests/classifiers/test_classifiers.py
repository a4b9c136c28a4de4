"""Answers by features, against scikit-learn and by hand."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from fer_jax import classifiers
from fer_jax.classifiers import random_features


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


def test_ridge_regression_over_exemplars_reads_no_empty_place(data):
    features, labels = data
    stored = jnp.stack([jnp.pad(jnp.asarray(features[labels == c][:30]), ((0, c), (0, 0)))[:30] for c in range(3)])
    wider = jnp.pad(stored, ((0, 0), (0, 4), (0, 0)), constant_values=50.0)
    filled = jnp.arange(34) < 30
    classifier = classifiers.CLASSIFIERS["exemplar_ridge"]
    one = classifier.fit(classifiers.Exemplars(stored, jnp.ones((3, 30), bool)))
    other = classifier.fit(classifiers.Exemplars(wider, jnp.broadcast_to(filled, (3, 34))))
    scores = classifier.scores(one, jnp.asarray(features), 10.0)
    np.testing.assert_allclose(classifier.scores(other, jnp.asarray(features), 10.0), scores, atol=1e-3)
    assert (np.argmax(scores, 1) == labels).mean() > 0.9
    (program,) = jax.make_jaxpr(classifiers.ridge_of)(classifiers.Exemplars(wider, filled[None].repeat(3, 0))).eqns
    assert program.primitive.name in ("jit", "pjit")


@pytest.mark.parametrize("name", ["exemplar_mean", "exemplar_discriminant", "exemplar_ridge", "exemplar_fecam"])
def test_classifiers_over_exemplars_answer_finitely_where_a_class_has_none(name):
    classifier = classifiers.CLASSIFIERS[name]
    stored = jnp.abs(jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 6)), jnp.float32))
    filled = jnp.asarray([[True] * 4, [False] * 4, [True, False, False, False]])
    for penalty in classifier.penalties or (None,):
        given = () if penalty is None else (penalty,)
        exemplars = classifiers.Exemplars(stored, filled)
        scores = classifier.scores(classifier.fit(exemplars) if classifier.fit else exemplars, stored[0], *given)
        assert scores.shape == (4, 3)
        assert np.isfinite(scores).all()


def test_what_a_classifier_reads():
    stored = {name for name, one in classifiers.CLASSIFIERS.items() if one.reads_stored is True}
    assert stored == {"exemplar_mean", "exemplar_discriminant", "exemplar_ridge", "exemplar_fecam"}
    units = {name for name, one in classifiers.CLASSIFIERS.items() if one.reads_units is True}
    assert units == {name for name in classifiers.CLASSIFIERS if name.startswith(("units_", "features_units_"))}


def test_penalties_go_from_the_weakest_on():
    assert classifiers.CLASSIFIERS["ridge"].penalties == pytest.approx([1, 10, 100, 1e3, 1e4])
    assert classifiers.CLASSIFIERS["klda"].penalties == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert classifiers.CLASSIFIERS["exemplar_discriminant"].penalties == (0.01, 0.03, 0.1, 0.3, 0.5)
    assert classifiers.CLASSIFIERS["mixture"].penalties == (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)


def test_the_middle_penalty_is_the_one_where_nothing_may_choose():
    assert classifiers.CLASSIFIERS["exemplar_discriminant"].middle == 0.1
    assert classifiers.CLASSIFIERS["klda"].middle == pytest.approx(1e-3)  # of an even number the stronger


@pytest.mark.parametrize("name", ["class_mean", "discriminant", "exemplar_discriminant"])
def test_a_linear_classifier_scores_by_its_linear_form(data, name):
    features, labels = data
    classifier, given = classifiers.CLASSIFIERS[name], ()
    statistics = gathered(features, labels, (0, 1, 2))
    if classifier.penalties:
        given = (classifier.penalties[1],)
    linear = classifier.linear(statistics, *given)
    scores = classifier.scores(statistics, jnp.asarray(features), *given)
    np.testing.assert_allclose(linear.kernel.T @ features[7] + linear.bias, scores[7], rtol=1e-5, atol=1e-4)
    # By hand: scores differ as squared distances do, halved where they are weighed by a covariance.
    mean, covariance = np.stack([features[labels == c].mean(0) for c in range(3)]).astype(np.float64), np.eye(5) / 2
    if name != "class_mean":
        rest = features - mean[labels]
        covariance = rest.T @ rest / len(rest)
        share, round_ = (given[0], np.trace(covariance) / 5) if given else (1e-4, 1.0)
        covariance = (1 - share) * covariance + share * round_ * np.eye(5)
    away = features[7] - mean
    distances = np.einsum("cd,cd->c", away, np.linalg.solve(covariance, away.T).T)
    np.testing.assert_allclose(scores[7] - scores[7, 0], (distances[0] - distances) / 2, rtol=1e-3, atol=1e-3)


def test_compound_classes_are_scored_by_their_parts():
    parts = jnp.asarray([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0.5, 0.5, 0, 0]])
    probabilities = jnp.asarray([[0.6, 0.3, 0.1, 0, 0], [0.9, 0.05, 0.05, 0, 0], [0.1, 0.5, 0.4, 0, 0]])
    scores = classifiers.composition(parts, probabilities)
    np.testing.assert_allclose(scores[0], [0.7, 0.1, -0.3, 0.9, 0.4], atol=1e-6)
    assert np.argmax(scores, 1).tolist() == [3, 0, 4]


def test_few_shot_prototypes_move_towards_similar_base_ones():
    base = jnp.asarray([[2.0, 0.0], [0.0, 1.0]])
    new = jnp.asarray([[3.0, 4.0]])  # unit: (.6, .8)
    near = np.exp(16 * np.asarray([0.6, 0.8]))
    near = near / near.sum()
    for alpha, given in ((0.3, {"alpha": 0.3}), (0.5, {})):
        expected = (1 - alpha) * np.asarray([0.6, 0.8]) + alpha * near / np.linalg.norm(near)
        np.testing.assert_allclose(classifiers.teen(new, base, **given)[0], expected, atol=1e-6)
    np.testing.assert_allclose(classifiers.teen(new, base, alpha=0.0), [[0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(classifiers.cosine(base, new), [[0.6, 0.8]], atol=1e-6)
    # One base class draws a new one to itself, whatever rows have none.
    only = jnp.asarray([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(classifiers.teen(new, only, alpha=1.0), [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    # Also where it lies opposite, and however sharp the weights are.
    opposite = jnp.asarray([[0.0, 0.0], [-3.0, -4.0]])
    np.testing.assert_allclose(classifiers.teen(new, opposite, tau=200.0, alpha=1.0), [[-0.6, -0.8]], atol=1e-6)
    # As statistics: base classes keep their means, later ones move, whatever other rows are still empty.
    one = jnp.ones(1, bool)
    learned = classifiers.Prototypes.empty(4, 2).add(0, base[:1], one).add(2, base[1:], one)
    np.testing.assert_array_equal(learned.mean[jnp.asarray([0, 2])], base)
    learned = learned.settle().add(1, new, one)
    np.testing.assert_allclose(learned.mean[1], classifiers.teen(new, base)[0], atol=1e-6)
    np.testing.assert_allclose(learned.scores(base[:1])[0, 2], 0.0, atol=1e-6)
    np.testing.assert_array_equal(learned.add(3, new, one).mean[3], learned.mean[1])


def test_a_classifier_can_be_a_key_and_is_not_changed():
    # A phase retains each of a method's classifiers once, as keys (`phases/part.py`).
    own = classifiers.Classifier("own", classifiers.exemplar_mean)
    assert list(dict.fromkeys([own, own])) == [own]
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.reads = "units"


def test_the_page_on_deviations_has_the_number_of_random_features():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "deviations.md").read_text(encoding="utf-8")
    assert page.count(f"{random_features.WIDTH:,} random features instead of 10,000") == 1
    assert page.count(f"`units_ridge` has {random_features.NARROW} random features") == 1
