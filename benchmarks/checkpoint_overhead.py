"""What checkpoints cost: the same run with and without them, by turns.

    python benchmarks/checkpoint_overhead.py --out docs/results/checkpoint_overhead.json

The run is the quickstart's continual phase, `kd_psmr` on one class order, with the defaults of the command; its base
model is there already. Both kinds of run are in one process, after one that compiles, so that only saving differs: the
time that training waits, and what writing in the background takes from it.
"""

import argparse
import dataclasses
import pathlib
import runpy
import tempfile
import time
from unittest import mock

from fer_jax import experiment, metrics, results
from fer_jax.checkpoints import Checkpoints, Saving
from fer_jax.progress import log, start_logging

ROOT = pathlib.Path(__file__).parents[1]


def seconds(config, folder: pathlib.Path, saves: bool, number: int) -> float:
    """Wall time of one run; the base model is shared."""
    nothing = mock.patch.object(Checkpoints, "save", return_value=None)
    began = time.perf_counter()
    workdir = folder / f"run{number}"
    if saves:
        experiment.train(config, workdir, saving=Saving(), shared=folder / "base")
    else:
        with nothing:
            experiment.train(config, workdir, saving=Saving(), shared=folder / "base")
    return time.perf_counter() - began


def measure(pairs: int) -> dict:
    config = runpy.run_path(str(ROOT / "configs" / "quickstart.py"))["get_config"]()
    config.update_from_flattened_dict({"methods": ("kd_psmr",), "protocol.orders": (0,), "few_shot.shots": ()})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        seconds(config, pathlib.Path(folder), True, 0)
        for pair in range(pairs):
            # Which one goes first changes, so that what warms up or cools down favours neither.
            order = (True, False) if pair % 2 else (False, True)
            row = {
                saves: seconds(config, pathlib.Path(folder), saves, 2 * pair + i + 1) for i, saves in enumerate(order)
            }
            rows.append({"with": row[True], "without": row[False], "overhead": row[True] / row[False] - 1})
            log.info("with %.1f s, without %.1f s", row[True], row[False])
    return {
        "settings": {"pairs": pairs, "save_every": Saving().every, "increments": 15},
        "overhead": dataclasses.asdict(metrics.estimate([row["overhead"] for row in rows])),
        "rows": rows,
        "environment": results.environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--pairs", type=int, default=4)
    a = parser.parse_args()
    if a.pairs < 1:
        parser.error(f"--pairs is {a.pairs}; it may be from 1")
    start_logging()
    found = measure(a.pairs)
    results.write_json(a.out, found)
    e = found["overhead"]
    print(
        f"checkpoints take {100 * e['mean']:.1f} % more time [{100 * e['low']:.1f}, {100 * e['high']:.1f}], n {e['n']}"
    )


if __name__ == "__main__":
    main()
