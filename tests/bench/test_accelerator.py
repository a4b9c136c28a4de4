"""The check of an accelerator: what it makes of a part that fails or does not end, without running the parts."""

import sys

from fer_jax.bench import accelerator


def test_a_part_that_fails_keeps_its_last_words():
    said = accelerator.ran(
        [sys.executable, "-c", "print('so far'); raise SystemExit('it broke')"], accelerator.Clock(60)
    )
    told = accelerator._without_output(said)
    assert (told["ok"], told["ended"]) == (False, "exit code 1")
    assert told["said"] == ["so far", "it broke"]


def test_a_part_that_does_not_end_is_out_of_time():
    command = [sys.executable, "-c", "import time; print('line', flush=True); time.sleep(60)"]
    found = accelerator.ran(command, accelerator.Clock(3))
    assert (found["ended"], found["ok"]) == (accelerator.KILLED, False)
    assert found["seconds"] < 30
    # What it had measured by then is not lost.
    assert found["output"] == "line\n"


def test_a_bench_that_there_is_no_time_for_is_named():
    found = accelerator.bench(accelerator.Clock(10), ("step",))
    assert found["parts"]["step"]["ended"] == accelerator.KILLED
    assert found["measurements"] == []


def test_failed_tests_are_named(tmp_path):
    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.a" name="fine"/>'
        '<testcase classname="tests.b" name="bad"><failure message="no"/></testcase></testsuite></testsuites>'
    )
    assert accelerator._cases(report) == {"tests": 2, "failed": ["tests.b::bad"]}
    assert accelerator._cases(tmp_path / "none.xml") == {"tests": 0, "failed": []}
