"""Estimates over base models: what a method reaches, and how methods differ.

A run is one class order of one seed and fold. Runs of one seed and fold share a base model and its test subjects, so
they are not independent: the unit of inference is the base model. Every estimate averages the runs of a base model
first. An interval is over base models alone, and the spread over class orders is given as a range.

There are no p-values: a paired interval over base models says whether a difference can be told from 0, and by how much.
Intervals are not corrected for the number of methods.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from fer_jax import metrics

# The metrics that methods are compared by; in all but forgetting more is better.
METRICS = (
    "average_incremental_accuracy",
    "final_accuracy",
    "macro_f1_average",
    "macro_f1_final",
    "mean_class_recall_average",
    "mean_class_recall_final",
    "forgetting",
    "new_class_accuracy",
)
REFERENCE = "kd_psmr"

# What varies within a base model (a class order), then the base model: its seed and its fold.
Name = tuple[Hashable, Hashable, Hashable]


def estimate(values: Mapping[Name, float], confidence: float = 0.95) -> dict[str, Any]:
    """Estimates a mean over base models, with Student's t interval over them and the range within them.

    Args:
      values: by (order, seed, fold).

    Returns:
      `mean`, over base models of each one's mean; `low` and `high`, the interval over base models, None for one base
      model; `lowest` and `highest`, the range over orders: each base model's extremes, averaged over base models; `n`,
      how many values, and `base_models`, how many base models.

    Raises:
      ValueError: no value.

    >>> estimate({(0, 7, 0): 0.25, (1, 7, 0): 0.75})
    {'mean': 0.5, 'low': None, 'high': None, 'lowest': 0.25, 'highest': 0.75, 'n': 2, 'base_models': 1}
    """
    by_base: dict[tuple, list[float]] = {}
    for (_, *base), value in values.items():
        by_base.setdefault(tuple(base), []).append(value)
    groups = list(by_base.values())
    over = metrics.estimate([metrics.mean_of(group) for group in groups], confidence)
    several = len(groups) > 1
    return {
        "mean": over.mean,
        "low": over.low if several else None,
        "high": over.high if several else None,
        "lowest": metrics.mean_of([min(group) for group in groups]),
        "highest": metrics.mean_of([max(group) for group in groups]),
        "n": len(values),
        "base_models": len(groups),
    }


def values_of(runs: Iterable[dict], metric: str) -> dict[Name, float]:
    """Returns a metric of runs, as they are in results.json, by (order, seed, fold); omits runs that lack it.

    >>> values_of([{'order': 2, 'fold': 0, 'metrics': {'forgetting': 0.5}}], 'forgetting')
    {(2, None, 0): 0.5}
    """
    return {
        (run["order"], run.get("seed"), run["fold"]): run["metrics"][metric]
        for run in runs
        if run["metrics"].get(metric) is not None
    }


def difference(values: Mapping[Name, float], reference: Mapping[Name, float]) -> dict[str, Any] | None:
    """Estimates values minus the reference's, paired by base model and order; None if they share no run.

    >>> ours, theirs = {(0, 0, 0): 0.75, (1, 0, 0): 0.5}, {(0, 0, 0): 0.5, (2, 0, 0): 0.0}
    >>> difference(ours, theirs)['mean']
    0.25
    """
    shared = {name: value - reference[name] for name, value in values.items() if name in reference}
    return estimate(shared) if shared else None


def compare(continual: dict[str, dict], reference: str | None = None) -> dict:
    """Compares methods with a reference, by metric.

    Args:
      continual: runs by method, as in results.json; a run has `fold`, `order`, perhaps `seed`, and `metrics`.
      reference: a method; None is the paper's, or its first column in merged results.

    Returns:
      `reference`, and in `metrics`, by metric, `to_reference`: the `difference` of each other method that shares runs.

    >>> runs = {'lwf': [0.25, 0.5], 'kd_psmr': [0.5, 1.0]}
    >>> as_run = lambda o, value: {'order': o, 'fold': 0, 'metrics': {'final_accuracy': value}}
    >>> found = compare({name: {'runs': list(map(as_run, (0, 1), values))} for name, values in runs.items()})
    >>> found['metrics']['final_accuracy']['to_reference']['lwf']['mean']
    -0.375
    """
    if reference is None:
        reference = next((column for column in continual if column.partition(", ")[0] == REFERENCE), REFERENCE)
    by_metric = {}
    for metric in METRICS:
        values = {method: values_of(entry["runs"], metric) for method, entry in continual.items()}
        theirs = values.pop(reference, {})
        rows = {method: row for method, ours in values.items() if (row := difference(ours, theirs))}
        if rows:
            by_metric[metric] = {"to_reference": rows}
    return {"reference": reference, "metrics": by_metric}
