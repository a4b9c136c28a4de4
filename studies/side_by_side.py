"""Do class orders side by side reach the accuracies of those one by one, and in what share of the time?

Command: python -m studies.side_by_side --out docs/results/side_by_side.json     (make side-by-side)
Result:  docs/results/side_by_side.json
Time:    twenty minutes on two cores

The run is the quickstart's continual phase with two epochs an increment, `kd_psmr` on ten class orders; its base model
is trained first, and both ways are in one process, by turns, after a run of each that compiles.
"""

import dataclasses
import pathlib
import tempfile
import time

import numpy as np

from fer_jax import experiment, metrics
from fer_jax.bench.timing import summary
from fer_jax.runs.progress import log, start_logging
from studies import record


def run(config, folder: pathlib.Path, at_once: int, number: int) -> tuple[float, float, np.ndarray]:
    """Wall and processor seconds of the continual phase, and its accuracy matrices, f64[orders, T, C]."""
    config = config.copy_and_resolve_references()
    config.continual.side_by_side = at_once
    processor = time.process_time()
    found = experiment.train(config, folder / f"run{number}", shared=folder / "base")
    processor = time.process_time() - processor
    matrices = [run["accuracy_matrix"] for run in found["continual"]["kd_psmr"]["runs"]]
    return found["seconds"]["continual"]["kd_psmr"], processor, np.array(matrices, float)


def measure(orders: int, pairs: int, epochs: int) -> dict:
    """Returns seconds and accuracies of both ways, a row a pair of runs."""
    load = record.load()
    config = record.quickstart(
        methods=("kd_psmr",), protocol__n_orders=orders, few_shot__shots=(), continual__max_epochs=epochs
    )
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, at_once in enumerate((1, orders)):
            brief = config.copy_and_resolve_references()
            brief.continual.max_epochs = 1
            run(brief, folder, at_once, number)
        for pair in range(pairs):
            # Which one goes first changes, so that what warms up or cools down favours neither.
            ways = (1, orders) if pair % 2 else (orders, 1)
            found = {way: run(config, folder, way, 2 * pair + 2 + i) for i, way in enumerate(ways)}
            (alone, alone_cpu, one), (together, together_cpu, other) = found[1], found[orders]
            difference = np.nanmax(np.abs(one - other))
            rows.append({
                "one_by_one": {"seconds": alone, "processor": alone_cpu},
                "side_by_side": {"seconds": together, "processor": together_cpu},
                "greatest_difference": float(difference),
            })  # fmt: skip
            log.info("one by one %.1f s, side by side %.1f s, accuracies differ by %g", alone, together, difference)
    share = [row["side_by_side"]["seconds"] / row["one_by_one"]["seconds"] for row in rows]
    return {
        "settings": {"orders": orders, "pairs": pairs, "max_epochs": epochs},
        "time_share": dataclasses.asdict(metrics.estimate(share)),
        "greatest_difference": max(row["greatest_difference"] for row in rows),
        "seconds": {way: summary([row[way]["seconds"] for row in rows]) for way in ("one_by_one", "side_by_side")},
        "rows": rows,
        "environment": record.environment(config.model.precision, load),
    }


def main() -> None:
    """Measures, writes JSON to `--out`, and prints the share and the difference."""
    parser = record.command(__doc__)
    parser.add_argument("--orders", type=record.at_least(1), default=10)
    parser.add_argument("--pairs", type=record.at_least(1), default=4)
    parser.add_argument("--epochs", type=record.at_least(1), default=2, help="the most of an increment")
    a = parser.parse_args()
    start_logging()
    found = measure(a.orders, a.pairs, a.epochs)
    record.write(a.out, found)
    e = found["time_share"]
    bounds = f"[{100 * e['low']:.0f}, {100 * e['high']:.0f}], n {e['n']}"
    print(f"{a.orders} orders side by side take {100 * e['mean']:.0f} % of the time of one by one {bounds}")
    print(f"the accuracies differ by {found['greatest_difference']:g} at most")


if __name__ == "__main__":
    main()
