"""Figures of `fer-jax explain`, drawn by matplotlib from arrays and plain values; only `save` writes."""

import io
import pathlib
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax.runs import files

COLUMNS = 3  # of compound classes in the paper's figure
OPACITY = 0.6  # of a map where it is 1
NAMES = {"guided": "guided Grad-CAM", "plain": "Grad-CAM", "random": "random maps"}


class Triple(NamedTuple):
    """A compound class between its parents.

    name, parents: what they are called.
    pictures: (image u8[H, W, 3], map f32[H, W]) of parent, compound, parent.
    overlap: of the compound's map with each parent's.
    """

    name: str
    parents: tuple[str, str]
    pictures: tuple[tuple[np.ndarray, np.ndarray], ...]
    overlap: tuple[float, float]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlays a map f[H, W] in [0, 1] on u8[H, W, 3], more opaque where it is higher; returns u8[H, W, 3]."""
    heat = np.asarray(heat, np.float32)
    colour = matplotlib.colormaps["inferno"](heat)[..., :3]
    opacity = OPACITY * heat[..., None]
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) / 255
    return np.uint8(np.round(255 * ((1 - opacity) * grey + opacity * colour)))


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes `path`.png and `path`.pdf, each completely or not at all."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once; each file would do it again
    for kind, more in (("png", {"dpi": 130}), ("pdf", {})):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=kind, **more)
        files.write(path.with_name(f"{path.name}.{kind}"), drawn.getvalue())


def parents(triples: list[Triple], overlap: dict, variant: str, layer: str) -> Figure:
    """Draws the paper's figure: every compound class between its two parents, with the overlap of their maps."""
    rows = -(-len(triples) // COLUMNS)
    columns = min(COLUMNS, len(triples))
    figure = Figure(figsize=(3.9 * columns, 1.75 * rows + 0.75), layout="constrained")
    title = f"{NAMES[variant]} at {layer}: overlap with the parents {_interval(overlap['with_parents'])}"
    if "with_others" in overlap:
        title += f",\nwith the other basic classes {_interval(overlap['with_others'])}, mean over the test fold"
    figure.suptitle(title, fontsize=11)
    groups = np.atleast_2d(figure.subfigures(rows, columns, wspace=0.04, hspace=0.02))
    for triple, group in zip(triples, groups.ravel(), strict=False):
        all_axes = group.subplots(1, 3)
        labels = (
            f"{triple.parents[0]}\n{triple.overlap[0]:.2f}",
            triple.name,
            f"{triple.parents[1]}\n{triple.overlap[1]:.2f}",
        )
        for i, (axes, (image, heat)) in enumerate(zip(all_axes, triple.pictures, strict=True)):
            _show(axes, overlay(image, heat))
            axes.set_xlabel(labels[i], fontsize=7.5, fontweight="bold" if i == 1 else "normal")
    return figure


def overlaps(overlap: dict) -> Figure:
    """Draws each compound class's overlap with its parents and with the other basic classes: mean, 95 % interval."""
    rows = {**overlap["classes"], "all": overlap["all"]}
    figure = Figure(figsize=(7, 0.32 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    kinds = (("with_parents", "its two parents", "o", -0.12), ("with_others", "the other basic classes", "s", 0.12))
    for kind, label, marker, shift in kinds:
        there = [i for i, row in enumerate(rows.values()) if kind in row]
        values = [list(rows.values())[i][kind] for i in there]
        mean = np.asarray([v["mean"] for v in values])
        axes.errorbar(mean, np.asarray(there) + shift, xerr=_spread(values), fmt=marker, markersize=5, capsize=2,
                      linewidth=1, label=label)  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.axhline(len(rows) - 1.5, color="grey", linewidth=0.5)
    axes.invert_yaxis()
    axes.set(xlabel="overlap of maps, mean and 95 % interval over people")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def temperature(
    image: np.ndarray, name: str, by_temperature: dict[float, np.ndarray], names: tuple[str, ...]
) -> Figure:
    """Draws one image, and its probabilities f[K] over the known classes at every temperature."""
    n = len(by_temperature)
    figure = Figure(figsize=(2.3 * (n + 1), 0.19 * len(names) + 1.2), layout="constrained")
    all_axes = figure.subplots(1, n + 1, width_ratios=[1.2, *[1] * n])
    _show(all_axes[0], image)
    all_axes[0].set_xlabel(name, fontweight="bold")
    at = np.arange(len(names))
    for axes, (t, p) in zip(all_axes[1:], by_temperature.items(), strict=True):
        colours = ["C1" if one == name else "C0" for one in names]
        axes.barh(at, p, color=colours)
        axes.set_yticks(at, names if axes is all_axes[1] else [], fontsize=8)
        axes.invert_yaxis()
        axes.set(title=f"T = {t:g}", xlim=(0, 1), xlabel="probability")
    return figure


def checks(sanity: dict, faithfulness: dict) -> Figure:
    """Draws the checks of maps: rank correlation as parameters are randomised, and deletion and insertion."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, *right = figure.subplots(1, 3, width_ratios=[2, 1, 1])
    for variant, steps in sanity.items():
        mean = np.asarray([step["rank_correlation"]["mean"] for step in steps])
        low, high = _spread([step["rank_correlation"] for step in steps])
        (line,) = left.plot(mean, "-o", markersize=4, label=NAMES[variant])
        left.fill_between(range(len(mean)), mean - low, mean + high, color=line.get_color(), alpha=0.2, linewidth=0)
    parts = [step["down_to"] for step in next(iter(sanity.values()))]
    left.set_xticks(range(len(parts)), parts, rotation=45 if len(parts) < 12 else 90, ha="right", fontsize=8)
    left.axhline(0, color="grey", linewidth=0.8)
    left.set(xlabel="parameters randomised from the head down to", ylabel="rank correlation with the learned map",
             ylim=(-0.6, 1.05), title="sanity: 0 is right")  # fmt: skip
    left.legend(frameon=False)
    left.grid(alpha=0.3)
    names = list(faithfulness)
    for axes, score, better in zip(right, ("deletion", "insertion"), ("lower", "higher"), strict=True):
        values = [faithfulness[name][score] for name in names]
        axes.bar(range(len(names)), [v["mean"] for v in values], yerr=_spread(values), capsize=4,
                 color=["C0", "C1", "0.6"][: len(names)])  # fmt: skip
        axes.set_xticks(range(len(names)), [NAMES[name].replace(" ", "\n") for name in names], fontsize=8)
        axes.set(title=f"{score}: {better} is better", ylabel="area under the class's probability")
        axes.grid(axis="y", alpha=0.3)
    return figure


def gallery(name: str, images: np.ndarray, maps: np.ndarray, answers: list[str]) -> Figure:
    """Draws test images u8[N, H, W, 3] of one class under their maps f[N, H, W] for it, and the model's answers."""
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows + 0.5), layout="constrained")
    figure.suptitle(f"maps for {name}, and the answer", fontsize=11)
    all_axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in all_axes[len(images) :]:
        axes.set_axis_off()
    for axes, image, heat, answer in zip(all_axes, images, maps, answers, strict=False):
        _show(axes, overlay(image, heat))
        axes.set_xlabel(answer, fontsize=8, color="black" if answer == name else "C3")
    return figure


def _show(axes, image: np.ndarray) -> None:
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])


def _spread(estimates: list[dict]) -> np.ndarray:
    """Distances from means to the ends of their intervals, f[2, N]; 0 where there is no interval."""
    return np.nan_to_num([[e["mean"] - e["low"] for e in estimates], [e["high"] - e["mean"] for e in estimates]])


def _interval(estimate: dict) -> str:
    text = f"{estimate['mean']:.2f}"
    return text if np.isnan(estimate["low"]) else f"{text} [{estimate['low']:.2f}, {estimate['high']:.2f}]"
