"""What checkpoints cost: the same run with and without them, by turns.

    python benchmarks/checkpoint_overhead.py --out docs/results/checkpoint_overhead.json

The run is the quickstart's continual phase up to results.json, `kd_psmr` on one class order, with the defaults of the
command; its base model is there already. Both kinds of run are in one process, after one that compiles, so that only
saving differs: the time that training waits, and what writing in the background takes from it. Beside wall time there
is the processor time of the whole process, which other work on the machine does not lengthen, and the time that
training waited for a save to be handed over or for an earlier one to end.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import runpy
import tempfile
import time
from typing import NamedTuple
from unittest import mock

from fer_jax import experiment, metrics, results
from fer_jax.checkpoints import Checkpoints, Saving
from fer_jax.progress import log, start_logging

ROOT = pathlib.Path(__file__).parents[1]


class Cost(NamedTuple):
    """Of one run: wall seconds, processor seconds over all threads, and seconds that training waited for saves."""

    wall: float
    processor: float
    waited: float


def cost(config, folder: pathlib.Path, saves: bool, number: int) -> Cost:
    """What one run takes; the base model is shared."""
    with contextlib.ExitStack() as stack:
        # What follows the results reads the checkpoints, and does less where there are none.
        for after in ((experiment.page, "write"), (experiment, "_calibrate")):
            stack.enter_context(mock.patch.object(*after))
        if not saves:
            stack.enter_context(mock.patch.object(Checkpoints, "save", return_value=None))
        saving, wall, processor = Saving(), time.perf_counter(), time.process_time()
        experiment.train(config, folder / f"run{number}", saving=saving, shared=folder / "base")
    return Cost(time.perf_counter() - wall, time.process_time() - processor, saving.seconds)


def measure(pairs: int) -> dict:
    config = runpy.run_path(str(ROOT / "configs" / "quickstart.py"))["get_config"]()
    config.update_from_flattened_dict({"methods": ("kd_psmr",), "protocol.orders": (0,), "few_shot.shots": ()})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cost(config, pathlib.Path(folder), True, 0)
        for pair in range(pairs):
            # Which one goes first changes, so that what warms up or cools down favours neither.
            order = (True, False) if pair % 2 else (False, True)
            row = {saves: cost(config, pathlib.Path(folder), saves, 2 * pair + i + 1) for i, saves in enumerate(order)}
            rows.append({"with": row[True]._asdict(), "without": row[False]._asdict()})
            log.info("with %s, without %s", row[True], row[False])

    def overhead(of: str) -> dict:
        return dataclasses.asdict(metrics.estimate([row["with"][of] / row["without"][of] - 1 for row in rows]))

    return {
        "settings": {"pairs": pairs, "save_every": Saving().every, "increments": 15},
        "overhead": {of: overhead(of) for of in ("wall", "processor")},
        "waited": dataclasses.asdict(metrics.estimate([row["with"]["waited"] / row["with"]["wall"] for row in rows])),
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
    for name, e in (*found["overhead"].items(), ("waiting for saves", found["waited"])):
        print(f"{name}: {100 * e['mean']:.1f} % [{100 * e['low']:.1f}, {100 * e['high']:.1f}], n {e['n']}")


if __name__ == "__main__":
    main()
