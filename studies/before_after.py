"""What did the corrections that an audit asked for change: in intervals, baselines, ImageNet's weights, few shots?

Command: python -m studies.before_after --out docs/results/before_after.json     (make before-after)
Result:  docs/results/before_after.json
Time:    an hour and a quarter on two cores; started again at the same commit, it goes on

Each part has a figure before and after. Intervals: the paper's method in the first version's README, whose Student's t
treats three class orders of one base model as independent, and over five base models (docs/results/best.json).
Baselines: the first version's own code, unpacked from the repository's history and run on both streams of digits with
five seeds, and docs/results/digits_*.json, paired by seed and class order. BiC reserved images that it had trained on;
streaming LDA, EWC and DER++ departed from their papers. ImageNet's weights: the first version's own study with the
seeds of docs/results/transfer.json, paired by seed. It trained for 20 epochs with the better of two learning rates. Few
shots: five base models with people of their own, once with the epoch that validation images of all seven classes
choose, an oracle, and once after a fixed number of epochs.

With --only the file keeps the other parts; each part has its environment, with the commit.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from fer_jax import experiment, metrics, statistics
from fer_jax.runs.progress import log, start_logging
from fer_jax.runs.results import by_method, restated
from studies import record

COMMIT = "0450aeb"
STREAMS, METHODS = ("4+6x1", "5x2"), ("bic", "ewc", "derpp", "slda")
MEASURES = ("average_incremental_accuracy", "final_accuracy")
STARTS = ("pretrained", "scratch", "gain")
PARTS = ("intervals", "baselines", "transfer", "few_shot")
SHOTS, SELECTIONS = (1, 3, 5), ("seen", "none")
RESULTS = record.ROOT / "docs" / "results"


def read(name: str) -> dict:
    """Reads a committed file of runs with today's metrics."""
    return restated(json.loads((RESULTS / f"{name}.json").read_text()))


def intervals(old: dict) -> list[dict]:
    """Returns each measure of the paper's method and joint training: Student's t over orders, and over base models.

    Over orders there are two: of the first version's base model, and of one of today's, so that nothing but what the
    interval is over differs.
    """
    new, rows = read("best"), []

    def over_orders(values: list[float]) -> dict:
        over = metrics.estimate(values)
        return {"mean": over.mean, "low": over.low, "high": over.high, "n": len(values)}

    for method, measure in (("kd_psmr", MEASURES[0]), ("kd_psmr", MEASURES[1]), ("joint", MEASURES[1])):
        values = [run["metrics"][measure] for run in by_method(old)[method]["runs"]]
        by_run = statistics.values_of(by_method(new)[method]["runs"], measure)
        one = [value for run, value in by_run.items() if run[1:] == next(iter(by_run))[1:]]
        rows.append({
            "method": method, "measure": measure, "before": over_orders(values), "one": over_orders(one),
            "after": statistics.estimate(by_run),
        })  # fmt: skip
    return rows


def run_old(code: pathlib.Path, stream: str, seeds: int, workdir: pathlib.Path) -> dict:
    """Runs the first version's code on a stream, or goes on with it; returns its results."""
    over = ["--over", f"seed={','.join(map(str, range(seeds)))}", "--over", f"method={','.join(METHODS)}"]
    command = ["-m", "fer_jax.main", "sweep", "--config", f"configs/digits.py:{stream}", "--workdir", str(workdir)]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    subprocess.run([sys.executable, *command, *over], cwd=code, env=environment, check=True)
    return restated(json.loads((workdir / "results.json").read_text()))


def compared(before: dict, after: dict) -> dict[str, dict]:
    """Returns estimates of values before and after by (order, seed, fold), and of their paired difference."""
    difference = statistics.difference(after, before)
    return {"before": statistics.estimate(before), "after": statistics.estimate(after), "difference": difference}


def baselines(stream: str, old: dict) -> list[dict]:
    """Returns each method's measures by the old code and by ours, and their differences paired by seed and order."""
    new, rows = by_method(read(f"digits_{stream}")), []
    for method in METHODS:
        for measure in MEASURES:
            before = statistics.values_of(by_method(old)[method]["runs"], measure)
            after = statistics.values_of(new[method]["runs"], measure)
            after = {run: value for run, value in after.items() if run in before}
            rows.append({"stream": stream, "method": method, "measure": measure, **compared(before, after)})
    return rows


