"""The check of an accelerator: no part loses another one's results, however it ends; on the CPU, at toy size."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fer_jax.bench import accelerator
from fer_jax.bench.accelerator import LATE, OK, SKIPPED, Part, check
from fer_jax.bench.timing import Clock
from tests.support.pictures import tiny_file
from tests.support.processes import gone

ROOT = pathlib.Path(__file__).parents[2]


class SetClock(Clock):
    """A clock that stands."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def left(self) -> float:
        return self.seconds


def program(name: str, text: str, seconds: float = 30.0, reads=accelerator._lines) -> Part:
    return Part(name, [sys.executable, "-c", text], seconds, reads)


HANGS = program(
    "hangs",
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    """print('{"name": "so far", "child": %d}' % child.pid, flush=True)\n"""
    "time.sleep(600)",
    3.0,
)
ABORTS = program("aborts", """import os; print('{"name": "before"}', flush=True); os.abort()""")
GOOD = program("good", """print('{"name": "all"}')""")


def test_a_hang_and_an_abort_lose_only_themselves():
    saved = []
    report = check([HANGS, ABORTS, GOOD], Clock(63), lambda report: saved.append(json.loads(json.dumps(report))))
    told = {name: part["status"] for name, part in report["parts"].items()}
    assert told == {"hangs": LATE, "aborts": "aborted by SIGABRT", "good": OK}
    # What both had measured by then is there, and was saved after each part.
    assert [row["name"] for row in report["measurements"]] == ["so far", "before", "all"]
    assert [len(one["parts"]) for one in saved] == [1, 2, 3]
    assert report["parts"]["hangs"]["seconds"] < 20
    assert gone(report["measurements"][0]["child"]), "what a part started ends with it"
    assert accelerator.failures(report, [HANGS, ABORTS, GOOD]) == ["aborts"]
    assert accelerator.failures({**report, "accelerator": True}, [HANGS, ABORTS, GOOD]) == ["hangs", "aborts"]


def test_a_part_that_fails_keeps_its_last_words():
    found = accelerator.ran(program("bad", "print('so far'); raise SystemExit('it broke')"), 60)
    assert (found["status"], found["said"]) == ("failed, exit code 1", ["so far", "it broke"])


def test_time_that_a_part_leaves_is_for_those_after_it():
    parts = [GOOD._replace(name=name, seconds=seconds) for name, seconds in (("a", 40.0), ("b", 30.0), ("c", 0.0))]
    report = check(parts, SetClock(70))
    # b may have twice its own, c what no part is sure of.
    assert [part["limit_seconds"] for part in report["parts"].values()] == [40, 60, 70]
    assert {part["status"] for part in report["parts"].values()} == {OK}


def test_a_measurement_that_there_is_no_time_for_is_named():
    report = check([GOOD, GOOD._replace(name="rest", seconds=0.0)], Clock(1))
    assert [part["status"] for part in report["parts"].values()] == [OK, SKIPPED]
    assert accelerator.failures(report, [GOOD]) == []


def test_the_peak_is_there_once():
    peak = """print('{"name": "matmul peak"}'); print('{"name": "%s"}'); print('{"name": "cut sho')"""
    report = check([program("a", peak % "a"), program("b", peak % "b")], Clock(60))
    assert [row["name"] for row in report["measurements"]] == ["matmul peak", "a", "b"]


def test_every_part_has_its_time_within_eight_minutes():
    todo = accelerator.parts([], "tests", accelerator.BUDGET)
    assert sum(part.seconds for part in todo) <= accelerator.BUDGET <= 480
    assert [part.name for part in todo[:4]] == ["device", "parity", "run", "rehearsal"]
    assert {part.name for part in todo} > {"epoch", "runs", "step", "scaling"}


def test_failed_tests_are_named(tmp_path):
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="fine"/>'
        '<testcase classname="tests.b" name="bad"><failure message="no"/></testcase></testsuite></testsuites>'
    )
    assert accelerator._cases(tmp_path, "") == {"tests": 2, "failed": ["tests.b::bad"]}
    assert accelerator._cases(tmp_path / "none", "") == {"tests": 0, "failed": []}


@pytest.mark.slow
def test_an_interruption_leaves_what_was_found(tmp_path):
    out = tmp_path / "check.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "fer_jax.bench.accelerator", "--out", str(out), "--tests", "tests/test_protocol.py"],
        cwd=ROOT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not out.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    found = json.loads(out.read_text())
    assert found["parts"]["device"]["status"] in (OK, LATE)
    if found["environment"]:
        assert found["environment"]["cores"] == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_the_whole_sequence_on_this_machine(tmp_path):
    """As `make accelerator-check` runs it, on a small network; one part among them hangs, and one aborts."""
    todo = accelerator.parts([str(tiny_file(tmp_path))], "tests/test_protocol.py", 300)
    # Only what hangs is to run out of time here, whatever the machine.
    todo = [part._replace(seconds=900.0) for part in todo if part.name not in accelerator.REST]
    report = check([*todo[:2], HANGS, ABORTS, *todo[2:]], Clock(903 * len(todo)))
    parts = report["parts"]
    bad = {name: part for name, part in parts.items() if part["status"] != OK}
    assert {name: part["status"] for name, part in bad.items()} == {"hangs": LATE, "aborts": "aborted by SIGABRT"}, bad
    assert report["environment"]["device"]["platform"] in ("cpu", "gpu", "tpu")
    assert parts["parity"]["tests"] >= 2
    assert parts["parity"]["failed"] == []
    assert parts["run"]["methods"] == ["finetune", "finetune_blind", "joint", "kd_psmr"]
    assert parts["run"]["few_shot_rows"] > 0
    names = [row["name"] for row in report["measurements"]]
    assert {"rehearsal", "epoch", "runs", "step"} <= set(names)
    forms = [row for row in report["measurements"] if row["name"] == "rehearsal"]
    assert all(row["total_seconds"]["estimate"] > 0 for row in forms)
    assert accelerator.failures(report, todo) == ["aborts"]
