"""Losses against the published code's vectors, then properties."""

import math

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import losses, objectives

N_CLASSES = 21


def padded(array, value=0.0):
    """f32[B, K] to f32[B, 21]; what stands in unknown classes must not matter."""
    return np.pad(array, ((0, 0), (0, N_CLASSES - array.shape[1])), constant_values=value)


@pytest.mark.parametrize("known", [7, 12])
@pytest.mark.parametrize("junk", [0.0, 1e4])
def test_losses_and_gradients_equal_the_published_code(reference, known, junk):
    r = reference("a_distill")
    student = jnp.asarray(padded(r[f"K{known}_student"], junk))
    teacher = jnp.asarray(padded(r[f"K{known}_teacher"]))
    labels = jnp.asarray(r[f"K{known}_onehot"].argmax(1))
    mask = jnp.arange(N_CLASSES) < known
    gamma = losses.distillation_weight(known - 7)
    context = objectives.Context(mask, jnp.arange(N_CLASSES) < 6, mask, jnp.float32(gamma), jnp.float32(3))

    def ce(logits):
        return losses.cross_entropy(logits, labels, mask).mean()

    def kd(logits):
        return losses.distillation(teacher, logits, mask).mean()

    def total(logits):
        outputs = objectives.Outputs(logits, jnp.zeros((5, 1)), labels, teacher)
        return objectives.distilled_cross_entropy(outputs, context).mean()

    for function, name in ((ce, "cl"), (kd, "dist"), (total, "total")):
        loss, gradient = jax.value_and_grad(function)(student)
        np.testing.assert_allclose(loss, r[f"K{known}_{name}_loss"], rtol=1e-5)
        expected = padded(r[f"K{known}_grad_{name}"])
        error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
        assert error < 1e-5, (name, error)
        np.testing.assert_array_equal(gradient[:, known:], 0)


def test_distillation_weights_equal_the_published_code(reference):
    ours = [losses.distillation_weight(i) for i in range(15)]
    np.testing.assert_allclose(ours, reference("a_distill")["gamma"], rtol=1e-12)
    assert losses.distillation_weight(0, gamma=0.3) == 0.3


def test_cross_entropy_by_hand():
    logits = jnp.asarray([[0.0, math.log(3), 5.0]])
    # Among the two known classes the odds are 1 : 3.
    loss = losses.cross_entropy(logits, jnp.asarray([1]), jnp.asarray([True, True, False]))
    np.testing.assert_allclose(loss, [math.log(4 / 3)], rtol=1e-6)


def test_cross_entropy_of_an_unknown_class_is_infinite():
    loss = losses.cross_entropy(jnp.zeros((1, 3)), jnp.asarray([2]), jnp.asarray([True, True, False]))
    assert np.isinf(loss).all()


def test_unseen_classes_receive_teacher_mass_only_in_the_published_form():
    teacher = jnp.asarray([[2.0, -3.0, 0.0]])
    student = jnp.zeros((1, 3))
    known, base = jnp.asarray([True, True, True]), jnp.asarray([True, True, False])
    published = jax.grad(lambda s: losses.distillation(teacher, s, known).sum())(student)
    ours = jax.grad(lambda s: losses.distillation(teacher, s, base).sum())(student)
    # Gradient is (softmax(student / T) - softmax(teacher / T)) / T: padded with logit 0 the unseen class is pulled up
    # against the second base class, and without it nothing acts on it.
    p = np.exp(np.asarray([2.0, -3.0, 0.0]) / 3)
    np.testing.assert_allclose(published[0], (1 / 3 - p / p.sum()) / 3, rtol=1e-5)
    assert ours[0, 2] == 0


logits_arrays = hnp.arrays(np.float32, (4, 6), elements=st.floats(-30, 30, width=32))


