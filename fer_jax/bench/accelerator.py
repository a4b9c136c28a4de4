"""Checks that this machine's accelerator computes correctly, and how fast; writes one JSON for docs/results.

    python -m fer_jax.bench.accelerator --out docs/results/accelerator.json     # make accelerator-check

Every part is a process of its own with a time limit: the tests against vectors from the published code, all three
phases of configs/smoke.py, the rehearsal of the paper's continual phase, and one measurement of `fer-jax bench --quick`
after another. A part that hangs is ended with all that it started, one that aborts has only itself to lose, and
what either measured until then is in the JSON, which is written after each. Without an accelerator it says so and runs
on the CPU. The exit code is 1 if a part failed, and on an accelerator if a part that has time of its own ran out of it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer_jax.bench.measurements import CONFIGS, MEASUREMENTS
from fer_jax.bench.timing import Clock
from fer_jax.errors import Interrupted
from fer_jax.runs import results
from fer_jax.runs.environment import command, cores
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.progress import log, start_logging

ROOT = pathlib.Path(__file__).parents[2]
# Seconds for all of it, and those that a part is sure of. What one does not need goes to those after it, and in the
# end to the measurements that have none of their own: what a run is made of first, curves last.
BUDGET = 470.0
OWN = {"device": 25, "parity": 75, "run": 120, "rehearsal": 105, "epoch": 50, "runs": 55, "step": 40}
REST = ("evaluation", "input", "grad-cam", "devices", "selection", "scaling")
BENCH = tuple(name for name in (*OWN, *REST) if name in MEASUREMENTS)
# The rehearsal ends by itself, before it is ended.
REHEARSAL_ENDS = 15
MOST = 2  # times its own seconds that a part may have
LEAST = 20.0  # seconds without which a measurement is not begun
OK, FAILED, LATE, SKIPPED = "ok", "failed", "out of time", "not begun"


class Part(NamedTuple):
    """A process of the check.

    command: FOLDER in it is a folder of its own. seconds: that it is sure of; 0 takes what the others leave.
    reads: from this folder and its standard output to what was found; of a part that fails, too.
    """

    name: str
    command: list[str]
    seconds: float = 0.0
    reads: Callable[[pathlib.Path, str], dict] = lambda folder, output: {}
    variables: tuple[tuple[str, str], ...] = ()


def _fer_jax(*words: str) -> list[str]:
    return [sys.executable, "-m", "fer_jax", *words]


def parts(config: Sequence[str], tests: str, budget: float) -> list[Part]:
    """Returns the parts of the check in their order.

    Args:
      config: a config file and its overrides, in the place of those that the commands have; or none.
      tests: where the tests against reference vectors are.
      budget: seconds of all; the parts' own are scaled to it.
    """
    own = {name: seconds * budget / BUDGET for name, seconds in OWN.items()}
    given = ["--config", *config] if config else []
    asked = "import json; from fer_jax.bench import accelerator; print(json.dumps(accelerator.device()))"
    # In whole float32 products: accelerators take less of a float32 unless they are asked for all of it.
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "parity", "--junitxml=FOLDER/tests.xml"]
    precisely = (("JAX_DEFAULT_MATMUL_PRECISION", "highest"),)
    parity = Part("parity", [*pytest, *_files(tests)], own["parity"], _cases, precisely)
    smoke = given or ["--config", str(CONFIGS / "smoke.py")]
    rehearsal = _fer_jax("bench", "cfee", "--budget", f"{max(1, own['rehearsal'] - REHEARSAL_ENDS):.0f}",
                         "--out", "FOLDER/cfee.json", *given)  # fmt: skip
    measured = [
        Part(name, _fer_jax("bench", "--quick", "--only", name, *given), own.get(name, 0.0), _lines) for name in BENCH
    ]
    return [
        Part("device", [sys.executable, "-c", asked], own["device"], lambda _, output: _last(output)),
        parity,
        # Early: it is short, and a machine on which it fails needs no figures.
        Part("run", _fer_jax("train", "--workdir", "FOLDER/run", *smoke), own["run"], _phases),
        Part("rehearsal", rehearsal, own["rehearsal"], _rehearsed),
        *measured,
    ]


def _files(tests: str) -> list[str]:
    """Returns the test files under a path that name reference vectors; others may need what is not installed here."""
    files = [ROOT / tests] if (ROOT / tests).is_file() else sorted((ROOT / tests).rglob("test_*.py"))
    return [str(file) for file in files if re.search(r"def test\w+\(.*\breference\b", file.read_text())]


def _cases(folder: pathlib.Path, output: str) -> dict:
    """Reads how many tests there were, and which failed."""
    import xml.etree.ElementTree as xml

    report = folder / "tests.xml"
    if not report.exists():
        return {"tests": 0, "failed": []}
    cases = list(xml.parse(report).getroot().iter("testcase"))
    failed = [
        f"{c.get('classname')}::{c.get('name')}"
        for c in cases
        if c.find("failure") is not None or c.find("error") is not None
    ]
    return {"tests": len(cases), "failed": failed}


def _phases(folder: pathlib.Path, output: str) -> dict:
    """Reads what a finished run has to show."""
    if not (folder / "run" / "results.json").exists():
        return {}
    measured = results.read(folder / "run")
    return {
        "methods": sorted(measured["continual"]),
        "few_shot_rows": len(measured["few_shot"]["rows"]),
        "phase_seconds": measured["seconds"],
        "device": measured["environment"]["device"],
    }


def _rehearsed(folder: pathlib.Path, output: str) -> dict:
    file = folder / "cfee.json"
    return {"measurements": json.loads(file.read_text())["measurements"] if file.exists() else []}


def _lines(folder: pathlib.Path, output: str) -> dict:
    """Reads what `fer-jax bench` printed; the last line may have been cut short."""
    rows = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return {"measurements": [row for row in rows if isinstance(row, dict)]}


def _last(output: str) -> dict:
    return {"environment": json.loads(output.splitlines()[-1])} if output.strip() else {}


def device() -> dict:
    """Returns where JAX computes here."""
    from fer_jax.models import precision
    from fer_jax.runs.environment import prepare_environment

    prepare_environment()
    return {**results.environment(precision.used("auto")), "cores": cores()}


def ran(part: Part, seconds: float) -> dict:
    """Runs a part for so many seconds at most; returns how it ended and what it found, of a bad end its last words."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        words = [word.replace("FOLDER", name) for word in part.command]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            # Files and no pipes: what it started may outlive it, and hold them.
            process = subprocess.Popen(
                words, cwd=ROOT, stdout=out, stderr=err, env=os.environ | dict(part.variables), start_new_session=True
            )
            try:
                status = _status(process.wait(timeout=seconds))
            except subprocess.TimeoutExpired:
                status = LATE
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output, said = ((folder / stream).read_text(errors="replace") for stream in ("out", "err"))
        found = {"status": status, "seconds": time.monotonic() - began, "limit_seconds": seconds}
        try:
            found |= part.reads(folder, output)
        except Exception as error:  # whatever a part that was ended left half-written
            found |= {"status": FAILED if status == OK else status, "unreadable": repr(error)}
    if found["status"] != OK:
        found["said"] = (output + said).strip().splitlines()[-15:]
    return found


