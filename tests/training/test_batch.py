"""How an epoch's images are put into batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax.training.batch import Batch, class_weights, ordered, take

LABELS = np.repeat([0, 1, 2, 5], [3, 12, 20, 1]).astype(np.int32)
SUBJECTS = np.resize(np.arange(9), len(LABELS)).astype(np.int32)
FACTS = Batch(jnp.asarray(LABELS), jnp.asarray(SUBJECTS))


def read(pool, batch_size: int, how: str, key: int = 0) -> np.ndarray:
    order, n_steps = ordered(jax.random.key(key), jnp.asarray(pool, jnp.int32), batch_size, how, FACTS)
    return np.asarray(order)[: int(n_steps) * batch_size]


@pytest.mark.parametrize("how", ["shuffled", "balanced", "subject_pairs"])
@given(filled=st.integers(1, 36), key=st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_only_the_pool_is_read_in_whole_batches(how, filled, key):
    rows = np.random.default_rng(key).permutation(36)[:filled]
    pool = np.random.default_rng(key).permutation([*rows, *[-1] * (40 - filled)])  # one length, one program
    found = read(pool, 8, how, key)
    assert len(found) % 8 == 0
    assert len(found) >= max(1, filled // 8) * 8
    assert set(found) <= set(rows)


def test_balanced_batches_have_the_classes_in_turn():
    found = LABELS[read(np.arange(36), 4, "balanced")].reshape(-1, 4)
    assert all(sorted(batch) == [0, 1, 2, 5] for batch in found.tolist())
    # The images of a small class repeat, each once before any a second time.
    images = read(np.arange(36), 4, "balanced")
    small = images[LABELS[images] == 0]
    assert set(small[:3]) == {0, 1, 2}
    assert set(small[3:6]) == {0, 1, 2}


def test_class_weights_by_hand():
    labels, order = jnp.asarray([0, 0, 0, 1, 3]), jnp.asarray([0, 1, 2, 3, 4, 4, 3])
    # Of the first five: three of class 0, one of 1 and of 3.
    np.testing.assert_allclose(class_weights(order, 5, labels, 4), [5 / 9, 5 / 3, 0, 5 / 3], rtol=1e-6)


@given(key=st.integers(0, 9), n_steps=st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_weighted_classes_count_the_same_and_an_example_one_on_average(key, n_steps):
    order = jnp.asarray(np.random.default_rng(key).integers(0, 36, 40))
    weights = np.asarray(class_weights(order, 8 * n_steps, FACTS.labels, 7))
    read = LABELS[np.asarray(order)[: 8 * n_steps]]
    totals = np.bincount(read, weights[read], 7)
    np.testing.assert_allclose(totals[totals > 0], 8 * n_steps / len(set(read)), rtol=1e-5)
    assert set(np.flatnonzero(totals)) == set(read)


def test_subject_pairs_are_two_images_of_a_person():
    images = read(np.arange(36), 4, "subject_pairs")  # nine people, four images each
    pairs = images.reshape(-1, 2)
    assert (SUBJECTS[pairs[:, 0]] == SUBJECTS[pairs[:, 1]]).all()
    assert sorted(images) == list(range(36))
    assert not np.array_equal(images, read(np.arange(36), 4, "subject_pairs", key=1))


@given(rows=st.sets(st.integers(0, 35), min_size=1), key=st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_an_odd_image_is_paired_with_another_of_its_person(rows, key):
    pool = np.full(40, -1)
    pool[: len(rows)] = sorted(rows)
    order, _ = ordered(jax.random.key(key), jnp.asarray(pool, jnp.int32), 4, "subject_pairs", FACTS)
    counts = np.bincount(SUBJECTS[sorted(rows)])
    pairs = np.asarray(order)[: 2 * int(np.sum(-(-counts // 2)))].reshape(-1, 2)
    assert (SUBJECTS[pairs[:, 0]] == SUBJECTS[pairs[:, 1]]).all()
    assert set(pairs.ravel()) == rows
    alone = np.flatnonzero(counts == 1)
    assert all((a == b) == (SUBJECTS[a] in alone) for a, b in pairs)


def test_rows_of_a_batch_keep_what_is_known_of_them():
    facts = FACTS._replace(targets={"units": jnp.arange(36.0)[:, None]}, stored=jnp.arange(36) % 2 == 0)
    rows = take(facts, jnp.asarray([5, 2]))
    assert rows.labels.tolist() == [1, 0]
    assert rows.targets["units"].tolist() == [[5.0], [2.0]]
    assert rows.stored.tolist() == [False, True]
    assert rows.recorded is None
