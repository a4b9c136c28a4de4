"""Curves of the report, drawn by matplotlib from results.json; each function returns a `Figure` and writes nothing."""

import textwrap
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax import statistics
from fer_jax.report import drawing, selection
from fer_jax.runs.names import method_name
from fer_jax.runs.results import by_method

FEW = 6  # methods that a figure can tell apart


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


def band(estimate: dict) -> tuple[float, float]:
    """Returns what is drawn around a mean: the interval over base models, or of one base model its range."""
    ends = ("lowest", "highest") if estimate["low"] is None else ("low", "high")
    return estimate[ends[0]], estimate[ends[1]]


def curve_caption(results: dict) -> str:
    """Returns what `accuracy_curve` shows."""
    if len(by_method(results)) <= FEW:
        return f"Mean, and {band_name(results)}."
    return "Mean. Grey lines are the other methods: rest the pointer on one to read its name."


def highlighted(results: dict) -> list[str]:
    """Returns the methods that a figure draws in colour: the main one, the paper's, the bounds, and the best others.

    All of them if they are at most `FEW`.
    """
    methods = by_method(results)
    if len(methods) <= FEW:
        return list(methods)
    best = sorted(methods, key=lambda name: -methods[name]["metrics"]["final_accuracy"]["mean"])
    wanted = [selection.main_method(results), statistics.REFERENCE, "finetune", "joint", *best]
    return list(dict.fromkeys(name for name in wanted if name in methods))[:FEW]


def band_name(results: dict) -> str:
    """Returns what `band` is for these results."""
    runs = [run for entry in results["continual"].values() for run in entry["runs"]]
    several = len({(run.get("seed"), run["fold"]) for run in runs}) > 1
    return "95 % interval over base models" if several else "range over class orders"


class Curve(NamedTuple):
    """A method's accuracy on the known classes: their number i[S], the mean f64[S] and the band around it.

    whole: whether the method was trained at every step.
    """

    known: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: bool


def curve(entry: dict) -> Curve:
    """Estimates a method's accuracy on the known classes at every step that it trained."""
    runs = {(run["order"], run.get("seed"), run["fold"]): seen_accuracy(run) for run in entry["runs"]}
    known = next(iter(runs.values()))[0]
    steps = [statistics.estimate({name: run[1][i] for name, run in runs.items()}) for i in range(len(known))]
    mean, low, high = np.asarray([(one["mean"], *band(one)) for one in steps]).T
    return Curve(known, mean, low, high, len(known) == len(entry["runs"][0]["accuracy_matrix"]))


def draw_curve(axes, drawn: Curve, name: str, look: dict, banded: bool = True) -> None:
    """Draws a curve into axes; one of some steps only as points, with no line over what was not measured."""
    label = _wrapped(name, 40)
    if not drawn.whole:
        reach = np.asarray([drawn.mean - drawn.low, drawn.high - drawn.mean])
        axes.errorbar(drawn.known[1:], drawn.mean[1:], reach[:, 1:], capsize=4, label=label,
                      **{**look, "linestyle": "none"})  # fmt: skip
        return
    axes.plot(drawn.known, drawn.mean, markersize=3.5, linewidth=1.4, label=label, **look)
    if banded:
        axes.fill_between(drawn.known, drawn.low, drawn.high, color=look["color"], alpha=0.2, linewidth=0)


@matplotlib.rc_context(drawing.STYLE)
def accuracy_curve(results: dict) -> Figure:
    """Draws the accuracy on known classes against their number: the mean, and a band.

    The band is the 95 % interval over base models, or for one base model the range over its class orders. Of more than
    `FEW` methods some are highlighted and the others grey, all without a band: bands over each other show nothing.
    """
    methods, shown = by_method(results), highlighted(results)
    others = [name for name in methods if name not in shown]
    figure = Figure(figsize=(drawing.WIDTH, 3.3 + 0.18 * (len(shown) + bool(others))), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(shown):
        draw_curve(
            axes, curve(methods[name]), method_name(name), {**drawing.look(number), "zorder": 3}, banded=not others
        )
    bayes = bayes_curve(results)
    if bayes is not None:
        n_base = results["data"]["n_base"]
        known = n_base + np.arange(len(bayes)) * (results["config"].get("protocol.classes_per_increment") or 1)
        axes.plot(known, bayes, "--", color="grey", label="Bayes accuracy")
    for number, name in enumerate(others):
        drawn = curve(methods[name])
        (line,) = axes.plot(
            drawn.known[not drawn.whole :], drawn.mean[not drawn.whole :], color=drawing.GREY, linewidth=1,
            marker="" if drawn.whole else "o", markersize=3, label=None if number else f"{len(others)} others",
        )  # fmt: skip
        line.set_gid(drawing.NAMED + method_name(name))
    _finish(figure, axes)
    return figure


@matplotlib.rc_context(drawing.STYLE)
def two_curves(entries: dict[str, tuple[dict, dict]], names: tuple[str, str]) -> Figure:
    """Draws the curves of two workdirs: a method a colour, the first workdir's line solid and the second's dashed.

    Args:
      entries: the entries of both workdirs by the readable name of the method.
      names: of the workdirs.
    """
    figure = Figure(figsize=(drawing.WIDTH, 3.3 + 0.36 * len(entries)), layout="constrained")
    axes = figure.subplots()
    for number, (method, pair) in enumerate(entries.items()):
        for name, entry, line, marker in zip(names, pair, drawing.LINES, drawing.MARKERS, strict=False):
            look = {**drawing.look(number), "linestyle": line, "marker": marker}
            draw_curve(axes, curve(entry), f"{name}: {method}", look, banded=False)
    _finish(figure, axes)
    return figure


def _finish(figure: Figure, axes) -> None:
    axes.set(xlabel="known classes", ylabel="accuracy on known classes", ylim=(0, 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper left", ncols=1, frameon=False)


@matplotlib.rc_context(drawing.STYLE)
def orders(results: dict) -> Figure | None:
    """Draws the accuracy on known classes of three runs of a method: best, nearest to the mean, worst.

    A method has a panel if it has several runs and all were trained at every step. Returns None if no method has.
    """
    panels = {
        method: entry["runs"]
        for method, entry in by_method(results).items()
        if len(entry["runs"]) > 1 and all(len(r["trained_steps"]) == len(r["accuracy_matrix"]) for r in entry["runs"])
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
def differences(results: dict, metric: str = "average_incremental_accuracy") -> Figure | None:
    """Draws the methods' paired differences to the reference, best first; returns None if there are none.

    A line is the 95 % interval over base models, or for one base model the range over its class orders.
    """
    compared = results["comparison"]["metrics"].get(metric)
    if compared is None:
        return None
    rows = sorted(compared["to_reference"].items(), key=lambda item: -item[1]["mean"])
    mean, low, high = 100 * np.asarray([(one["mean"], *band(one)) for _, one in rows]).T
    places = np.arange(len(rows))
    figure = Figure(figsize=(drawing.WIDTH, 0.9 + 0.2 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.errorbar(mean, places, xerr=[mean - low, high - mean], fmt="o", capsize=3, markersize=4, linewidth=1.2,
                  color=drawing.COLOURS[0])  # fmt: skip
    axes.set_yticks(places, [_wrapped(method_name(name)) for name, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(xlabel=f"difference in points\n({band_name(results)})")
    axes.grid(axis="x", alpha=0.3)
    return figure
