"""The exemplar memory of a run: how many exemplars each class had after every step, and which images they are."""

import numpy as np

from fer_jax.report import selection
from fer_jax.report.thumbnails import sheet

SHOWN = 16  # exemplars of one class and one span of steps


def counts_table(memories: dict[int, np.ndarray], run: dict, names: list[str]) -> dict | None:
    """Returns the exemplars of every class after every step, a class a row in the order of learning; None if empty.

    Args:
      memories: as `record.memories` returns it.
    """
    counts = {step: (index >= 0).sum(1) for step, index in memories.items()}
    most = max(int(count.max()) for count in counts.values())
    if not most:
        return None
    rows = [
        (names[c], [(count[c] / most, str(count[c])) if count[c] else None for count in counts.values()])
        for c in selection.learned_order(run)
    ]
    return {"corner": "class / step", "columns": [str(step) for step in counts], "rows": rows}


def spans(memories: dict[int, np.ndarray], c: int) -> list[tuple[tuple[int, ...], list[int]]]:
    """Groups the images of a class that were ever stored by the steps after which they were, longest stored first.

    Within a span images are in the order of the memory, the highest ranked first.
    """
    steps: dict[int, list[int]] = {}
    for step, index in memories.items():
        for image in index[c][index[c] >= 0]:
            steps.setdefault(int(image), []).append(step)
    groups: dict[tuple[int, ...], list[int]] = {}
    for image, when in steps.items():
        groups.setdefault(tuple(when), []).append(image)
    return sorted(groups.items(), key=lambda group: (-len(group[0]), group[0]))


def _period(when: tuple[int, ...]) -> str:
    if len(when) == 1:
        return f"after step {when[0]} alone"
    whole = when[-1] - when[0] + 1 == len(when)
    return f"after steps {when[0]} to {when[-1]}" + ("" if whole else f", with gaps ({len(when)} of them)")


def classes(memories: dict[int, np.ndarray], run: dict, names: list[str], images: np.ndarray) -> list[dict]:
    """Returns the name and the groups of pictures of every class that has exemplars.

    Args:
      images: u8[N, H, W, 3], all of the data set.
    """
    listed = []
    for c in selection.learned_order(run):
        groups = []
        for when, rows in spans(memories, c):
            caption = f"stored {_period(when)}: {len(rows)} image{'s' if len(rows) > 1 else ''}"
            if len(rows) > SHOWN:
                caption += f", of which the first {SHOWN} are shown"
            groups.append(
                {"caption": caption, "picture": sheet([images[i] for i in rows[:SHOWN]], f"{names[c]}, {caption}")}
            )
        if groups:
            # A reservoir changes with every step: the images stored longest are enough.
            listed.append({"name": names[c], "groups": groups[:6], "more": len(groups[6:])})
    return listed
