"""How right is the remaining time that a run shows, over the quickstart?

Command: python -m studies.progress --out docs/results/progress.json     (make progress)
Result:  docs/results/progress.json
Time:    ten seconds, after `make results`

Reads `progress.jsonl`, which `fer-jax train` writes to the workdir, repeats the estimate at every epoch, and compares
it with the seconds that were left. It does so by the clock and by the processor time of the process, which other
programs on the machine hardly change. The error counts from the first tenth of a run to its last twentieth; after that
it is of few seconds. docs/progress.png has both curves.
"""

import json
import math
import pathlib
import sys

from matplotlib.figure import Figure

from fer_jax.runs.remaining import replay
from studies import record

WORKDIR = pathlib.Path("runs/results")
FIGURE = pathlib.Path("docs/progress.png")
FIRST, LAST = 0.1, 0.95  # of the run, between which the error counts
POINTS = 100  # of a curve in the result
CLOCKS = {"cpu": "processor time", "seconds": "clock"}


def starts(path: pathlib.Path) -> list[list[dict]]:
    """Returns the rows of every start of a run, each of which began with a plan."""
    found: list[list[dict]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["event"] == "plan":
            found.append([])
        found[-1].append(row)
    return found


def curve(rows: list[dict], clock: str = "seconds") -> list[tuple[float, float, float]]:
    """Returns (elapsed, estimated, actual seconds left) at every epoch and end at which there was an estimate."""
    end = rows[-1][clock]
    return [(now, left, end - now) for now, left in replay(rows, clock) if left is not None]


def worst(points: list[tuple[float, float, float]]) -> float:
    """Returns the largest relative error between the first tenth of a run and its last twentieth.

    It is infinite where the first tenth ended without an estimate.
    """
    total = points[-1][0]
    if points[0][0] > FIRST * total:
        return math.inf
    return max(abs(left - actual) / actual for now, left, actual in points if FIRST <= now / total <= LAST)


def draw(curves: dict[str, list], path: pathlib.Path) -> None:
    """Draws what was estimated and what it was, a panel a clock, with a band of 25 %."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (clock, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        now, left, actual = zip(*points, strict=True)
        axes.fill_between(now, [0.75 * a for a in actual], [1.25 * a for a in actual], color="#2f7fc1", alpha=0.15,
                          linewidth=0, label="within 25 %")  # fmt: skip
        axes.plot(now, actual, color="#2f7fc1", label="actual")
        axes.plot(now, left, color="#d0661a", label="estimated")
        axes.axvline(FIRST * now[-1], color="grey", linewidth=0.8)
        axes.set(xlabel=f"seconds of the run, {CLOCKS[clock]}", ylabel="seconds left", ylim=(0, 1.6 * actual[0]))
        axes.set_title(f"largest error after the first tenth: {100 * worst(points):.0f} %", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def thinned(points: list[tuple[float, float, float]]) -> list[list[float]]:
    """Returns some of the points of a curve, evenly spread over the run, the last one among them."""
    total, found = points[-1][0], {}
    for point in points:
        found[int(POINTS * point[0] / total)] = [round(value, 1) for value in point]
    return list(found.values())


def main() -> None:
    """Writes the curves and the figure."""
    parser = record.command(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, default=WORKDIR, help="of a finished quickstart run")
    known = parser.parse_args()
    for path in (known.workdir / "results.json", known.workdir / "progress.jsonl"):
        if not path.is_file():
            sys.exit(f"{path} is not there; make results makes it")
    runs = starts(path)
    if len(runs) > 1:
        sys.exit(f"{path} has {len(runs)} starts; the curve is of a run without an interruption")
    curves = {clock: curve(runs[0], clock) for clock in CLOCKS}
    found = {
        "largest_error": {clock: worst(points) for clock, points in curves.items()},
        "elapsed_estimated_actual": {
            clock: [" ".join(map(str, point)) for point in thinned(points)] for clock, points in curves.items()
        },
        "log": [json.dumps(row, separators=(",", ":")) for row in runs[0]],
        "environment": json.loads((known.workdir / "results.json").read_text())["environment"],
    }
    record.write(known.out, found)
    draw(curves, FIGURE)


if __name__ == "__main__":
    main()
