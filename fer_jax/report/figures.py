"""Curves of the report, drawn by matplotlib from results.json; each function returns a `Figure` and writes nothing."""

import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax import metrics
from fer_jax.report import drawing, selection
from fer_jax.runs.names import method_name
from fer_jax.runs.results import by_method


def seen_accuracy(run: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns the known classes and the pooled accuracy on them, i[S] and f64[S], at the steps that a run trained."""
    steps = np.asarray(run["trained_steps"])
    a = np.asarray(run["accuracy_matrix"], np.float64)
    learned_at, counts = np.asarray(run["learned_at"]), np.asarray(run["test_counts"])
    accuracy = [np.average(a[t][learned_at <= t], weights=counts[learned_at <= t]) for t in steps]
    return np.asarray([np.sum(learned_at <= t) for t in steps]), np.asarray(accuracy)


def bayes_curve(results: dict) -> np.ndarray | None:
    """Returns the Bayes accuracy after every step, f64[T], mean over the class orders of the runs; None if unknown."""
    bayes = (results["data"]["metadata"] or {}).get("bayes")
    if not bayes:
        return None
    runs = next(iter(results["continual"].values()))["runs"]
    n_base = results["data"]["n_base"]
    rows = dict(zip(map(tuple, bayes["class_orders"]), bayes["by_order_and_step"], strict=True))
    orders = [tuple(c - n_base for c in run["class_order"]) for run in runs]
    if not all(order in rows for order in orders):
        return None
    return np.mean([rows[order] for order in orders], axis=0)


@matplotlib.rc_context(drawing.STYLE)
def accuracy_curve(results: dict) -> Figure:
    """Draws the accuracy on known classes against their number: mean and 95 % interval over runs."""
    methods = by_method(results)
    legend_rows = len(methods) + 1 if len(methods) <= 6 else -(-(len(methods) + 1) // 2)
    figure = Figure(figsize=(drawing.WIDTH, 3.1 + 0.18 * legend_rows), layout="constrained")
    axes = figure.subplots()
    for number, (method, found) in enumerate(methods.items()):
        known, values = zip(*(seen_accuracy(run) for run in found["runs"]), strict=True)
        known, values = np.asarray(known[0]), np.stack(values)
        estimates = [metrics.estimate(column) for column in values.T]
        mean, low, high = np.asarray([(e.mean, e.low, e.high) for e in estimates]).T
        label, look = method_name(method), drawing.look(number)
        if len(known) == len(found["runs"][0]["accuracy_matrix"]):
            axes.plot(known, mean, markersize=3.5, linewidth=1.4, label=label, **look)
            axes.fill_between(
                known, low, high, color=look["color"], alpha=0.2 if len(methods) <= 6 else 0.07, linewidth=0
            )
        else:
            # Trained at some steps only: points, and no line over what was not measured.
            spread = np.nan_to_num([mean - low, high - mean])
            axes.errorbar(known[1:], mean[1:], spread[:, 1:], capsize=4, label=label, **{**look, "linestyle": "none"})
    bayes = bayes_curve(results)
    if bayes is not None:
        n_base = results["data"]["n_base"]
        known = n_base + np.arange(len(bayes)) * (results["config"].get("protocol.classes_per_increment") or 1)
        axes.plot(known, bayes, "--", color="grey", label="Bayes accuracy")
    axes.set(xlabel="known classes", ylabel="accuracy on known classes", ylim=(0, 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper left", ncols=1 if len(methods) <= 6 else 2, frameon=False,
                  fontsize=8 if len(methods) <= 6 else 7)  # fmt: skip
    return figure


@matplotlib.rc_context(drawing.STYLE)
def orders(results: dict) -> Figure | None:
    """Draws the accuracy on known classes of three runs of a method: best, nearest to the mean, worst.

    A method has a panel if it has several runs and all were trained at every step. Returns None if no method has.
    """
    panels = {
        method: found["runs"]
        for method, found in by_method(results).items()
        if len(found["runs"]) > 1 and all(len(r["trained_steps"]) == len(r["accuracy_matrix"]) for r in found["runs"])
    }
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(drawing.WIDTH, 2.0 * rows + 0.5), layout="constrained")
    every = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes in every[max(len(panels) - 2, 0) : len(panels)]:
        axes.tick_params(labelbottom=True)  # nothing stands below them
    for axes, (method, runs) in zip(every, panels.items(), strict=False):
        picked = zip(("best", "nearest to the mean", "worst"), selection.pick(runs), strict=True)
        for number, (word, run) in enumerate(picked):
            axes.plot(*seen_accuracy(run), markersize=2.5, linewidth=1.2, label=word, **drawing.look(number))
        axes.set_title(_wrapped(method_name(method)), fontsize=8)
        axes.grid(alpha=0.3)
    every[0].set_ylim(0, 1)
    every[0].xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("known classes", fontsize=9)
    figure.supylabel("accuracy on known classes", fontsize=9)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
    return figure


def _wrapped(name: str, width: int = 34) -> str:
    return "\n".join(textwrap.wrap(name, width))


@matplotlib.rc_context(drawing.STYLE)
def critical_difference(results: dict, metric: str = "average_incremental_accuracy") -> Figure | None:
    """Draws the methods' mean ranks, with bars over those that Nemenyi's test does not separate (Demšar, JMLR 2006).

    Returns None if there are too few methods or shared runs.
    """
    compared = results.get("comparison", {}).get("metrics", {}).get(metric, {})
    if "ranks" not in compared:
        return None
    ranks, width = compared["ranks"], compared["critical_difference"]
    names = sorted(ranks, key=ranks.get)
    values = np.array([ranks[name] for name in names])
    figure = Figure(figsize=(drawing.WIDTH, 0.9 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.plot(values, places, "o", color=drawing.COLOURS[0])
    axes.set_yticks(places, [_wrapped(method_name(name)) for name in names], fontsize=8)
    last = -1
    for first, rank in enumerate(values):
        together = np.flatnonzero(values <= rank + width)[-1]
        if together > max(last, first):
            axes.plot([values[together] + 0.15] * 2, [first, together], color=drawing.COLOURS[3], linewidth=3,
                      alpha=0.7, solid_capstyle="butt")  # fmt: skip
            last = together
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlabel=f"mean rank (1 is best); bars join less\nthan {width:.1f} apart (Nemenyi, 5 %)")
    axes.grid(axis="x", alpha=0.3)
    return figure
