"""Metrics of a run: all but macro-F1 are computed from the accuracy matrix.

a f32[T, C] is the accuracy on class c after step t (step 0 is the base task), on test images; entries of classes not
learned yet are ignored. learned_at i32[C] is 0 for base classes, else the step; counts [C] are test images a class.

Pooled accuracies weight classes by counts. Forgetting and backward transfer weight classes equally, so the base task
counts with all of its classes. Libraries average over tasks instead: in metrics that end in `task_mean` the base task
counts once, and counts weight the classes within a task.
"""

import dataclasses

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over n runs; the interval is NaN for n = 1."""

    mean: float
    low: float
    high: float
    n: int


def mean_of(values: np.ndarray) -> float:
    """Computes the mean of f[n]; rounding does not take it out of their range, as it would that of three times 0.7.

    >>> mean_of([0.7, 0.7, 0.7])
    0.7
    """
    return float(np.clip(np.mean(values), np.min(values), np.max(values)))


def estimate(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Estimates the mean and Student's t interval of independent runs, values f[n].

    Raises:
      ValueError: no value.

    >>> found = estimate([0.4, 0.5, 0.6])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), found.n
    (0.5, 0.252, 0.748, 3)
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        raise ValueError("an estimate needs at least one value")
    mean = mean_of(values)
    if values.size == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    quantile = special.stdtrit(values.size - 1, (1 + confidence) / 2)  # of Student's t
    half = quantile * np.std(values, ddof=1) / np.sqrt(values.size)
    return Estimate(mean, float(mean - half), float(mean + half), values.size)


def accuracy_matrix(confusions: np.ndarray) -> np.ndarray:
    """Computes a f64[T, C] from confusion counts [T, C, C] (row: truth); NaN where a class was not evaluated.

    >>> accuracy_matrix([[[3, 1], [0, 0]], [[2, 2], [0, 4]]]).tolist()
    [[0.75, nan], [0.5, 1.0]]
    """
    confusions = np.asarray(confusions, np.float64)
    totals = confusions.sum(-1)
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    return np.divide(correct, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def pooled_accuracy(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Computes the accuracy over the test images of the classes seen so far, f64[T], after every step.

    >>> a = [[0.9, np.nan], [0.5, 1.0]]
    >>> pooled_accuracy(a, [0, 1], [30, 10]).tolist()
    [0.9, 0.625]
    """
    a, learned_at, counts = np.asarray(a, np.float64), np.asarray(learned_at), np.asarray(counts)
    _check(a, learned_at, counts)
    return np.array(
        [np.average(row[seen], weights=counts[seen]) for row, seen in ((a[t], learned_at <= t) for t in range(len(a)))]
    )


def average_incremental_accuracy(
    a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray, include_base: bool = False
) -> float:
    """Averages the pooled accuracy on seen classes over steps t >= 1 (iCaRL, arXiv 1611.07725).

    With `include_base` the base step is averaged in too, as the paper does.

    >>> a = [[0.9, np.nan], [0.5, 1.0]]
    >>> average_incremental_accuracy(a, [0, 1], [30, 10])
    0.625
    """
    pooled = pooled_accuracy(a, learned_at, counts)
    if len(pooled) < 2 and not include_base:
        raise ValueError("average incremental accuracy needs a step after the base task")
    return float(pooled.mean() if include_base else pooled[1:].mean())


