"""Folds and orders against the published code; who may be read when, as properties."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from fer_jax import protocol


def test_folds_equal_the_published_code(reference):
    r = reference("c_folds")
    names = r["subjects"]
    # One image a subject in shuffled order: folds go by subject, not by row.
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(230), 3))
    folds = protocol.subject_folds(rows)
    for fold, expected in zip(folds, r["val_subject_positions"], strict=True):
        np.testing.assert_array_equal(fold, expected)
    named = protocol.subject_folds(names, 10)
    np.testing.assert_array_equal(named[3], names[r["val_subject_positions"][3]])


def test_class_orders_equal_the_published_code(reference):
    orders = protocol.class_orders()
    np.testing.assert_array_equal(orders, reference("c_class_orders_seed42")["orders"])
    np.testing.assert_array_equal(protocol.class_orders(n_orders=3), orders[:3])
    chosen = protocol.numbered_orders(orders, (7, 2))
    assert list(chosen) == [7, 2]
    np.testing.assert_array_equal(chosen[7], orders[7])
    assert list(protocol.numbered_orders(orders)) == list(range(len(orders)))
    assert orders.dtype == np.int32


def test_learned_at_and_masks_by_hand():
    steps = protocol.learned_at(np.asarray([2, 0, 1]), n_base=2)
    np.testing.assert_array_equal(steps, [0, 0, 2, 3, 1])
    np.testing.assert_array_equal(protocol.class_mask(steps, 0), [True, True, False, False, False])
    np.testing.assert_array_equal(protocol.class_mask(steps, 2), [True, True, True, False, True])
    # Two classes at a time, the last alone.
    several = protocol.learned_at(np.asarray([2, 0, 1, 4, 3]), n_base=2, per_increment=2)
    np.testing.assert_array_equal(several, [0, 0, 1, 2, 1, 3, 2])
    assert protocol.n_increments(5, per_increment=2) == 3


@hypothesis.given(st.integers(10, 60), st.integers(3, 10), st.data())
@hypothesis.settings(deadline=None, max_examples=60)
def test_no_subject_is_in_two_parts_when_held_out(n_subjects, n_folds, data):
    fold = data.draw(st.integers(0, n_folds - 1))
    rng = np.random.default_rng(n_subjects)
    subject = rng.permutation(np.repeat(rng.choice(1000, n_subjects, replace=False), 4))
    split = protocol.split(subject, fold, n_folds)
    parts = [set(subject[rows]) for rows in (split.train, split.validation, split.test)]
    assert not (parts[0] & parts[1])
    assert not (parts[0] & parts[2])
    assert not (parts[1] & parts[2])
    rows = np.concatenate([split.train, split.validation, split.test])
    assert sorted(rows) == list(range(len(subject)))
    assert all(len(part) for part in parts)


def test_every_subject_is_tested_once_over_the_folds():
    subject = np.repeat(np.arange(33), 2)
    tested = np.concatenate([protocol.split(subject, k).test for k in range(10)])
    assert sorted(tested) == list(range(66))


def test_published_selects_on_what_it_reports():
    split = protocol.split(np.arange(30), 2, 10, "published")
    np.testing.assert_array_equal(split.validation, split.test)
    assert not set(split.train) & set(split.test)
    assert len(split.train) == 27


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.arange(5), 0, 10), "n_folds is 10"),
        ((np.arange(50), 0, 1, "published"), "n_folds is 1; it may be 2 to"),
        ((np.arange(50), 10, 10), "contains 10"),
        ((np.arange(50), -1, 10), "contains -1"),
        ((np.arange(50), 0, 10, "kfold"), "'kfold'"),
        ((np.arange(50), 0, 2), "at least 3"),
        ((np.arange(50), 3, 3, "held_out", None, None, np.arange(50) < 9), "contains 3; it may be 0 to 2"),
        ((np.arange(50), -1, 3, "held_out", None, None, np.arange(50) < 9), "contains -1; it may be 0 to 2"),
    ],
)
def test_bad_splits_are_told(arguments, said):
    with pytest.raises(ValueError, match=said):
        protocol.split(*arguments)


def test_an_official_split_tests_every_fold_and_folds_the_rest():
    subject = np.repeat(np.arange(12), 3)
    official = subject >= 9
    seen = []
    for fold in range(3):
        found = protocol.split(subject, fold, 3, "held_out", official)
        np.testing.assert_array_equal(found.test, np.flatnonzero(official))
        # Folds are of the nine others: three subjects each.
        np.testing.assert_array_equal(np.unique(subject[found.validation]), np.arange(3) + 3 * fold)
        assert len(found.train) == 6 * 3
        assert not set(subject[found.train]) & set(subject[found.validation])
        seen.extend(found.validation.tolist())
    assert sorted(seen) == np.flatnonzero(~official).tolist()
    published = protocol.split(subject, 1, 3, "published", official)
    np.testing.assert_array_equal(published.validation, published.test)
    assert len(published.train) == 9 * 3


def test_a_subject_on_both_sides_of_an_official_split_is_refused():
    subject = np.repeat(np.arange(6), 2)
    official = np.arange(12) >= 9  # of subject 4 one image
    with pytest.raises(ValueError, match=r"subjects \[4\] are on both sides of the official split"):
        protocol.split(subject, 0, 3, "held_out", official)
    with pytest.raises(ValueError, match="number of subjects, 4"):
        protocol.split(subject, 0, 5, "held_out", np.arange(12) >= 8)


def test_official_validation_subjects_validate_every_fold_and_the_others_are_folded():
    subject = np.repeat(np.arange(12), 3)
    validation = subject >= 9
    for fold in range(3):
        found = protocol.split(subject, fold, 3, "held_out", official_validation=validation)
        np.testing.assert_array_equal(found.validation, np.flatnonzero(validation))
        test = np.isin(subject, np.arange(3) + 3 * fold)
        np.testing.assert_array_equal(found.test, np.flatnonzero(test))
        np.testing.assert_array_equal(found.train, np.flatnonzero(~test & ~validation))
    # Two folds are enough: none of them validates.
    halves = protocol.split(subject, 1, 2, "held_out", official_validation=validation)
    assert np.unique(subject[halves.test]).tolist() == [5, 6, 7, 8]
    test = subject < 2
    found = protocol.split(subject, 0, 3, "held_out", test, official_validation=validation)
    np.testing.assert_array_equal(found.test, np.flatnonzero(test))
    np.testing.assert_array_equal(found.validation, np.flatnonzero(validation))
    np.testing.assert_array_equal(found.train, np.flatnonzero(~test & ~validation))
    # The published protocol trains on them.
    plain, published = (protocol.split(subject, 0, 3, "published", test, None, one) for one in (None, validation))
    np.testing.assert_array_equal(published.train, plain.train)
    np.testing.assert_array_equal(published.validation, np.flatnonzero(test))


@pytest.mark.parametrize("sides", [("train", "validation"), ("validation", "test"), ("test", "train")])
def test_a_subject_on_two_sides_of_official_sets_is_refused(sides):
    subject, side = np.repeat(np.arange(6), 2), np.repeat(["train", "validation", "test"], 4)
    subject[[list(side).index(one) for one in sides]] = 9
    with pytest.raises(ValueError, match=r"subjects \[9\] are on both sides of the official split"):
        protocol.split(subject, 0, 3, "held_out", side == "test", None, side == "validation")


def dealt(label, n_folds):
    """The images of every fold: each class in turn is shuffled and dealt out, always in the same way."""
    generator, folds = np.random.default_rng(0), [[] for _ in range(n_folds)]
    for c in sorted(set(label.tolist())):
        order = generator.permutation(np.flatnonzero(label == c))
        for k, fold in enumerate(folds):
            fold += order[k::n_folds].tolist()
    return [sorted(fold) for fold in folds]


def test_stratified_folds_have_their_share_of_every_class_and_validate_on_training_images():
    label = np.repeat([2, 0, 1], [7, 12, 5])
    folds = dealt(label, 3)
    assert sorted(row for fold in folds for row in fold) == list(range(24))
    for k, fold in enumerate(folds):
        found = protocol.split(np.arange(24), k, 3, "stratified", label=label)
        assert found.test.tolist() == fold
        assert found.validation.tolist() == folds[(k + 1) % 3]
        assert found.train.tolist() == sorted(set(range(24)) - set(fold))
        assert np.bincount(label[found.test]).tolist() in ([4, 2, 3], [4, 2, 2], [4, 1, 2])


def test_stratified_folds_of_an_official_split_validate_alone():
    label, official = np.repeat([0, 1], 9), np.arange(18) % 3 == 0
    for k, fold in enumerate(dealt(label, 3)):
        found = protocol.split(np.arange(18), k, 3, "stratified", official, label)
        assert found.test.tolist() == np.flatnonzero(official).tolist()
        assert found.train.tolist() == np.flatnonzero(~official).tolist()
        assert found.validation.tolist() == [row for row in fold if not official[row]]


def test_a_split_is_not_changed():
    split = protocol.split(np.repeat(np.arange(9), 2), 0, 3, "held_out")
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.test = split.train