def _status(code: int) -> str:
    if code < 0:
        return f"aborted by {signal.Signals(-code).name}"
    return OK if code == 0 else f"{FAILED}, exit code {code}"


def check(todo: list[Part], clock: Clock, save: Callable[[dict], None] = lambda report: None) -> dict:
    """Runs one part after another; returns the report.

    A part has the time that those after it are not sure of, but at most MOST times its own.

    Args:
      save: receives the report after each part.
    """
    report: dict = {"accelerator": False, "environment": None, "parts": {}, "measurements": []}
    for number, part in enumerate(todo):
        later = sum(one.seconds for one in todo[number + 1 :])
        seconds = max(part.seconds, clock.left() - later)
        if part.seconds:
            seconds = min(seconds, MOST * part.seconds)
        if not part.seconds and seconds < LEAST:
            report["parts"][part.name] = {"status": SKIPPED, "seconds": 0.0, "limit_seconds": max(0.0, seconds)}
            continue
        found = ran(part, seconds)
        environment = found.pop("environment", None)
        if environment:
            report["environment"] = environment
            report["accelerator"] = environment["device"]["platform"] != "cpu"
        # Every process measures the peak; the first one's is as good as any.
        there = {row["name"] for row in report["measurements"]} & {"matmul peak"}
        report["measurements"] += [row for row in found.pop("measurements", []) if row["name"] not in there]
        report["parts"][part.name] = found
        log.info("accelerator-check: %s: %s, %.0f s", part.name, found["status"], found["seconds"])
        save(report)
    return report


def failures(report: dict, todo: list[Part]) -> list[str]:
    """Returns the names of the parts that make the check fail."""
    sure = {part.name for part in todo if part.seconds}
    late = {LATE} if report["accelerator"] else set()
    return [
        name for name, part in report["parts"].items()
        if part["status"] not in (OK, LATE, SKIPPED) or (name in sure and part["status"] in late)
    ]  # fmt: skip


def main() -> int:
    """Runs all parts, writes the JSON and prints a summary; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="for all parts")
    parser.add_argument(
        "--config", metavar="FILE", help="what to run and measure, overrides after it; else as built in"
    )
    parser.add_argument(
        "--tests", default="tests", metavar="FILE", help="where the tests against reference vectors are"
    )
    a, overrides = parser.parse_known_args()
    start_logging()
    clock, began = Clock(a.budget), time.monotonic()
    todo = parts([a.config, *overrides] if a.config else [], a.tests, a.budget)

    def save(report: dict) -> None:
        results.write_json(a.out, {"command": command(), **report, "seconds": time.monotonic() - began})

    try:
        with Interruption().listening():
            report = check(todo, clock, save)
    except Interrupted as interrupted:
        print(f"interrupted; {a.out} has the parts until then")
        return interrupted.exit_code
    save(report)
    if not report["accelerator"]:
        log.warning("there is no accelerator here: the check ran on the CPU")
    kind = report["environment"]["device"]["kind"] if report["environment"] else "a device that does not answer"
    print(f"{kind}: {report['parts']['parity'].get('tests', 0)} tests, {time.monotonic() - began:.0f} s")
    for status in (LATE, SKIPPED):
        if names := [name for name, part in report["parts"].items() if part["status"] == status]:
            print(f"{status}: {', '.join(names)}")
    if bad := failures(report, todo):
        print(f"failed: {', '.join(bad)}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
