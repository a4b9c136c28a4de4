"""Compares methods run by run: bootstrap intervals, paired tests with correction, and mean ranks.

A run is one class order of one fold and seed; methods are compared on the runs that they share. Class orders of one
seed and fold share a base model, so runs are not independent: intervals resample base models first, then the orders of
each. Wilcoxon's and Nemenyi's tests have no such levels and treat runs as independent.
"""

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy import stats

METRICS = ("average_incremental_accuracy", "final_accuracy", "forgetting", "new_class_accuracy")
REFERENCE = "kd_psmr"
RESAMPLES = 9999
# Of n differences of one sign Wilcoxon's p is 2 / 2^n: .0625 for 5.
LEAST_TESTED = 6
AXES = ("order", "seed", "fold")


def interval(
    values: np.ndarray, base_models: Sequence[Hashable] | None = None, confidence: float = 0.95
) -> dict[str, Any]:
    """Estimates the mean of values f[n] with a hierarchical bootstrap interval (percentiles, always the same draws).

    Base models are drawn with replacement, then as many of each one's runs as it has. With one base model the interval
    is over its runs alone.

    Args:
      base_models: of each value, the base model that it goes on from; None where all have the same.

    Returns:
      `mean`, `low`, `high` (NaN for n = 1), `n` and `base_models`, how many there are.

    >>> found = interval([0.25, 0.25, 0.25], [0, 0, 1])
    >>> found['mean'], found['low'], found['n'], found['base_models']
    (0.25, 0.25, 3, 2)
    """
    values = np.asarray(values, np.float64)
    by_base: dict[Hashable, list[float]] = {}
    for value, base in zip(values, [0] * len(values) if base_models is None else base_models, strict=True):
        by_base.setdefault(base, []).append(float(value))
    low = high = float("nan")
    if len(values) > 1:
        tail = (1 - confidence) / 2
        low, high = map(float, np.quantile(_resampled_means(list(by_base.values())), [tail, 1 - tail]))
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values), "base_models": len(by_base)}


def _resampled_means(groups: list[list[float]]) -> np.ndarray:
    """f64[RESAMPLES], means of groups drawn with replacement, of each as many values as it has."""
    counts = _resamples(tuple(map(len, groups)))
    return counts @ np.concatenate(groups) / counts.sum(1)


@functools.lru_cache(maxsize=8)
def _resamples(sizes: tuple[int, ...]) -> np.ndarray:
    """How often each value of groups of such sizes is drawn, f64[RESAMPLES, n]."""
    rng, first = np.random.default_rng(0), np.cumsum((0, *sizes))
    picked = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))
    counts = np.zeros((RESAMPLES, first[-1]))
    for group, size in enumerate(sizes):
        times = (picked == group).sum(1)
        counts[:, first[group] : first[group + 1]] = rng.multinomial(size * times, np.full(size, 1 / size))
    return counts


def spread(values: dict[tuple[int, int, int], float]) -> dict[str, float]:
    """Computes how far runs lie apart where one axis alone varies: orders, seeds or folds.

    Args:
      values: by (order, seed, fold).

    Returns:
      by axis, the standard deviation along it, mean square over what the others are; axes of one value are left out.

    >>> spread({(0, 0, 0): 0.1, (1, 0, 0): 0.3})
    {'order': 0.1414213562373095}
    """
    found = {}
    for axis, name in enumerate(AXES):
        groups: dict[tuple, list[float]] = {}
        for key, value in values.items():
            groups.setdefault((*key[:axis], *key[axis + 1 :]), []).append(value)
        variances = [np.var(group, ddof=1) for group in groups.values() if len(group) > 1]
        if variances:
            found[name] = float(np.sqrt(np.mean(variances)))
    return found