@hypothesis.given(logits_arrays, logits_arrays, st.integers(1, 6), st.floats(-100, 100, width=32))
@hypothesis.settings(deadline=None, max_examples=40)
def test_losses_ignore_unknown_classes_and_shifts(teacher, student, known, shift):
    mask = jnp.arange(6) < known
    labels = jnp.zeros(4, jnp.int32)
    other = np.where(mask, student, 77.0)
    for function in (
        lambda s: losses.cross_entropy(s, labels, mask),
        lambda s: losses.distillation(jnp.asarray(teacher), s, mask),
    ):
        loss = function(jnp.asarray(student))
        chex.assert_shape(loss, (4,))
        np.testing.assert_allclose(loss, function(jnp.asarray(other)), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(loss, function(jnp.asarray(student) + shift), rtol=1e-3, atol=1e-3)
        assert (np.asarray(loss) >= -1e-6).all()


@hypothesis.given(logits_arrays, logits_arrays)
@hypothesis.settings(deadline=None, max_examples=30)
def test_distillation_is_least_at_the_teacher(teacher, student):
    mask = jnp.ones(6, bool)
    at_teacher = losses.distillation(jnp.asarray(teacher), jnp.asarray(teacher), mask)
    elsewhere = losses.distillation(jnp.asarray(teacher), jnp.asarray(student), mask)
    assert (np.asarray(elsewhere) >= np.asarray(at_teacher) - 1e-4).all()


def test_shapes_that_do_not_fit_are_told():
    logits, labels, mask = jnp.zeros((4, 3)), jnp.zeros(4, jnp.int32), jnp.ones(3, bool)
    with pytest.raises(AssertionError, match="shape"):
        losses.cross_entropy(logits, labels[:3], mask)
    with pytest.raises(AssertionError, match="shape"):
        losses.cross_entropy(logits, labels, jnp.ones(4, bool))
    with pytest.raises(AssertionError, match="shape"):
        losses.distillation(logits[:, :2], logits, mask)


def contrast_by_hand(z, labels, subjects=None, temperature=0.1):
    """Equation 2 of arXiv 2004.11362, a term at a time; hard negatives count as often as makes both kinds equal."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    similarity, found = np.exp(z @ z.T / temperature), []
    for a in range(len(z)):
        others = [n for n in range(len(z)) if n != a]
        negatives = [n for n in others if labels[n] != labels[a]]
        own = [n for n in negatives if subjects is not None and subjects[n] == subjects[a]]
        hard = max(1.0, (len(negatives) - len(own)) / max(1, len(own)))
        total = sum(similarity[a, n] * (hard if n in own else 1.0) for n in others)
        positives = [p for p in others if labels[p] == labels[a]]
        found.append(-sum(np.log(similarity[a, p] / total) for p in positives) / max(1, len(positives)))
    return np.asarray(found)


# The last subjects leave an anchor fewer negatives of others than of its own.
@pytest.mark.parametrize("subjects", [None, np.array([0, 1, 0, 1, 0, 2]), np.array([0, 0, 0, 0, 0, 1])])
def test_supervised_contrast_by_hand(subjects):
    z = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 1, 2])
    given = None if subjects is None else jnp.asarray(subjects)
    found = losses.supervised_contrastive(jnp.asarray(z), jnp.asarray(labels), given)
    np.testing.assert_allclose(found, contrast_by_hand(z.astype(float), labels, subjects), rtol=1e-4, atol=1e-5)
    # At a low temperature few pairs decide; here all of them do.
    warm = losses.supervised_contrastive(jnp.asarray(z), jnp.asarray(labels), given, temperature=2.0)
    np.testing.assert_allclose(warm, contrast_by_hand(z.astype(float), labels, subjects, 2.0), rtol=1e-5, atol=1e-5)
    assert float(found[5]) == 0  # alone in its class
    # The lengths of the embeddings do not count, and the gradient of one of length 0 is a number.
    longer = losses.supervised_contrastive(jnp.asarray(z) * 7, jnp.asarray(labels), given)
    np.testing.assert_allclose(longer, found, rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda z: losses.supervised_contrastive(z, jnp.asarray(labels)).sum())(jnp.zeros((6, 4)))
    assert np.isfinite(gradient).all()


def test_matching_of_recorded_logits_by_hand():
    logits = jnp.asarray([[1.0, 5.0], [1.0, 2.0], [7.0, 8.0]])
    recorded = jnp.asarray([[3.0, jnp.nan], [1.0, 4.0], [jnp.nan, jnp.nan]])
    np.testing.assert_array_equal(losses.logit_matching(logits, recorded), [4.0, (0.0 + 4.0) / 2, 0.0])
    gradient = jax.grad(lambda z: losses.logit_matching(z, recorded).sum())(logits)
    np.testing.assert_array_equal(gradient, [[-4.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
