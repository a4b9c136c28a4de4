"""Checks that this machine's accelerator computes correctly, and how fast; writes one JSON for docs/results.

    python -m fer_jax.bench.accelerator --out docs/results/accelerator.json     # make accelerator-check

Three parts run in processes of their own, so that each frees the device's memory for the next: the tests against
vectors from the published code, all three phases of configs/smoke.py, and `fer-jax bench --quick`. Without an
accelerator it says so and runs on the CPU. For a part that fails, the JSON has its last lines, and the exit code is 1.
Measurements for which the time is too short are named.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from fer_jax.bench.measurements import CONFIGS, MEASUREMENTS
from fer_jax.runs import results
from fer_jax.runs.environment import command
from fer_jax.runs.progress import log, start_logging

ROOT = pathlib.Path(__file__).parents[2]
# Seconds for all of it, and what is measured: what a run is made of first, curves last.
BUDGET = 8.5 * 60
BENCH = ("step", "evaluation", "epoch", "grad-cam", "input", "devices", "runs", "selection", "scaling")
ENDED, KILLED = "finished", "out of time"


class Clock:
    """The rest of the time budget."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds left."""
        return max(1.0, self._end - time.monotonic())


def ran(command: list[str], clock: Clock, **variables: str) -> dict:
    """Runs a command in the repository's folder within the time left; returns how it ended and its output.

    variables: of its environment, beside this one's.
    """
    began, own = time.monotonic(), {**os.environ, **variables}
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=clock.left(), env=own)
    except subprocess.TimeoutExpired as error:
        text = error.stdout or b""
        return {"ended": KILLED, "ok": False, "seconds": time.monotonic() - began, "output": text.decode()}
    ended = ENDED if not done.returncode else f"exit code {done.returncode}"
    output = done.stdout if not done.returncode else done.stdout + done.stderr
    return {"ended": ended, "ok": not done.returncode, "seconds": time.monotonic() - began, "output": output}


def parity(clock: Clock) -> dict:
    """Runs the tests against reference vectors; returns how many there are, and which failed.

    In whole float32 products: accelerators take less of a float32 unless they are asked for all of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "parity", f"--junitxml={report}"]
        outcome = ran(command, clock, JAX_DEFAULT_MATMUL_PRECISION="highest")
        cases = _cases(report)
    return {**_without_output(outcome), **cases}


def _cases(report: pathlib.Path) -> dict:
    import xml.etree.ElementTree as xml

    if not report.exists():
        return {"tests": 0, "failed": []}
    cases = list(xml.parse(report).getroot().iter("testcase"))
    failed = [
        f"{c.get('classname')}::{c.get('name')}"
        for c in cases
        if c.find("failure") is not None or c.find("error") is not None
    ]
    return {"tests": len(cases), "failed": failed}


def bench(clock: Clock, names: tuple[str, ...]) -> dict:
    """Runs one measurement after another until the time is up."""
    rows, parts = [], {}
    for name in names:
        if clock.left() < 30:
            parts[name] = {"ended": KILLED, "ok": False, "seconds": 0.0}
            continue
        command = [sys.executable, "-m", "fer_jax.cli.main", "bench", "--quick", "--only", name]
        outcome = ran(command, clock)
        rows += [json.loads(line) for line in outcome["output"].splitlines() if line.startswith("{")]
        parts[name] = _without_output(outcome)
        log.info("accelerator-check: bench %s: %s, %.0f s", name, outcome["ended"], outcome["seconds"])
    # Every process measures the peak; the first one's is as good as any.
    peaks = [row for row in rows if row["name"] == "matmul peak"]
    return {"parts": parts, "measurements": peaks[:1] + [row for row in rows if row["name"] != "matmul peak"]}


def run(clock: Clock) -> dict:
    """Runs the three phases of configs/smoke.py; returns the seconds, and whether there are results."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        command = [sys.executable, "-m", "fer_jax.cli.main", "train", "--config", str(CONFIGS / "smoke.py"),
                   "--workdir", str(workdir)]  # fmt: skip
        outcome = ran(command, clock)
        if not outcome["ok"]:
            return _without_output(outcome)
        measured = results.read(workdir)
    return {
        **_without_output(outcome),
        "methods": sorted(measured["continual"]),
        "few_shot_rows": len(measured["few_shot"]["rows"]),
        "phase_seconds": measured["seconds"],
        "device": measured["environment"]["device"],
    }


def _without_output(outcome: dict) -> dict:
    """What ended well needs no words; of what did not, the last ones."""
    shown = {key: value for key, value in outcome.items() if key != "output"}
    return shown if outcome["ok"] else {**shown, "said": outcome["output"].strip().splitlines()[-15:]}


def device() -> dict:
    """Returns where JAX computes here, as another process reports it."""
    program = (
        "import json; from fer_jax.runs import results; from fer_jax.models import precision; "
        "print(json.dumps(results.environment(precision.used('auto'))))"
    )
    asked = [sys.executable, "-c", program]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main() -> int:
    """Runs all parts, writes the JSON and prints a summary; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--only", metavar="NAME,...", help="some of the measurements of bench", default=",".join(BENCH))
    a = parser.parse_args()
    names = tuple(a.only.split(","))
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"--only has {unknown[0]!r}; it may be some of {', '.join(MEASUREMENTS)}")
    start_logging()
    clock, began = Clock(BUDGET), time.monotonic()
    environment = device()
    there = environment["device"]["platform"] != "cpu"
    if not there:
        log.warning("there is no accelerator here: the check runs on the CPU")
    # The run first after parity: it is the shortest, and a machine on which it fails needs no figures.
    report = {"accelerator": there, "environment": {**environment, "cores": len(os.sched_getaffinity(0))}}
    report["parity"] = parity(clock)
    log.info("accelerator-check: %d tests, %d failed", report["parity"]["tests"], len(report["parity"]["failed"]))
    report["run"] = run(clock)
    log.info("accelerator-check: three phases: %s, %.0f s", report["run"]["ended"], report["run"]["seconds"])
    report["bench"] = bench(clock, names)
    report["seconds"] = time.monotonic() - began
    results.write_json(a.out, {"command": command(), **report})
    # Measurements for which the time was too short are named, and are no failure; on a CPU it always is.
    bad = [name for name in ("parity", "run") if not report[name]["ok"]]
    bad += [name for name, part in report["bench"]["parts"].items() if part["ended"] not in (ENDED, KILLED)]
    late = [name for name, part in report["bench"]["parts"].items() if part["ended"] == KILLED]
    print(f"{environment['device']['kind']}: {report['parity']['tests']} tests, {report['seconds']:.0f} s")
    if late:
        print(f"not measured in time: {', '.join(late)}")
    if bad:
        print(f"failed: {', '.join(bad)}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
