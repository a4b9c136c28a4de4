"""Every metric against numbers worked out by hand."""

import dataclasses
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from fer_jax import metrics

# Two base classes, then class 2 at step 1 and class 3 at step 2; class 1 has twice the test images.
A = np.asarray([
    [0.9, 0.6, np.nan, np.nan],
    [0.8, 0.7, 0.5, np.nan],
    [0.4, 0.5, 0.3, 1.0],
])  # fmt: skip
LEARNED = np.asarray([0, 0, 1, 2])
COUNTS = np.asarray([10, 20, 10, 10])
POOLED = np.asarray([(9 + 12) / 30, (8 + 14 + 5) / 40, (4 + 10 + 3 + 10) / 50])


def test_pooled_accuracies():
    np.testing.assert_allclose(metrics.pooled_accuracy(A, LEARNED, COUNTS), POOLED)
    assert metrics.average_incremental_accuracy(A, LEARNED, COUNTS) == pytest.approx(POOLED[1:].mean())
    with_base = metrics.average_incremental_accuracy(A, LEARNED, COUNTS, include_base=True)
    assert with_base == pytest.approx(POOLED.mean())
    assert metrics.final_accuracy(A, LEARNED, COUNTS) == pytest.approx(27 / 50)


def test_forgetting_and_backward_transfer_weigh_classes_equally():
    # Class 1 was best after step 1, not when it was learned.
    assert metrics.forgetting(A, LEARNED, COUNTS) == pytest.approx(((0.9 - 0.4) + (0.7 - 0.5) + (0.5 - 0.3)) / 3)
    assert metrics.backward_transfer(A, LEARNED, COUNTS) == pytest.approx((-0.5 - 0.1 - 0.2) / 3)


def test_tasks_weigh_equally_where_it_is_said():
    # Task 0 has classes 0 and 1, the second with twice the images.
    first = np.asarray([0.9 + 2 * 0.6, 0.8 + 2 * 0.7, 0.4 + 2 * 0.5]) / 3
    nan = np.nan
    r = [[first[0], nan, nan], [first[1], 0.5, nan], [first[2], 0.3, 1.0]]
    np.testing.assert_allclose(metrics.task_accuracy(A, LEARNED, COUNTS), r)
    assert metrics.final_accuracy_task_mean(A, LEARNED, COUNTS) == pytest.approx((1.4 / 3 + 0.3 + 1.0) / 3)
    steps = [(2.2 / 3 + 0.5) / 2, (1.4 / 3 + 0.3 + 1.0) / 3]
    assert metrics.average_incremental_accuracy_task_mean(A, LEARNED, COUNTS) == pytest.approx(np.mean(steps))
    # The base task was best after step 1; learned with 2.1 / 3.
    assert metrics.forgetting_task_mean(A, LEARNED, COUNTS) == pytest.approx((0.8 / 3 + 0.2) / 2)
    assert metrics.backward_transfer_task_mean(A, LEARNED, COUNTS) == pytest.approx((-0.7 / 3 - 0.2) / 2)
    assert metrics.forgetting_since_learned_task_mean(A, LEARNED, COUNTS) == pytest.approx((0.7 / 3 + 0.2) / 2)
    assert metrics.forgetting_since_learned(A, LEARNED, COUNTS) == pytest.approx((0.5 + 0.1 + 0.2) / 3)
    with pytest.raises(ValueError, match="in step 1 there is none"):
        metrics.task_accuracy(A[:, :2], LEARNED[:2], COUNTS[:2])


def test_plasticity_and_its_price():
    assert metrics.new_class_accuracy(A, LEARNED) == pytest.approx((0.5 + 1.0) / 2)
    joint = np.asarray([[np.nan] * 4, [np.nan] * 4, [0.9, 0.9, 0.8, 0.9]])
    assert metrics.intransigence(A, joint, LEARNED) == pytest.approx(0.9 - 1.0)
    with pytest.raises(ValueError, match="at one step"):
        metrics.intransigence(A, np.full_like(A, np.nan), LEARNED)


