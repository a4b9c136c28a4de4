"""Cells run side by side, fail alone, and end in order when they are told to."""

import json
import os
import pathlib
import signal
import sys
import threading
import time
import types

import pytest

from fer_jax.errors import Interrupted
from fer_jax.sweeps import cells, runner
from tests.support.documented import SMALLEST

# Stands for a cell: does what its name says in the folder that it is given.
CELL = (
    f"""
SMALLEST = {json.dumps(SMALLEST)!r}
"""
    + """
import os, pathlib, signal, sys, time
what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
if what != "mute":
    print("began", what, flush=True)
if what.startswith("good"):
    time.sleep(0.3)
    (folder / "results.json").write_text(SMALLEST)
elif what.startswith("cores"):
    time.sleep(0.3)
    print(*sorted(os.sched_getaffinity(0)), "of", os.environ["NPROC"])
    (folder / "results.json").write_text(SMALLEST)
elif what == "bad":
    (folder / "failed.txt").write_text("the loss is nan\\n")
    sys.exit(1)
elif what == "refused":
    print("fer-jax: in use by another run", file=sys.stderr)
    sys.exit(2)
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "mute":
    sys.exit(3)
elif what.startswith("long"):
    times = []
    def end(number, frame):
        times.append(number)
        if len(times) == 2:
            sys.exit(143)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    (folder / "listening").touch()
    while not times:
        time.sleep(0.02)
    time.sleep(0.3 if what == "long" else 60)
    (folder / "saved").touch()
    sys.exit(128 + times[0])
"""
)


def make(workdir: pathlib.Path, *names: str, jobs: int = 2) -> runner.Runner:
    def command(number: int) -> list[str]:
        return [sys.executable, "-c", CELL, names[number], str(cells.folder(workdir, names[number]))]

    return runner.Runner(types.SimpleNamespace(names=list(names)), workdir, command, jobs)


def test_a_cell_that_fails_stops_no_other_and_says_why(tmp_path):
    names = ("bad", "good0", "killed", "refused", "good1", "mute")
    failed = make(tmp_path, *names).run(list(range(6)))
    assert failed == {"bad": "the loss is nan", "killed": "ended by SIGKILL", "refused": "in use by another run",
                      "mute": "ended with exit code 3"}  # fmt: skip
    states = [cells.state(tmp_path, name).word for name in names]
    assert states == ["failed", "finished", "failed", "missing", "finished", "missing"]
    assert cells.log_file(tmp_path, "good0").read_text() == "began good0\n"
    # Again: what one attempt said is kept beside the next one's.
    assert make(tmp_path, *names).run([0]) == {"bad": "the loss is nan"}
    assert cells.log_file(tmp_path, "bad").read_text() == "began bad\n" * 2


@pytest.fixture
def all_cores():
    """Those of the machine, of which a worker of the tests has a part."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    yield sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, own)


@pytest.mark.skipif(os.cpu_count() < 2, reason="a single core")
def test_each_cell_has_cores_of_its_own_and_the_threads_of_a_whole_run(tmp_path, monkeypatch, all_cores):
    monkeypatch.delenv("NPROC", raising=False)
    names, mine = ("cores0", "cores1", "cores2"), all_cores
    assert make(tmp_path, *names).run([0, 1, 2]) == {}
    found = [cells.log_file(tmp_path, name).read_text().split("\n")[1].split(" of ") for name in names]
    assert {threads for _, threads in found} == {str(len(mine))}
    first, second, third = ([int(core) for core in own.split()] for own, _ in found)
    assert sorted(first + second) == mine
    assert third in (first, second)  # of the cell that ended


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [(1, [[]]), (2, [[0, 1, 2], [5, 7]]), (5, [[0], [1], [2], [5], [7]]), (6, [[]] * 6)],
)
def test_cores_are_shared_out_where_there_is_one_for_each(monkeypatch, jobs, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 2, 1, 0, 5})
    assert runner.shared_out(jobs) == expected
    monkeypatch.delattr(os, "sched_setaffinity")  # as on macOS
    assert runner.shared_out(jobs) == [[]] * jobs


def test_a_cell_finished_elsewhere_meanwhile_is_not_run(tmp_path):
    there = cells.folder(tmp_path, "bad")
    there.mkdir(parents=True)
    (there / "results.json").write_text(json.dumps(SMALLEST))
    assert make(tmp_path, "bad").run([0]) == {}
    assert not cells.log_file(tmp_path, "bad").exists()


def test_as_many_run_at_a_time_as_were_asked_for(tmp_path, monkeypatch):
    most = []
    start = runner.Runner._start

    def spy(self, number, bar):
        start(self, number, bar)
        most.append(len(self._running))

    monkeypatch.setattr(runner.Runner, "_start", spy)
    names = tuple(f"good{i}" for i in range(5))
    assert make(tmp_path, *names, jobs=3).run(list(range(5))) == {}
    assert max(most) == 3
    most.clear()
    names = ("good", "good2")
    make(tmp_path, *names, jobs=1).run([0, 1])
    assert max(most) == 1


def interrupting(workdir: pathlib.Path, name: str, *numbers: int) -> threading.Thread:
    """Signals to this process once the cell listens."""

    def send():
        for number in numbers:
            deadline = time.monotonic() + 20
            while not (cells.folder(workdir, name) / "listening").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_once_and_nothing_new_is_begun(tmp_path, number, code):
    thread = interrupting(tmp_path, "long", number)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="everything is saved") as ended:
        make(tmp_path, "long", "good", jobs=1).run([0, 1])
    thread.join()
    assert ended.value.exit_code == code
    assert (cells.folder(tmp_path, "long") / "saved").exists()
    assert not cells.folder(tmp_path, "good").exists()
    assert signal.getsignal(number) == before


def test_a_second_signal_is_passed_on_too(tmp_path):
    thread = interrupting(tmp_path, "long_hangs", signal.SIGTERM, signal.SIGTERM)
    began = time.monotonic()
    with pytest.raises(Interrupted, match="from the last save"):
        make(tmp_path, "long_hangs").run([0])
    thread.join()
    assert time.monotonic() - began < 30
    assert not (cells.folder(tmp_path, "long_hangs") / "saved").exists()


def test_the_command_of_a_cell_is_this_python_and_its_number():
    words = runner.command(["--config", "c.py"], 4)
    assert words == [sys.executable, "-m", "fer_jax.cli.main", "sweep", "--config", "c.py", "--cell", "4"]