def holm(p: np.ndarray) -> np.ndarray:
    """Corrects p-values f[k] of k tests by Holm's step-down procedure (Scand. J. Stat. 1979).

    scipy has the corrections of the false discovery rate only.

    >>> holm([0.01, 0.04, 0.02]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def paired(values: np.ndarray, reference: np.ndarray, base_models: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """Compares runs f[n] with the reference's: the `interval` of the difference, and Wilcoxon's signed-rank p.

    The test takes differences as independent of each other and symmetric; those of one base model are not independent,
    so p is too small. NaN below `LEAST_TESTED` runs, where no outcome has p < .05.

    >>> paired([0.5, 0.75], [0.5, 0.75])['p']
    nan
    >>> paired(np.arange(1, 7), np.zeros(6))['p']
    0.03125
    """
    difference = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    if len(difference) < LEAST_TESTED:
        p = float("nan")
    else:
        p = 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)
    return {**interval(difference, base_models), "p": p}


def compare(continual: dict[str, dict], seed: int | None = None, reference: str = REFERENCE) -> dict:
    """Compares several methods, by metric.

    Args:
      continual: runs by method, as in results.json; a run has `fold`, `order`, perhaps `seed`, and `metrics`.
      seed: of runs that have none of their own.

    Returns:
      by metric: `methods`, each method's mean and interval over its runs and its `spread`; where the reference is
      there, `to_reference`, the paired difference of each other method over shared runs with p and `p_holm`; and over
      the runs that all methods have, `ranks`, mean ranks (1 is best), the `critical_difference` of Nemenyi's test at
      5 % (Demšar, JMLR 2006), and `ranked`, of how many runs `n` and `base_models` they are. That test takes runs as
      independent; where they share base models the difference is too small.

    >>> runs = {'lwf': [0.25, 0.5], 'kd_psmr': [0.5, 1.0]}
    >>> as_run = lambda o, value: {'order': o, 'fold': 0, 'metrics': {'final_accuracy': value}}
    >>> found = compare({name: {'runs': list(map(as_run, (0, 1), values))} for name, values in runs.items()})
    >>> found['metrics']['final_accuracy']['to_reference']['lwf']['mean']
    -0.375
    """
    found = {}
    for metric in METRICS:
        runs = {
            method: {_name(run, seed): run["metrics"][metric] for run in entry["runs"] if metric in run["metrics"]}
            for method, entry in continual.items()
        }
        runs = {method: values for method, values in runs.items() if values}
        if len(runs) < 2:
            continue
        found[metric] = {
            "methods": {m: {**_interval_of(v), "spread": spread(v)} for m, v in runs.items()},
            "to_reference": _to_reference(runs, reference),
            **_ranks(runs, metric),
        }
    return {"reference": reference, "metrics": found}


def _name(run: dict, seed: int | None) -> tuple[int, int, int]:
    return run["order"], run.get("seed", seed), run["fold"]


def _base_model(name: tuple[int, int, int]) -> tuple[int, int]:
    """What runs of one base model share: seed and fold."""
    return name[1:]


def _interval_of(values: dict[tuple[int, int, int], float]) -> dict[str, Any]:
    names = sorted(values)
    return interval([values[name] for name in names], list(map(_base_model, names)))


def _to_reference(runs: dict[str, dict], reference: str) -> dict[str, dict]:
    if reference not in runs:
        return {}
    found = {}
    for method, values in runs.items():
        shared = sorted(values.keys() & runs[reference].keys())
        if method != reference and shared:
            both = [values[k] for k in shared], [runs[reference][k] for k in shared]
            found[method] = paired(*both, list(map(_base_model, shared)))
    tested = [row for row in found.values() if not np.isnan(row["p"])]
    for row in found.values():
        row["p_holm"] = float("nan")
    for row, p in zip(tested, holm(np.array([row["p"] for row in tested])), strict=True):
        row["p_holm"] = float(p)
    return found


def _ranks(runs: dict[str, dict], metric: str) -> dict:
    shared = sorted(set.intersection(*(set(values) for values in runs.values())))
    if len(shared) < 2 or len(runs) < 3:
        return {}
    table = np.array([[values[k] for values in runs.values()] for k in shared])
    better = table if metric == "forgetting" else -table
    ranks = stats.rankdata(better, axis=1).mean(0)
    k, n = len(runs), len(shared)
    q = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
    return {
        "ranks": dict(zip(runs, map(float, ranks), strict=True)),
        "critical_difference": float(q * np.sqrt(k * (k + 1) / (6 * n))),
        "ranked": {"n": n, "base_models": len(set(map(_base_model, shared)))},
    }