def test_base_against_novel():
    base = metrics.base_retention(A, LEARNED, COUNTS)
    np.testing.assert_allclose(base, [21 / 30, 22 / 30, 14 / 30])
    novel = metrics.novel_accuracy(A, LEARNED, COUNTS)
    assert np.isnan(novel[0])
    np.testing.assert_allclose(novel[1:], [0.5, 13 / 20])
    harmonic = metrics.harmonic_mean(base, novel)
    assert np.isnan(harmonic[0])
    np.testing.assert_allclose(harmonic[1], 2 * (22 / 30) * 0.5 / (22 / 30 + 0.5))


def test_always_the_new_class_scores_nothing():
    assert metrics.harmonic_mean(np.asarray(0.0), np.asarray(1.0)) == 0
    assert metrics.harmonic_mean(np.asarray(0.0), np.asarray(0.0)) == 0
    assert metrics.harmonic_mean(np.asarray(0.2), np.asarray(0.3)) == pytest.approx(0.24)


def test_accuracy_matrix_from_counts():
    confusions = np.asarray([[[3, 1, 0], [0, 1, 0], [0, 0, 0]], [[2, 1, 1], [2, 0, 0], [0, 1, 4]]])
    a = metrics.accuracy_matrix(confusions)
    np.testing.assert_allclose(a[0, :2], [0.75, 1.0])  # class 1 has a single image
    assert np.isnan(a[0, 2])
    np.testing.assert_allclose(a[1], [0.5, 0.0, 0.8])


# Class 0 is confused with 1 and 3; class 1 is never answered right; class 2 has no test images, yet is answered once.
CONFUSION = np.asarray([
    [6, 1, 0, 1],
    [4, 0, 0, 0],
    [0, 0, 0, 0],
    [0, 1, 1, 2],
])  # fmt: skip


def test_macro_f1_by_hand():
    # Class 0: precision 6/10, recall 6/8. Class 3: precision 2/3, recall 2/4.
    first, last = 2 * 0.6 * 0.75 / (0.6 + 0.75), 2 * (2 / 3) * 0.5 / (2 / 3 + 0.5)
    assert metrics.macro_f1(CONFUSION) == pytest.approx((first + 0.0 + last) / 3)
    # A class that is never answered has F1 0, and no division by 0: class 0 has precision 1/2.
    assert metrics.macro_f1([[3, 0], [3, 0]]) == pytest.approx((2 / 3) / 2)
    assert metrics.macro_f1(np.eye(3, dtype=int)) == 1.0


def test_mean_class_recall_by_hand():
    assert metrics.mean_class_recall(CONFUSION) == pytest.approx((6 / 8 + 0.0 + 2 / 4) / 3)
    # Accuracy weighs classes by their images, this does not.
    assert metrics.mean_class_recall([[90, 0], [10, 0]]) == 0.5
    assert metrics.mean_class_recall([[0, 1], [0, 3]]) == 0.5  # one image makes a class


def test_class_metrics_follow_from_the_accuracy_matrix_where_they_can():
    recall = metrics.pooled_accuracy(metrics.accuracy_matrix(CONFUSION[None]), [0, 0, 9, 0], np.ones(4))
    assert recall == pytest.approx(metrics.mean_class_recall(CONFUSION))


@pytest.mark.parametrize("metric", [metrics.macro_f1, metrics.mean_class_recall])
@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        (np.ones((2, 3)), r"is \(2, 3\); it must be \[C, C\]"),
        (np.ones(4), r"is \(4,\); it must be"),
        (np.zeros((0, 0)), "counts no image"),
        (np.zeros((2, 2)), "counts no image"),
    ],
)
def test_what_is_no_confusion_matrix_is_told(metric, confusion, said):
    with pytest.raises(ValueError, match=said):
        metric(confusion)


