"""Figures of the report, drawn by matplotlib from results.json; each function returns a `Figure` and writes nothing."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from fer_jax import metrics
from fer_jax.report import tables


def seen_accuracy(run: dict) -> tuple[np.ndarray, np.ndarray]:
    """Known classes and pooled accuracy on them, i[S] and f64[S], at the steps that a run trained."""
    steps = np.asarray(run["trained_steps"])
    a = np.asarray(run["accuracy_matrix"], np.float64)
    learned_at, counts = np.asarray(run["learned_at"]), np.asarray(run["test_counts"])
    accuracy = [np.average(a[t][learned_at <= t], weights=counts[learned_at <= t]) for t in steps]
    return np.asarray([np.sum(learned_at <= t) for t in steps]), np.asarray(accuracy)


def bayes_curve(results: dict) -> np.ndarray | None:
    """Best possible accuracy after every step, f64[T], mean over the class orders of the runs; None if unknown."""
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


def accuracy_curve(results: dict) -> Figure:
    """Accuracy on the classes known so far against how many they are: mean and 95 % interval over runs."""
    methods = tables.by_method(results)
    figure = Figure(figsize=(8, 5 if len(methods) <= 8 else 7), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab10" if len(methods) <= 10 else "tab20"].colors)
    for method, found in methods.items():
        known, values = zip(*(seen_accuracy(run) for run in found["runs"]), strict=True)
        known, values = np.asarray(known[0]), np.stack(values)
        estimates = [metrics.estimate(column) for column in values.T]
        mean, low, high = np.asarray([(e.mean, e.low, e.high) for e in estimates]).T
        label = tables.method_name(method)
        if len(known) == len(found["runs"][0]["accuracy_matrix"]):
            (line,) = axes.plot(known, mean, "-o", markersize=4, label=label)
            axes.fill_between(known, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        else:
            # Trained at some steps only: points, and no line over what was not measured.
            spread = np.nan_to_num([mean - low, high - mean])
            axes.errorbar(known[1:], mean[1:], spread[:, 1:], fmt="D", capsize=4, label=label)
    bayes = bayes_curve(results)
    if bayes is not None:
        n_base = results["data"]["n_base"]
        known = n_base + np.arange(len(bayes)) * (results["config"].get("protocol.classes_per_increment") or 1)
        axes.plot(known, bayes, "--", color="grey", label="Bayes accuracy")
    axes.set(xlabel="known classes", ylabel="accuracy on known classes", ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def critical_difference(results: dict, metric: str = "average_incremental_accuracy") -> Figure | None:
    """Mean ranks of the methods, and bars over those that Nemenyi's test does not tell apart (Demšar, JMLR 2006).

    None where there are too few methods or shared runs.
    """
    compared = results.get("comparison", {}).get("metrics", {}).get(metric, {})
    if "ranks" not in compared:
        return None
    ranks, width = compared["ranks"], compared["critical_difference"]
    names = sorted(ranks, key=ranks.get)
    values = np.array([ranks[name] for name in names])
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.plot(values, places, "o", color="black")
    axes.set_yticks(places, [tables.method_name(name) for name in names])
    last = -1
    for first, rank in enumerate(values):
        together = np.flatnonzero(values <= rank + width)[-1]
        if together > max(last, first):
            axes.plot([values[together] + 0.15] * 2, [first, together], color="tab:red", linewidth=3, alpha=0.7,
                      solid_capstyle="butt")  # fmt: skip
            last = together
    axes.invert_yaxis()
    axes.set(xlabel=f"mean rank (1 is best); bars join less than {width:.1f} apart (Nemenyi, 5 %)")
    axes.grid(axis="x", alpha=0.3)
    return figure


def confusion_matrix(counts: np.ndarray, names: list[str]) -> Figure:
    """Shares of answers a true class, from counts i[C, C]: row truth, column answer."""
    counts = np.asarray(counts, np.float64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(8.5, 7.5), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(share >= 0.095), strict=True):
        value = share[row, column]
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6,
                  color="white" if value > 0.55 else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="answer", ylabel="truth")
    figure.colorbar(picture, ax=axes, label="share of the true class, % where 10 or more", shrink=0.8)
    return figure
