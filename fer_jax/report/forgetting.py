"""Accuracy on every class when it was learned, at its best, and at the end."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax.report import drawing
from fer_jax.runs.names import method_name
from fer_jax.runs.results import by_method

TALLEST = 60  # classes of a figure with a row each


def by_class(run: dict) -> np.ndarray:
    """Returns the best accuracy before the last step minus the final one, f64[C]; NaN for classes of the last step.

    Its mean is `metrics.forgetting` of the run.
    """
    a, last = np.asarray(run["accuracy_matrix"], np.float64), len(run["accuracy_matrix"]) - 1
    values = np.full(a.shape[1], np.nan)
    for c, step in enumerate(run["learned_at"]):
        if step < last:
            values[c] = a[step:-1, c].max() - a[-1, c]
    return values


def whole(entry: dict) -> list[dict]:
    """Returns the runs that were trained at every step; the others have no forgetting."""
    return [run for run in entry["runs"] if len(run["trained_steps"]) == len(run["accuracy_matrix"])]


def mean_over_runs(values: list[np.ndarray]) -> np.ndarray:
    """Averages f64[C] over runs without NaN; NaN where all are NaN."""
    stacked = np.stack(values)
    there = ~np.isnan(stacked)
    total = np.where(there, stacked, 0).sum(0)
    return np.divide(total, there.sum(0), out=np.full(stacked.shape[1], np.nan), where=there.any(0))


def table(results: dict) -> dict | None:
    """Returns forgetting in points, a class a row and a method a column, mean over runs; None if no run is complete.

    Cells are as in `matrices`; a value below 0 is an improvement.
    """
    columns = {m: whole(entry) for m, entry in by_method(results).items()}
    columns = {m: mean_over_runs([by_class(run) for run in runs]) for m, runs in columns.items() if runs}
    if not columns:
        return None
    rows = [
        (name, [_cell(values[c]) for values in columns.values()]) for c, name in enumerate(results["data"]["classes"])
    ]
    return {"corner": "class", "columns": [method_name(m) for m in columns], "rows": rows}


def _cell(value: float) -> tuple[float, str] | None:
    return None if np.isnan(value) else (float(np.clip(value, 0, 1)), f"{100 * value:+.0f}")


@matplotlib.rc_context(drawing.STYLE)
def figure(results: dict, method: str) -> Figure | None:
    """Draws the accuracy on each class when it was learned and after the last step, mean over a method's runs.

    Returns None if no run was trained at every step, or if there are too many classes for rows.
    """
    runs, names = whole(results["continual"][method]), results["data"]["classes"]
    if not runs or len(names) > TALLEST:
        return None
    a = [np.asarray(run["accuracy_matrix"], np.float64) for run in runs]
    learned = [matrix[run["learned_at"], np.arange(len(names))] for matrix, run in zip(a, runs, strict=True)]
    first, last = mean_over_runs(learned), mean_over_runs([matrix[-1] for matrix in a])
    at = np.arange(len(names))
    drawn = Figure(figsize=(drawing.WIDTH, 0.9 + 0.19 * len(names)), layout="constrained")
    axes = drawn.subplots()
    axes.hlines(at, last, first, color="grey", linewidth=1.2)
    axes.plot(first, at, linestyle="none", marker="o", markersize=4, color=drawing.COLOURS[0], label="when learned")
    axes.plot(
        last, at, linestyle="none", marker="s", markersize=4, color=drawing.COLOURS[1], label="after the last step"
    )
    axes.set_yticks(at, names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlabel="accuracy on the class", xlim=(-0.03, 1.03))
    axes.grid(axis="x", alpha=0.3)
    drawn.legend(loc="outside upper left", ncols=2, frameon=False)
    return drawn
