"""Methods compared run by run: bootstrap intervals, paired tests with correction, and mean ranks.

A run is one class order of one fold and seed; methods are compared on the runs that they share.
"""

from typing import Any

import numpy as np
from scipy import stats

METRICS = ("average_incremental_accuracy", "final_accuracy", "forgetting", "new_class_accuracy")
REFERENCE = "kd_psmr"
RESAMPLES = 9999
AXES = ("order", "seed", "fold")


def interval(values: np.ndarray, confidence: float = 0.95) -> dict[str, Any]:
    """Mean f64 of values f[n], its bootstrap interval (percentiles, always the same draws) and n; NaN for n = 1.

    >>> found = interval([0.25, 0.25, 0.25])
    >>> found['mean'], found['low'], found['n']
    (0.25, 0.25, 3)
    """
    values = np.asarray(values, np.float64)
    low = high = float("nan")
    if len(values) > 1:
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, confidence_level=confidence, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        low, high = float(found.low), float(found.high)
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}


def spread(values: dict[tuple[int, int, int], float]) -> dict[str, float]:
    """How far runs lie apart where one thing alone varies: orders, seeds or folds.

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
    """P-values f[k] corrected for being k at once, by Holm's step-down procedure (Scand. J. Stat. 1979).

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


def paired(values: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """The difference of runs f[n] to the reference's: mean, bootstrap interval, n, and Wilcoxon's signed-rank p.

    >>> paired([0.5, 0.75], [0.5, 0.75])['p']
    1.0
    """
    difference = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    p = 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)
    return {**interval(difference), "p": p}


def compare(continual: dict[str, dict], seed: int | None = None, reference: str = REFERENCE) -> dict:
    """What a reader asks of several methods, by metric.

    Args:
      continual: runs by method, as in results.json; a run has `fold`, `order`, perhaps `seed`, and `metrics`.
      seed: of runs that have none of their own.

    Returns:
      by metric: `methods`, each method's mean and interval over its runs and its `spread`; where the reference is
      there, `to_reference`, the paired difference of each other method over shared runs with p and `p_holm`; and over
      the runs that all methods have, `ranks`, mean ranks (1 is best), and the `critical_difference` of Nemenyi's test
      at 5 % (Demšar, JMLR 2006).

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
            "methods": {m: {**interval(list(v.values())), "spread": spread(v)} for m, v in runs.items()},
            "to_reference": _to_reference(runs, reference),
            **_ranks(runs, metric),
        }
    return {"reference": reference, "metrics": found}


def _name(run: dict, seed: int | None) -> tuple[int, int, int]:
    return run["order"], run.get("seed", seed), run["fold"]


def _to_reference(runs: dict[str, dict], reference: str) -> dict[str, dict]:
    if reference not in runs:
        return {}
    found = {}
    for method, values in runs.items():
        shared = sorted(values.keys() & runs[reference].keys())
        if method != reference and shared:
            found[method] = paired([values[k] for k in shared], [runs[reference][k] for k in shared])
    for row, p in zip(found.values(), holm(np.array([row["p"] for row in found.values()])), strict=True):
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
    }