def final_accuracy(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes the pooled accuracy on all classes after the last step.

    >>> final_accuracy([[0.9, np.nan], [0.5, 1.0]], [0, 1], [10, 10])
    0.75
    """
    return float(pooled_accuracy(a, learned_at, counts)[-1])


def forgetting(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes class-weighted forgetting (Chaudhry et al., arXiv 1801.10112, equation 3).

    Mean over classes learned before the last step T of max over l in [learned, T) of a[l, c], minus a[T, c].

    >>> forgetting([[0.75, np.nan], [0.5, 1.0]], [0, 1], [10, 10])
    0.25
    """
    a, learned_at = np.asarray(a, np.float64), np.asarray(learned_at)
    _check(a, learned_at, np.asarray(counts))
    return _forgetting(a, learned_at)


def backward_transfer(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes class-weighted backward transfer (Lopez-Paz and Ranzato, arXiv 1706.08840, equation 3).

    Mean over classes learned before the last step T of a[T, c] - a[learned, c]; negative where classes were
    forgotten.

    >>> backward_transfer([[0.75, np.nan], [0.5, 1.0]], [0, 1], [10, 10])
    -0.25
    """
    a, learned_at = np.asarray(a, np.float64), np.asarray(learned_at)
    _check(a, learned_at, np.asarray(counts))
    return _backward_transfer(a, learned_at)


def forgetting_since_learned(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes class-weighted forgetting since learning, not since the best: minus backward transfer.

    >>> forgetting_since_learned([[0.75, np.nan], [0.5, 1.0]], [0, 1], [10, 10])
    0.25
    """
    return 0.0 - backward_transfer(a, learned_at, counts)


def task_accuracy(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Computes r f64[T, T], the accuracy on the test images of task k after step t; NaN for t < k.

    Task 0 is the base task with all of its classes, task k the classes learned in step k.

    >>> task_accuracy([[0.9, 0.7, np.nan], [0.5, 0.7, 1.0]], [0, 0, 1], [10, 30, 20]).round(2).tolist()
    [[0.75, nan], [0.65, 1.0]]
    """
    a, learned_at, counts = np.asarray(a, np.float64), np.asarray(learned_at), np.asarray(counts)
    _check(a, learned_at, counts)
    r = np.full((len(a), len(a)), np.nan)
    for k in range(len(a)):
        task = learned_at == k
        if not task.any():
            raise ValueError(f"a task mean needs a class learned in every step; in step {k} there is none")
        r[k:, k] = np.average(a[k:, task], axis=1, weights=counts[task])
    return r


def final_accuracy_task_mean(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Averages the accuracy after the last step over tasks (ACC of Lopez-Paz and Ranzato, arXiv 1706.08840).

    >>> final_accuracy_task_mean([[0.9, 0.7, np.nan], [0.5, 0.5, 1.0]], [0, 0, 1], [10, 10, 10])
    0.75
    """
    return float(np.mean(task_accuracy(a, learned_at, counts)[-1]))


def average_incremental_accuracy_task_mean(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Averages over steps t >= 1 the mean accuracy on the tasks so far.

    >>> average_incremental_accuracy_task_mean([[0.9, 0.7, np.nan], [0.5, 0.5, 1.0]], [0, 0, 1], [10, 10, 10])
    0.75
    """
    r = task_accuracy(a, learned_at, counts)
    if len(r) < 2:
        raise ValueError("average incremental accuracy needs a step after the base task")
    return float(np.mean([r[t, : t + 1].mean() for t in range(1, len(r))]))


def forgetting_task_mean(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes forgetting by task instead of class, as Chaudhry et al. define it (arXiv 1801.10112, equation 3).

    >>> forgetting_task_mean([[0.9, 0.6, np.nan], [0.5, 0.5, 1.0]], [0, 0, 1], [10, 10, 10])
    0.25
    """
    r = task_accuracy(a, learned_at, counts)
    return _forgetting(r, np.arange(len(r)))


def backward_transfer_task_mean(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Computes backward transfer by task, as Lopez-Paz and Ranzato define it (arXiv 1706.08840).

    >>> backward_transfer_task_mean([[0.9, 0.6, np.nan], [0.5, 0.5, 1.0]], [0, 0, 1], [10, 10, 10])
    -0.25
    """
    r = task_accuracy(a, learned_at, counts)
    return _backward_transfer(r, np.arange(len(r)))


def forgetting_since_learned_task_mean(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> float:
    """Averages over tasks the accuracy when learned minus the final one; Avalanche calls it forgetting.

    >>> forgetting_since_learned_task_mean([[0.9, 0.6, np.nan], [0.5, 0.5, 1.0]], [0, 0, 1], [10, 10, 10])
    0.25
    """
    return 0.0 - backward_transfer_task_mean(a, learned_at, counts)


def macro_f1(confusion: np.ndarray) -> float:
    """Averages F1 over the classes that have test images (van Rijsbergen, Information Retrieval, 1979).

    F1 of class c is 2 n[c, c] / (n[c, :].sum() + n[:, c].sum()), 0 for a class that is never answered. A class without
    test images has no F1; to answer it is a miss of the true class.

    Args:
      confusion: n i[C, C], counts; row truth, column answer.

    Raises:
      ValueError: the matrix is not square, or it counts no image.

    >>> macro_f1([[2, 0], [2, 0]])
    0.3333333333333333
    """
    n = _counts(confusion)
    tested = n.sum(1) > 0
    return float(np.mean(2 * np.diagonal(n)[tested] / (n.sum(1) + n.sum(0))[tested]))


def mean_class_recall(confusion: np.ndarray) -> float:
    """Averages the accuracy on each class over the classes that have test images (also called balanced accuracy).

    Args:
      confusion: i[C, C], counts; row truth, column answer.

    Raises:
      ValueError: the matrix is not square, or it counts no image.

    >>> mean_class_recall([[4, 0], [1, 1]])
    0.75
    """
    n = _counts(confusion)
    tested = n.sum(1) > 0
    return float(np.mean(np.diagonal(n)[tested] / n.sum(1)[tested]))


def new_class_accuracy(a: np.ndarray, learned_at: np.ndarray) -> float:
    """Averages over steps t >= 1 the accuracy on the class learned in step t, right after it (plasticity).

    >>> new_class_accuracy([[0.75, np.nan], [0.5, 1.0]], [0, 1])
    1.0
    """
    a, learned_at = np.asarray(a, np.float64), np.asarray(learned_at)
    new = np.flatnonzero(learned_at > 0)
    return float(np.mean(a[learned_at[new], new]))


def base_retention(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Computes the pooled accuracy on the base classes after every step, f64[T].

    >>> base_retention([[0.75, np.nan], [0.5, 1.0]], [0, 1], [10, 10]).tolist()
    [0.75, 0.5]
    """
    a, base = np.asarray(a, np.float64), np.asarray(learned_at) == 0
    return np.average(a[:, base], axis=1, weights=np.asarray(counts)[base])


def novel_accuracy(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Computes the pooled accuracy on all classes learned beyond the base, f64[T]; NaN at step 0.

    >>> novel_accuracy([[0.75, np.nan], [0.5, 1.0]], [0, 1], [10, 10]).tolist()
    [nan, 1.0]
    """
    a, learned_at, counts = np.asarray(a, np.float64), np.asarray(learned_at), np.asarray(counts)
    values = np.full(len(a), np.nan)
    for t in range(1, len(a)):
        novel = (learned_at > 0) & (learned_at <= t)
        values[t] = np.average(a[t, novel], weights=counts[novel])
    return values


def harmonic_mean(base: np.ndarray, novel: np.ndarray) -> np.ndarray:
    """Computes 2 B N / (B + N), 0 where both are 0; a model that answers one group only scores 0.

    >>> harmonic_mean([0.5, 0.0], [1.0, 0.0]).round(3).tolist()
    [0.667, 0.0]
    """
    base, novel = np.asarray(base, np.float64), np.asarray(novel, np.float64)
    total = base + novel
    return np.divide(2 * base * novel, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0)


def intransigence(a: np.ndarray, joint: np.ndarray, learned_at: np.ndarray) -> float:
    """Averages joint[t, c] - a[t, c] over steps t >= 1, for the class c learned in step t (arXiv 1801.10112).

    Steps at which the joint model was not trained (NaN in `joint`) are left out.

    Raises:
      ValueError: the joint model was trained at no step.

    >>> intransigence([[0.5, np.nan], [0.5, 0.25]], [[0.5, np.nan], [0.5, 0.75]], [0, 1])
    0.5
    """
    a, joint, learned_at = np.asarray(a, np.float64), np.asarray(joint, np.float64), np.asarray(learned_at)
    new = np.flatnonzero(learned_at > 0)
    gap = joint[learned_at[new], new] - a[learned_at[new], new]
    if np.isnan(gap).all():
        raise ValueError("intransigence needs the joint model at one step at least")
    return float(np.nanmean(gap))


def _counts(confusion: np.ndarray) -> np.ndarray:
    n = np.asarray(confusion, np.float64)
    if n.ndim != 2 or n.shape[0] != n.shape[1]:
        raise ValueError(f"the confusion matrix is {n.shape}; it must be [C, C]")
    if not n.any():
        raise ValueError("the confusion matrix counts no image")
    return n


def _forgetting(a: np.ndarray, learned_at: np.ndarray) -> float:
    old = _old(a, learned_at, "forgetting")
    return float(np.mean([a[learned_at[c] : -1, c].max() - a[-1, c] for c in old]))


def _backward_transfer(a: np.ndarray, learned_at: np.ndarray) -> float:
    old = _old(a, learned_at, "backward transfer")
    return float(np.mean(a[-1, old] - a[learned_at[old], old]))


def _old(a: np.ndarray, learned_at: np.ndarray, what: str) -> np.ndarray:
    old = np.flatnonzero(learned_at < len(a) - 1)
    if not old.size:
        raise ValueError(f"{what} needs a class learned before the last step")
    return old


def _check(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> None:
    if a.ndim != 2 or learned_at.shape != (a.shape[1],) or counts.shape != (a.shape[1],):
        raise ValueError(
            f"a is {a.shape}, learned_at {learned_at.shape}, counts {counts.shape}; they must be [T, C], [C] and [C]"
        )
    seen = learned_at[None, :] <= np.arange(len(a))[:, None]
    if np.isnan(a[seen]).any():
        raise ValueError("a has NaN at a class that is already learned")
