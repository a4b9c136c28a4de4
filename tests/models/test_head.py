"""The head: columns that grow without a change of shape, and masked classes that get nothing."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np

from fer_jax.models.head import ExpressionHead, fill_column, masked_probabilities, predict_class


def test_head_equals_the_recipes(reference, resnet50v2):
    r = reference("d_resnet_numerics")
    _, head = resnet50v2
    logits = ExpressionHead(n_classes=6).apply({"params": head}, r["96_maxpool_feature"])
    np.testing.assert_allclose(logits, r["96_logits"], rtol=1e-4, atol=1e-5)


def test_dropout_needs_a_key_and_drops():
    head = ExpressionHead(hidden=(8,), n_classes=3, dropout=0.5)
    x = np.ones((4, 6), np.float32)
    params = head.init(jax.random.key(0), x)
    still = head.apply(params, x)
    moved = head.apply(params, x, deterministic=False, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(still[0], still[1])
    assert not np.allclose(moved[0], moved[1])


def test_a_new_column_changes_no_other_and_has_the_published_spread():
    head = ExpressionHead(hidden=(32,), n_classes=21)
    params = head.init(jax.random.key(0), np.ones((1, 5), np.float32))["params"]
    grown = fill_column(params, jax.random.key(1), 7)
    others = np.arange(21) != 7
    old, new = params["logits"], grown["logits"]
    np.testing.assert_array_equal(new["kernel"][:, others], old["kernel"][:, others])
    np.testing.assert_array_equal(new["bias"], np.zeros(21))
    # Glorot-uniform for shape (32, 1): U(±sqrt(6 / 33)).
    columns = np.stack([fill_column(params, jax.random.key(k), 7)["logits"]["kernel"][:, 7] for k in range(60)])
    bound = np.sqrt(6 / 33)
    assert np.abs(columns).max() <= bound
    np.testing.assert_allclose(columns.std(), bound / np.sqrt(3), rtol=0.05)
    assert len(np.unique(columns[:, 0])) == 60


@hypothesis.given(
    hnp.arrays(np.float32, (5, 9), elements=st.floats(-50, 50, width=32, allow_subnormal=False)),
    hnp.arrays(bool, 9).filter(lambda mask: mask.any()),
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_masked_classes_get_probability_0_and_are_never_answered(logits, mask):
    probabilities = np.asarray(masked_probabilities(logits, mask))
    assert (probabilities[:, ~mask] == 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    answers = np.asarray(predict_class(logits, mask))
    assert mask[answers].all()
    np.testing.assert_array_equal(logits[np.arange(5), answers], np.where(mask, logits, -np.inf).max(1))