def run_old_transfer(code: pathlib.Path, seeds: list[int], workdir: pathlib.Path) -> list[dict]:
    """Runs the first version's study of ImageNet's weights for each seed without a file; returns a row for each."""
    rows = []
    for seed in seeds:
        out = workdir / f"transfer_{seed}.json"
        if not out.exists():
            command = [sys.executable, "-m", "fer_jax.transfer", "--out", str(out)]
            asked = ["--first-seed", str(seed), "--seeds", "1"]
            subprocess.run([*command, *asked], cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, check=True)
        rows += json.loads(out.read_text())["rows"]
    return rows


def transfer(old: list[dict], new: list[dict]) -> list[dict]:
    """Returns test accuracy from both starts and its gain by the old study's rows and by ours, paired by seed."""
    rows = []
    for name in STARTS:
        before, after = ({(0, row["seed"], 0): row[name] for row in found} for found in (old, new))
        rows.append({"start": name, **compared(before, after)})
    return rows


def weights(code: pathlib.Path, workdir: pathlib.Path) -> list[dict]:
    """Returns `transfer` of the seeds of docs/results/transfer.json."""
    new = json.loads((RESULTS / "transfer.json").read_text())["rows"]
    return transfer(run_old_transfer(code, [row["seed"] for row in new], workdir), new)


def few_shot(seed: int, selection: str, changes: dict, workdir: pathlib.Path, console=None) -> dict[str, float]:
    """Trains one base model's few-shot phase; returns the harmonic mean of new and basic accuracy by shots."""
    config = record.quickstart(
        seed=seed, data__seed=seed, methods=("ncm",), protocol__orders=(0,), few_shot__selection=selection,
        few_shot__shots=SHOTS, few_shot__answers=("network",), few_shot__draws=1, **changes,
    )  # fmt: skip
    found = experiment.train(config, workdir / f"seed{seed}_{selection}", console, shared=workdir / "base")
    rows = found["few_shot"]["rows"]
    return {
        str(shots): float(np.mean(metrics.harmonic_mean(
            *([row[name] for row in rows if row["shots"] == shots] for name in ("base_accuracy", "new_class_accuracy"))
        )))
        for shots in SHOTS
    }  # fmt: skip


def selections(seeds: int, changes: dict, workdir: pathlib.Path, console=None) -> list[dict]:
    """Returns the harmonic mean by shots with the oracle's epoch, with a fixed one, and their difference."""
    found = {selection: [] for selection in SELECTIONS}
    for seed in range(record.FIRST_SEED, record.FIRST_SEED + seeds):
        for selection in SELECTIONS:
            log.info("few shots, seed %d, selection %s", seed, selection)
            found[selection].append(few_shot(seed, selection, changes, workdir, console))
    rows = []
    for shots in map(str, SHOTS):
        before, after = ({(0, seed, 0): one[shots] for seed, one in enumerate(found[name])} for name in SELECTIONS)
        rows.append({"shots": int(shots), **compared(before, after)})
    return rows


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--seeds", type=record.at_least(1), default=5, help="base models")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/before_after"), metavar="DIR")
    parser.add_argument("--set", type=record.setting, action="append", default=[], metavar="KEY=JSON",
                        help="a key of the few-shot config")  # fmt: skip
    parser.add_argument("--only", choices=PARTS, help="one part; FILE keeps the others")
    a, load = parser.parse_args(), record.load()
    settings = {"commit": COMMIT, "seeds": a.seeds, "changes": {key.replace(".", "__"): value for key, value in a.set}}
    kept = json.loads(a.out.read_text()) if a.only and a.out.exists() else {}
    if a.only and kept.get("settings") != settings:
        parser.error(f"--only {a.only}: {a.out} has no other parts with these settings; leave --only out")
    console, workdir = start_logging(), record.own_folder(a.workdir.resolve())
    code = workdir / COMMIT
    if not code.exists():
        record.unpack(COMMIT, code)
    measure = {
        "intervals": lambda: intervals(restated(json.loads((code / "docs/results/quickstart.json").read_text()))),
        "baselines": lambda: [
            row for stream in STREAMS for row in baselines(stream, run_old(code, stream, a.seeds, workdir / stream))
        ],
        "transfer": lambda: weights(code, workdir),
        "few_shot": lambda: selections(a.seeds, settings["changes"], workdir / "few_shot", console),
    }
    environment = record.environment("float32", load)
    found = {"settings": settings, **kept, "environments": {**kept.get("environments", {})}}
    with record.in_one_line(parser):
        for name in [a.only] if a.only else PARTS:
            found[name], found["environments"][name] = measure[name](), environment
    record.write(a.out, found)
    for row in found["baselines"]:
        if row["measure"] == "final_accuracy":
            print(f"{row['stream']}, {row['method']}: {record.words(row['difference'])}")


if __name__ == "__main__":
    main()
