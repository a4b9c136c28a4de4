"""Accuracy and confusion matrices of the report: as tables coloured by value, and as figures.

A table's cell is (value from 0 to 1 or None, text); the page turns values into colour.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax.report import drawing, selection

LARGEST = 40  # classes of a table in the page; a picture beyond
TALLEST = 60  # classes of a figure with a row each


def accuracy_table(run: dict, names: list[str]) -> dict:
    """Returns the accuracy matrix of a run: a trained step a row, a class a column, in the order of learning."""
    order = selection.learned_order(run)
    rows = [
        (_step_name(step, run, names), [_share(run["accuracy_matrix"][step][c]) for c in order])
        for step in run["trained_steps"]
    ]
    return {"corner": "after step", "columns": [names[c] for c in order], "rows": rows}


def _step_name(step: int, run: dict, names: list[str]) -> str:
    new = [names[c] for c in run["class_order"] if run["learned_at"][c] == step]
    return f"{step}: {' + '.join(new)}" if step else "0: base classes"


def _share(value: float | None) -> tuple[float, str] | None:
    return None if value is None else (value, f"{100 * value:.0f}")


def confusion_steps(run: dict, names: list[str], counted: list[tuple[int, list[list[int]]]]) -> dict:
    """Returns a run's confusion matrices for the slider, small enough to be embedded in the page.

    Args:
      counted: (step, counts C × C), ascending.

    Returns:
      names: in the order that classes were learned. steps: label, accuracy in per cent, and cells as
      [row, column, count] where the count is not 0.
    """
    order = selection.learned_order(run)
    steps = []
    for step, counts in counted:
        counts = np.asarray(counts)[np.ix_(order, order)]
        cells = [[int(r), int(c), int(counts[r, c])] for r, c in zip(*np.nonzero(counts), strict=True)]
        accuracy = 100 * np.trace(counts) / max(counts.sum(), 1)
        known = int(np.sum(np.asarray(run["learned_at"]) <= step))
        label = f"step {_step_name(step, run, names)}; {known} classes, accuracy {accuracy:.1f} %"
        steps.append({"label": label, "cells": cells})
    return {"names": [names[c] for c in order], "steps": steps}


def confusion_table(found: dict) -> dict:
    """Returns the last step of `confusion_steps` as a table, which the page shows without JavaScript."""
    n = len(found["names"])
    counts = np.zeros((n, n), int)
    for row, column, count in found["steps"][-1]["cells"]:
        counts[row, column] = count
    total = np.maximum(counts.sum(1, keepdims=True), 1)
    rows = [
        (name, [(float(share), str(count)) if count else None for share, count in zip(*line, strict=True)])
        for name, line in zip(found["names"], zip(counts / total, counts, strict=True), strict=True)
    ]
    return {"corner": "truth / answer", "columns": found["names"], "rows": rows}


@matplotlib.rc_context(drawing.STYLE)
def confusion_figure(counts: np.ndarray, names: list[str]) -> Figure:
    """Draws the share of each answer for each true class, from counts i[C, C]: row truth, column answer."""
    counts = np.asarray(counts, np.float64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = _heat(share, names, names, "share of the true class, % where 10 or more", least=0.095)
    figure.axes[0].set(xlabel="answer", ylabel="truth")
    return figure


@matplotlib.rc_context(drawing.STYLE)
def accuracy_figure(run: dict, names: list[str]) -> Figure:
    """Draws the accuracy matrix of a run; see `accuracy_table`."""
    table = accuracy_table(run, names)
    values = [[np.nan if cell is None else cell[0] for cell in cells] for _, cells in table["rows"]]
    figure = _heat(np.asarray(values), [name for name, _ in table["rows"]], table["columns"], "accuracy, %")
    figure.axes[0].set(xlabel="class", ylabel="after step")
    return figure


def _heat(values: np.ndarray, rows: list[str], columns: list[str], label: str, least: float = 0.0) -> Figure:
    """Values f[R, K] from 0 to 1 as colours, with per cents written where they are `least` or more."""
    # Placed by hand: finding a layout would take longer than drawing all of it.
    left, below = (0.5 + 0.058 * max(map(len, names)) for names in (rows, columns))
    wide, high = 0.27 * min(len(columns), TALLEST) + 0.3, 0.25 * min(len(rows), TALLEST) + 0.3
    width, height = left + wide + 0.9, below + high + 0.15
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, below / height, wide / width, high / height))
    picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(columns) <= LARGEST:
        for row, column in zip(*np.nonzero(np.nan_to_num(values, nan=-1) >= least), strict=True):
            value = values[row, column]
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6,
                      color="white" if value > 0.55 else drawing.INK)  # fmt: skip
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        if len(names) <= 2 * TALLEST:
            axis.set_ticks(range(len(names)), names, fontsize=7)
    axes.tick_params(axis="x", rotation=90)
    bar = figure.add_axes(((left + wide + 0.15) / width, below / height, 0.15 / width, high / height))
    figure.colorbar(picture, cax=bar, label=label)
    return figure
