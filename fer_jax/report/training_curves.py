"""Loss and accuracy by epoch of one run, from the base task to its last increment, with the increments marked."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax.report import drawing

PANELS = (("loss", "val_loss", "loss"), ("accuracy", "val_accuracy", "accuracy"))


def parts(base: dict | None, measured: list[dict]) -> list[tuple[str, list[dict]]]:
    """Returns (name, epochs) of every fit in order: the base model's stages, then increments.

    Args:
      base: an entry of results.json's `basic`; None leaves it out.
      measured: as `record.steps` returns it.
    """
    stages = [] if base is None else [(f"base, {name}", stage["history"]) for name, stage in base["stages"].items()]
    return stages + [(one["class"], one["history"]) for one in measured if one["history"]]


@matplotlib.rc_context(drawing.STYLE)
def figure(fits: list[tuple[str, list[dict]]]) -> Figure | None:
    """Draws training and validation figures by epoch, a line for each fit; returns None if there is no epoch."""
    if not any(history for _, history in fits):
        return None
    drawn = Figure(figsize=(drawing.WIDTH, 4.4), layout="constrained")
    both = drawn.subplots(2, 1, sharex=True)
    begin = 0
    for number, (name, history) in enumerate(fits):
        if not history:
            continue
        epochs = np.arange(begin + 1, begin + len(history) + 1)
        for axes, (own, validation, _) in zip(both, PANELS, strict=True):
            for key, colour, marker, label in (
                (own, drawing.COLOURS[0], "o", "training"),
                (validation, drawing.COLOURS[1], "s", "validation"),
            ):
                values = [np.nan if epoch.get(key) is None else epoch[key] for epoch in history]
                axes.plot(epochs, values, color=colour, marker=marker, markersize=2, linewidth=1,
                          label=label if not begin else None)  # fmt: skip
            axes.axvline(begin + 0.5, color="grey", linewidth=0.6)
            if number % 2:
                axes.axvspan(begin + 0.5, begin + len(history) + 0.5, color="grey", alpha=0.1, linewidth=0)
        both[0].text(begin + 0.5 + len(history) / 2, 1.02, name, rotation=60, fontsize=6, ha="left", va="bottom",
                     transform=both[0].get_xaxis_transform())  # fmt: skip
        begin += len(history)
    for axes, (_, _, label) in zip(both, PANELS, strict=True):
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    both[0].set_ylim(bottom=0)
    both[1].set(xlabel="epoch", ylim=(0, 1.02), xlim=(0, begin + 1))
    drawn.legend(*both[1].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    return drawn
