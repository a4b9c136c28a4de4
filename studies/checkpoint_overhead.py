"""What do checkpoints cost in wall time and processor time?

Command: python -m studies.checkpoint_overhead --out docs/results/checkpoint_overhead.json     (make overhead)
Result:  docs/results/checkpoint_overhead.json
Time:    eight minutes on two cores

The same run twice: one saves after every other increment, one after those between. It is the quickstart's continual
phase, `kd_psmr` on one class order, with the defaults of the command; its base model is trained first. From one save to
the next there is an increment, and beside it the writing of the save before, if there was one.
So every interval is there with and without, in the same process and with the same work, after a run that compiles.
How fast the machine is at the time of a run hits both sides: of neighbouring intervals one has its save in the first
run and the other in the second. Beside wall time there is the processor time of the whole process, and the time that
training waited for a save to be handed over or for an earlier one to end.
"""

import dataclasses
import pathlib
import tempfile
import time
from typing import NamedTuple
from unittest import mock

import numpy as np

from fer_jax import experiment, metrics
from fer_jax.runs.checkpoints import Checkpoints, Saving
from fer_jax.runs.progress import log, start_logging
from studies import record


class Clock(NamedTuple):
    """When training came to a save: wall seconds, and processor seconds over all threads."""

    wall: float
    processor: float


def intervals(config, folder: pathlib.Path, number: int, first: int) -> tuple[np.ndarray, float]:
    """Wall and processor seconds from one finished increment to the next, f64[increments - 1, 2], and what was waited
    for a save on average.

    first: 0 saves after the first increment, the third, …, 1 after those between.
    """
    at, save = [], Checkpoints.save

    def sometimes(checkpoints, step, state, meta):
        at.append(Clock(time.perf_counter(), time.process_time()))
        if len(at) % 2 != first:
            save(checkpoints, step, state, meta)

    saving = Saving()
    with mock.patch.object(Checkpoints, "save", sometimes):
        experiment.train(config, folder / f"run{number}", saving=saving, shared=folder / "base")
    saves = sum(i % 2 != first for i in range(1, len(at) + 1))
    return np.diff(np.array(at), axis=0), saving.seconds / saves


def measure(pairs: int) -> dict:
    """Returns the relative overhead of saving over pairs of runs, with a row a pair of neighbouring intervals."""
    load = record.load()
    config = record.quickstart(methods=("kd_psmr",), protocol__orders=(0,), few_shot__shots=())
    rows, means, waited = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        intervals(config, folder, 0, 0)
        for pair in range(pairs):
            one, of_one = intervals(config, folder, 2 * pair + 1, 0)
            other, of_other = intervals(config, folder, 2 * pair + 2, 1)
            # Odd saves are made in the first run, even ones in the second.
            odd = (np.arange(len(one)) % 2 == 0)[:, None]
            ratios = np.where(odd, one / other, other / one)
            # Two neighbours at a time: what one run was slower by is in one of them as a gain.
            count = len(ratios) // 2 * 2
            found = np.sqrt(ratios[0:count:2] * ratios[1:count:2]) - 1
            rows += [(pair, *row) for row in found.tolist()]
            means.append(found.mean(0))
            waited += [of_one / one[:, 0].mean(), of_other / other[:, 0].mean()]
            log.info("pair %d: wall %+.1f %%, processor %+.1f %%", pair, *(100 * found.mean(0)))
    overhead = np.array(means)
    return {
        "settings": {"pairs": pairs, "save_every": Saving().every, "increments": 15},
        "overhead": {
            of: dataclasses.asdict(metrics.estimate(overhead[:, i])) for i, of in enumerate(("wall", "processor"))
        },
        "waited": dataclasses.asdict(metrics.estimate(waited)),
        "rows": [{"pair": pair, "wall": wall, "processor": processor} for pair, wall, processor in rows],
        "environment": record.environment(config.model.precision, load),
    }


def main() -> None:
    """Measures, writes JSON to `--out`, and prints the estimates."""
    parser = record.command(__doc__)
    parser.add_argument("--pairs", type=record.at_least(1), default=6, help="of runs, some 30 seconds each")
    a = parser.parse_args()
    start_logging()
    found = measure(a.pairs)
    record.write(a.out, found)
    for name, e in (*found["overhead"].items(), ("waiting for saves", found["waited"])):
        print(f"{name}: {100 * e['mean']:.1f} % [{100 * e['low']:.1f}, {100 * e['high']:.1f}], n {e['n']}")


if __name__ == "__main__":
    main()
