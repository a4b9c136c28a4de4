"""Corrections of the head, by hand and by their optimum."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import corrections, losses, objectives, rng

NEW = jnp.asarray([False, False, True, False])
KNOWN = jnp.asarray([True, True, True, False])
CONTEXT = objectives.Context(KNOWN, KNOWN & ~NEW, KNOWN & ~NEW, jnp.float32(0), jnp.float32(1), NEW)


def test_new_columns_get_the_length_of_the_old_ones():
    kernel = jnp.asarray([[3.0, 0.0, 0.0, 7.0], [4.0, 1.0, 12.0, 7.0]])  # lengths 5, 1 and 12; the last is unknown
    head = {"hidden0": {"kernel": jnp.ones((2, 2))}, "logits": {"kernel": kernel, "bias": jnp.arange(4.0)}}
    found, numbers = corrections.align_weights(head, None, None, CONTEXT)
    assert {name: float(number) for name, number in numbers.items()} == {"factor": pytest.approx(3 / 12)}
    found = found["logits"]
    np.testing.assert_allclose(found["kernel"], kernel * jnp.asarray([1, 1, 3 / 12, 1]), rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], head["logits"]["bias"])


def test_the_bias_of_new_logits_is_fitted_where_it_is_best():
    generator = np.random.default_rng(0)
    features = jnp.asarray(generator.normal(size=(60, 5)), jnp.float32)
    head = {"logits": {"kernel": jnp.asarray(generator.normal(size=(5, 4)), jnp.float32), "bias": jnp.zeros(4)}}
    head["logits"]["bias"] = head["logits"]["bias"].at[2].set(3.0)  # leans to the new class
    labels = jnp.asarray(generator.integers(0, 3, 60))

    def mean_loss(head):
        logits = features @ head["logits"]["kernel"] + head["logits"]["bias"]
        return losses.cross_entropy(logits, labels, KNOWN).mean()

    logits = features @ head["logits"]["kernel"] + head["logits"]["bias"]
    # Rows that are none of the images change nothing.
    padded, beside = (
        jnp.pad(logits, ((0, 9), (0, 0)), constant_values=50.0),
        jnp.pad(labels, (0, 9), constant_values=-1),
    )
    found, numbers = corrections.correct_bias(head, padded, beside, CONTEXT)
    corrected = jnp.where(NEW, numbers["alpha"] * logits + numbers["beta"], logits)
    np.testing.assert_allclose(features @ found["logits"]["kernel"] + found["logits"]["bias"], corrected, rtol=1e-4)
    assert mean_loss(found) < mean_loss(head) - 0.1
    old = np.asarray(~NEW)
    np.testing.assert_array_equal(found["logits"]["kernel"][:, old], head["logits"]["kernel"][:, old])
    # At the optimum of both numbers, a large shift being dear.

    def objective(both):
        z = jnp.where(NEW, both[0] * logits + both[1], logits)
        return losses.cross_entropy(z, labels, KNOWN).mean() + 0.05 * both[1] ** 2

    at = jnp.asarray([numbers["alpha"], numbers["beta"]])
    assert np.asarray(jax.grad(objective)(at)) == pytest.approx([0, 0], abs=1e-3)


def test_the_bias_stays_small_where_few_reserved_images_can_be_told_apart():
    """Of old images alone, all answered right, the cross-entropy falls with beta for ever."""
    logits = jnp.asarray([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [2.0, 0, 0, 0]])
    head = {"logits": {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}}
    _, numbers = corrections.correct_bias(head, logits, jnp.asarray([0, 1, 0]), CONTEXT)
    assert -1 < numbers["beta"] < -0.1


def test_the_aligned_head_answers_evenly_and_leaves_unknown_columns():
    generator = np.random.default_rng(0)
    centres = np.asarray([[3, 0, 0], [0, 3, 0], [0, 0, 3]], np.float32)
    labels = np.repeat([0, 1, 2], [6, 9, 60])
    features = (centres[labels] + 0.3 * generator.normal(size=(75, 3))).astype(np.float32)
    bias = jnp.asarray([0, 0, 0.6, 0])  # it answers the new class alone
    head = {"logits": {"kernel": 0.1 * jnp.eye(3, 4), "bias": bias}}

    def right(head):
        answers = np.where(KNOWN, logits_of(head, features), -np.inf).argmax(1)
        return [(answers == labels)[labels == c].mean() for c in range(3)]

    assert right(head) == [0, 0, 1]
    beside = jnp.pad(jnp.asarray(labels), (0, 5), constant_values=-1)
    seen = [
        corrections.Features(jnp.pad(features, ((0, 5), (0, 0)), constant_values=value), beside, logits_of)
        for value in (0, 1e3)
    ]
    found, numbers = corrections.align_classifier(head, None, None, CONTEXT, seen[0])
    other, _ = corrections.align_classifier(head, None, None, CONTEXT, seen[1])
    # Rows that are no image change nothing.
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-6), found, other)
    assert min(right(found)) > 0.9
    assert 0 < float(numbers["loss"]) < 1
    np.testing.assert_array_equal(found["logits"]["kernel"][:, 3], head["logits"]["kernel"][:, 3])


def logits_of(head, features):
    return features @ head["logits"]["kernel"] + head["logits"]["bias"]


def aligned_by_hand(head, features, labels, known):
    """Aligns in float64, step by step: 3 epochs of SGD on batches of 256 draws; returns head and last mean loss."""
    kernel, bias, n = *(np.asarray(head["logits"][name], np.float64) for name in ("kernel", "bias")), len(known)
    speed, step = [np.zeros_like(kernel), np.zeros_like(bias)], 0
    for epoch in range(3):
        draw, order = jax.random.split(jax.random.fold_in(rng.derive(0, "classifier alignment"), epoch))
        drawn = np.asarray(corrections._drawn(draw, features, labels, n, draws=256), np.float64).reshape(256 * n, -1)
        losses_of_epoch = []
        for rows in np.asarray(jax.random.permutation(order, 256 * n)).reshape(n, 256):
            rows = rows[known[rows // 256]]
            z = np.where(known, drawn[rows] @ kernel + bias, 0)
            length = np.sqrt((z**2).sum(1, keepdims=True))
            likely = np.where(known, np.exp(z / (0.1 * length)), 0)
            likely /= likely.sum(1, keepdims=True)
            losses_of_epoch.append(-np.log(likely[np.arange(len(rows)), rows // 256]).mean())
            slope = (likely - np.eye(n)[rows // 256]) / len(rows)
            slope = (slope - (slope * z).sum(1, keepdims=True) * z / length**2) / (0.1 * length)
            speed = [0.9 * speed[0] + drawn[rows].T @ slope, 0.9 * speed[1] + slope.sum(0)]
            rate = 0.01 * (1 + np.cos(np.pi * step / (3 * n))) / 2
            kernel, bias, step = kernel - rate * speed[0], bias - rate * speed[1], step + 1
    return kernel, bias, np.mean(losses_of_epoch)


def test_the_head_is_aligned_step_by_step_as_by_hand():
    generator = np.random.default_rng(0)
    labels = jnp.asarray(np.repeat([0, 1, 2, -1], [6, 9, 20, 5]))
    features = jnp.asarray(generator.normal(size=(40, 3)) + np.asarray(labels)[:, None], jnp.float32)
    kernel, bias = (jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in ((3, 4), 4))
    head, seen = {"logits": {"kernel": kernel, "bias": bias}}, corrections.Features(features, labels, logits_of)
    found, numbers = corrections.align_classifier(head, None, None, CONTEXT, seen)
    kernel, bias, loss = aligned_by_hand(head, features, labels, np.asarray(KNOWN))
    np.testing.assert_allclose(found["logits"]["kernel"], kernel, atol=1e-5)
    np.testing.assert_allclose(found["logits"]["bias"], bias, atol=1e-5)
    assert float(numbers["loss"]) == pytest.approx(loss, rel=1e-5)


def test_the_loss_of_one_row_is_its_own():
    head = {"logits": {"kernel": jnp.eye(3, 4), "bias": jnp.zeros(4)}}
    # Logits (3, 4, 0) have length 5, and the unknown class is left out.
    loss = corrections._aligning_loss(head, jnp.asarray([[3.0, 4.0, 0.0]]), jnp.asarray([1]), KNOWN, logits_of)
    assert float(loss) == pytest.approx(-8 + np.log(np.exp(6) + np.exp(8) + 1), rel=1e-5)


def test_rows_of_unknown_classes_alone_have_no_loss_and_no_gradient():
    head = {"logits": {"kernel": jnp.eye(3, 4), "bias": jnp.zeros(4)}}
    rows, unknown = jnp.asarray([[3.0, 4.0, 0.0]]), jnp.flatnonzero(~KNOWN)[:1]
    loss, gradient = jax.value_and_grad(corrections._aligning_loss)(head, rows, unknown, KNOWN, logits_of)
    assert float(loss) == 0
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


def test_a_correction_that_takes_features_says_so():
    for one in (corrections.align_weights, corrections.correct_bias, corrections.align_classifier):
        assert getattr(one, "reads_features", False) == (len(inspect.signature(one).parameters) == 5)
    assert corrections.correct_bias.reserved == 0.1


def test_the_draws_of_one_image_lie_around_it():
    drawn = corrections._drawn(jax.random.key(0), jnp.asarray([[5.0, -3.0]]), jnp.asarray([1]), 2, draws=1000)
    np.testing.assert_allclose(drawn.mean(1), [[0, 0], [5, -3]], atol=2e-3)
    np.testing.assert_allclose(drawn.std(1), 0.01, rtol=0.15)


def test_draws_have_the_mean_and_covariance_of_their_class():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 50])
    features = generator.normal(size=(90, 4)) @ generator.normal(size=(4, 4)) + 5 * labels[:, None]
    drawn = corrections._drawn(
        jax.random.key(0), jnp.asarray(features, jnp.float32), jnp.asarray(labels), 3, draws=20_000
    )
    for c in range(2):
        of_class, deviation = features[labels == c], features[labels == c].std(0)
        # Five standard errors of a mean and, in units of the deviations, of a covariance.
        np.testing.assert_allclose(drawn[c].mean(0), of_class.mean(0), atol=5 * deviation.max() / np.sqrt(20_000))
        scale = np.outer(deviation, deviation)
        found, expected = (np.cov(one, rowvar=False, bias=True) / scale for one in (drawn[c], of_class))
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(2 / 20_000))


def test_a_class_of_fewer_images_than_features_and_of_large_ones_is_aligned():
    generator = np.random.default_rng(0)
    features = jnp.asarray(1e3 * np.abs(generator.normal(size=(9, 3))), jnp.float32)
    seen = corrections.Features(features, jnp.asarray([0, 0, 1, 1, 1, 2, -1, -1, -1]), logits_of)
    head = {"logits": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}}  # its logits have no length
    found, numbers = corrections.align_classifier(head, None, None, CONTEXT, seen)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found, numbers)))
