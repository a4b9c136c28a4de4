"""Which runs of a method the report shows where it cannot show all: best, nearest to the mean, worst."""

from typing import NamedTuple

import numpy as np

from fer_jax.runs.names import METRIC_NAMES, method_name
from fer_jax.runs.results import by_method

BOUNDS = ("finetune", "joint")
AVERAGE, FINAL = "average_incremental_accuracy", "final_accuracy"


class Picked(NamedTuple):
    """Three runs of a method by one metric; three times the same if there is one run."""

    best: dict
    nearest: dict
    worst: dict


def main_method(results: dict) -> str | None:
    """Returns the method that the page shows in detail: the first that is no bound, or the first; None without any."""
    methods = list(by_method(results))
    return next((m for m in methods if not is_bound(m)), methods[0] if methods else None)


def is_bound(column: str) -> bool:
    """Returns True for the columns of finetuning and joint training, which others are measured by."""
    return column.startswith(BOUNDS)


def metric_of(runs: list[dict]) -> str:
    """Returns the metric that ranks the runs: average incremental accuracy, or final accuracy where they lack it."""
    return AVERAGE if all(run["metrics"].get(AVERAGE) is not None for run in runs) else FINAL


def pick(runs: list[dict], metric: str | None = None) -> Picked:
    """Returns the best run by a metric (`metric_of` by default), the nearest to the mean and the worst; ties go to the
    first.
    """
    values = np.asarray([run["metrics"][metric or metric_of(runs)] for run in runs])
    nearest = np.abs(values - values.mean()).round(12).argmin()
    return Picked(runs[values.argmax()], runs[nearest], runs[values.argmin()])


def run_name(run: dict, results: dict) -> str:
    """Returns a run's name among those of its method: its order, and its fold and seed where there are several."""
    names = [f"order {run['order']}"]
    every = [other for entry in results["continual"].values() for other in entry["runs"]]
    if len({other["fold"] for other in every}) > 1:
        names.append(f"fold {run['fold']}")
    if len({other.get("seed") for other in every}) > 1:
        names.append(f"seed {run['seed']}")
    return ", ".join(names)


def orders_table(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: best, nearest and worst run by method and metric; omits methods with one run."""
    header = ["%", "best", "nearest to the mean", "worst"]
    rows = []
    for method, entry in by_method(results).items():
        if len(entry["runs"]) < 2:
            continue
        for metric in (AVERAGE, FINAL):
            if all(run["metrics"].get(metric) is not None for run in entry["runs"]):
                cells = [
                    f"{100 * run['metrics'][metric]:.1f} ({run_name(run, results)})"
                    for run in pick(entry["runs"], metric)
                ]
                rows.append([f"{method_name(method)}: {METRIC_NAMES[metric]}", *cells])
    return header, rows


def learned_order(run: dict) -> list[int]:
    """Returns the classes in the order of learning, base classes first, C."""
    base = [c for c, step in enumerate(run["learned_at"]) if step == 0 and c not in run["class_order"]]
    return [*base, *run["class_order"]]