def test_interval_by_hand():
    # Mean 3, sample deviation 1, n = 3: half width = 4.302653 / sqrt(3).
    found = metrics.estimate([2.0, 3.0, 4.0])
    assert (found.mean, found.n) == (3.0, 3)
    assert found.high - 3 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert 3 - found.low == pytest.approx(found.high - 3)
    # Of two values 0 and 1: deviation sqrt(1/2), t(1) = 12.706.
    assert metrics.estimate([0.0, 1.0]).high - 0.5 == pytest.approx(12.7062 / 2, rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one run is nothing that numpy should warn of
        one = metrics.estimate([0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert np.isnan([one.low, one.high]).all()
    with pytest.raises(ValueError, match="at least one"):
        metrics.estimate([])


def test_a_metric_of_increments_needs_one():
    only = A[:1, :2], LEARNED[:2], COUNTS[:2]
    for metric in (metrics.average_incremental_accuracy, metrics.average_incremental_accuracy_task_mean):
        with pytest.raises(ValueError, match="needs a step after the base task"):
            metric(*only)
    for metric in (metrics.forgetting, metrics.backward_transfer, metrics.forgetting_task_mean):
        with pytest.raises(ValueError, match="needs a class learned before the last step"):
            metric(*only)
    assert metrics.average_incremental_accuracy(*only, include_base=True) == pytest.approx(21 / 30)


def test_equal_runs_have_an_interval_of_no_width():
    found = metrics.estimate([0.25, 0.25, 0.25])
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": COUNTS[:3]}, "must be"),
        ({"learned_at": LEARNED[:3]}, "must be"),
        ({"a": A[0], "learned_at": LEARNED, "counts": COUNTS}, "must be"),
        ({"learned_at": np.zeros(4, int)}, "NaN at a class"),
        ({"a": np.where(A == 1.0, np.nan, A)}, "NaN at a class"),  # the last class, in the step that learns it
    ],
)
def test_what_does_not_fit_is_told(change, said):
    arguments = {"a": A, "learned_at": LEARNED, "counts": COUNTS, **change}
    for metric in (metrics.final_accuracy, metrics.forgetting, metrics.backward_transfer):
        with pytest.raises(ValueError, match=said):
            metric(**arguments)


@hypothesis.given(st.integers(0, 2**32 - 1))
@hypothesis.settings(deadline=None, max_examples=50)
def test_relations_that_hold_for_every_matrix(seed):
    rng = np.random.default_rng(seed)
    t, base = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    learned = np.concatenate([np.zeros(base, int), 1 + rng.permutation(t - 1)])
    a, counts = rng.random((t, len(learned))), rng.integers(1, 9, len(learned))
    # Forgetting is measured from the best, backward transfer from the first: the one bounds the other.
    assert metrics.forgetting(a, learned, counts) >= -metrics.backward_transfer(a, learned, counts) - 1e-12
    # With one class a task, and as many images of each, tasks and classes are the same.
    single = learned[base - 1 :], np.ones(t, int)
    for name in ("forgetting", "backward_transfer", "final_accuracy", "average_incremental_accuracy"):
        by_class, by_task = getattr(metrics, name), getattr(metrics, f"{name}_task_mean")
        assert by_task(a[:, base - 1 :], *single) == pytest.approx(by_class(a[:, base - 1 :], *single))
    # Entries of classes not learned yet never count.
    unseen = learned[None, :] > np.arange(t)[:, None]
    blank = np.where(unseen, np.nan, a)
    for metric in (metrics.average_incremental_accuracy, metrics.final_accuracy, metrics.forgetting,
                   metrics.backward_transfer, metrics.final_accuracy_task_mean, metrics.forgetting_task_mean,
                   metrics.backward_transfer_task_mean):  # fmt: skip
        assert metric(blank, learned, counts) == metric(a, learned, counts)
        assert -1 <= metric(a, learned, counts) <= 1


def test_an_estimate_is_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.estimate([0.5, 0.7]).mean = 1.0
