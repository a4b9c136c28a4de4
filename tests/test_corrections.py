"""Corrections of the head, by hand and by their optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import corrections, losses, objectives

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
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(60, 5)), jnp.float32)
    head = {"logits": {"kernel": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32), "bias": jnp.zeros(4)}}
    head["logits"]["bias"] = head["logits"]["bias"].at[2].set(3.0)  # leans to the new class
    labels = jnp.asarray(rng.integers(0, 3, 60))

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
    # At the optimum of both numbers: neither a factor nor a shift makes it better.
    z = features @ found["logits"]["kernel"] + found["logits"]["bias"]

    def objective(numbers):
        return losses.cross_entropy(jnp.where(NEW, numbers[0] * z + numbers[1], z), labels, KNOWN).mean()

    assert np.asarray(jax.grad(objective)(jnp.asarray([1.0, 0.0]))) == pytest.approx([0, 0], abs=1e-3)
