"""Several processes as one run: equal to one process, and none outlives the others for long."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from fer_jax.cli import main
from fer_jax.report import record
from studies import chaos

# Few epochs: rounding grows some five times in each, until one validation image is named otherwise.
SMALL = (
    "--config.methods=('kd_psmr',)", "--config.protocol.n_orders=1", "--config.few_shot.shots=(1,)",
    "--config.basic.body.max_epochs=2",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start(
    workdir, folder, data: str, processes: int, devices: int, *more: str, program=("-m", "fer_jax.cli.main")
) -> list[subprocess.Popen]:
    """The command as so many processes of so many virtual devices each; logs in `folder`."""
    command = [sys.executable, *program, "train", "--config", str(chaos.SMOKE), "--workdir", str(workdir)]
    command += [*SMALL, f"--config.data.dir={data}", "--save-every", "0", *more]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    port, started = free_port(), []
    for number in range(processes):
        told = ["--coordinator", f"localhost:{port}", "--num-processes", str(processes), "--process-id", str(number)]
        log = (folder / f"log{number}.txt").open("w")
        started.append(
            subprocess.Popen(
                command + (told if processes > 1 else []),
                env={**os.environ, "XLA_FLAGS": flags},
                stderr=log,
                stdout=subprocess.DEVNULL,
            )
        )
    return started


def until(path, text: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()[-2000:]
        time.sleep(0.1)


def ended(processes, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def single(tiny_config, tiny_data, tmp_path_factory):
    """A finished run in one process of four devices."""
    folder = tmp_path_factory.mktemp("single")
    assert ended(start(folder / "run", folder, tiny_config.data.dir, 1, 4), 400) == [0]
    return folder / "run"


def continual_losses(workdir) -> list[float]:
    """Of every epoch of every increment, as the checkpoints hold them."""
    cells = sorted(workdir.glob("checkpoints/fold*/*/order*"))
    return [row["loss"] for cell in cells for step in record.steps(cell) for row in step["history"]]


def close(a, b) -> None:
    """Equal decisions and accuracies; losses and parameters within rounding.

    A gradient that is nothing but rounding is a whole step to Adam, so parameters are further apart than losses.
    """
    first, second = (chaos.without_times(json.loads((w / "results.json").read_text())) for w in (a, b))
    for method, found in first["continual"].items():
        for mine, theirs in zip(found["runs"], second["continual"][method]["runs"], strict=True):
            assert mine["best_epochs"] == theirs["best_epochs"]
            np.testing.assert_allclose(
                np.asarray(mine["accuracy_matrix"], float), np.asarray(theirs["accuracy_matrix"], float), atol=1e-4
            )
    losses = [
        [row["loss"] for stage in f["basic"][0]["stages"].values() for row in stage["history"]] for f in (first, second)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(continual_losses(a), continual_losses(b), rtol=1e-4)
    ours, theirs = chaos.arrays(a), chaos.arrays(b)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        if np.issubdtype(array.dtype, np.integer):
            np.testing.assert_array_equal(array, theirs[name])
        else:
            np.testing.assert_allclose(array, theirs[name], atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_two_processes_of_two_devices_are_one_of_four_through_a_preemption(single, tiny_config, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, tmp_path, tiny_config.data.dir, 2, 2)
    until(tmp_path / "log0.txt", "basic fold 0, head")
    # The notice reaches one process; both end, at the same epoch, and save once.
    processes[1].send_signal(signal.SIGTERM)
    assert ended(processes, 120) == [143, 143]
    assert "everything is saved" in (tmp_path / "log0.txt").read_text()
    assert ended(start(workdir, tmp_path, tiny_config.data.dir, 2, 2), 400) == [0, 0]
    assert "going on in" in (tmp_path / "log0.txt").read_text()
    close(workdir, single)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "residency"), [("pmap", "host"), ("shard_map", "device")])
def test_processes_share_batches_by_either_map(single, tiny_config, tmp_path, by, residency):
    """Also of images on the host, of which each gathers its own shares; pmap with those on the device is above."""
    told = (f"--config.data.residency={residency}", f"--config.devices.spread_by={by}")
    processes = start(tmp_path / "run", tmp_path, tiny_config.data.dir, 2, 2, *told)
    assert ended(processes, 400) == [0, 0]
    assert ("stay on the host and are streamed" in (tmp_path / "log0.txt").read_text()) == (residency == "host")
    close(tmp_path / "run", single)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "victim"), [(signal.SIGKILL, 0), (signal.SIGSTOP, 1)])
def test_a_dead_or_hanging_process_ends_the_others_in_time(tiny_config, tiny_data, tmp_path, number, victim):
    processes = start(tmp_path / "run", tmp_path, tiny_config.data.dir, 2, 1, "--heartbeat", "10")
    until(tmp_path / "log0.txt", "basic fold 0, head")
    processes[victim].send_signal(number)
    began = time.monotonic()
    survivor = processes[1 - victim]
    try:
        assert survivor.wait(90) != 0
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
    assert time.monotonic() - began < 60


# The command, where one thing goes wrong in one of the processes.
WRONG = """
import sys
from fer_jax.cli import main
from fer_jax.runs import checkpoints
from fer_jax.training import epoch as training

def stuck(*arguments, **named):
    import time
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(600)

def full(*arguments, **named):
    raise OSError(28, "No space left on device")

def late(*arguments, **named):
    import time
    time.sleep(25)
    written(*arguments, **named)

what, number = sys.argv.pop(1), sys.argv[sys.argv.index("--process-id") + 1]
if what == f"stuck{number}":
    training.run_epoch = stuck
if what == f"full{number}":
    checkpoints.Checkpoints._opened = full
if what == f"late{number}":
    from fer_jax.report import page
    written, page.write = page.write, late
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture
def wrong(tmp_path):
    """Starts two processes in which something goes wrong."""
    program = tmp_path / "wrong.py"
    program.write_text(WRONG)
    return lambda data, what, *more: start(tmp_path / "run", tmp_path, data, 2, 1, *more, program=[str(program), what])


@pytest.mark.slow
def test_a_process_that_is_stuck_while_its_heartbeats_go_on_ends_all(wrong, tiny_config, tiny_data, tmp_path):
    processes = wrong(tiny_config.data.dir, "stuck1", "--stall", "45")
    until(tmp_path / "log1.txt", "stuck")
    codes = ended(processes, 120)
    assert 75 in codes
    assert 0 not in codes
    logs = [(tmp_path / f"log{i}.txt").read_text() for i in range(2)]
    assert any("fer-jax: no epoch was finished in 45 s (--stall): ended" in log for log in logs)


@pytest.mark.slow
def test_the_others_wait_for_the_first_ones_report(wrong, tiny_config, tiny_data, tmp_path):
    """JAX's own end gives up after a heartbeat, and then all processes abort."""
    assert ended(wrong(tiny_config.data.dir, "late0", "--heartbeat", "10"), 240) == [0, 0]
    assert (tmp_path / "run" / "report" / "index.html").is_file()


@pytest.mark.slow
def test_a_mistake_that_only_the_first_process_meets_is_everyones(wrong, tiny_config, tiny_data, tmp_path):
    assert ended(wrong(tiny_config.data.dir, "nothing", "--tracker", "nobody"), 120) == [2, 2]
    first, second = ((tmp_path / f"log{number}.txt").read_text() for number in range(2))
    assert "nobody" in first
    assert "fer-jax: another process of the run cannot go on; its own line says why" in second
    assert "Traceback" not in first + second


@pytest.mark.slow
def test_what_the_first_process_alone_cannot_save_ends_both(wrong, tiny_config, tiny_data, tmp_path):
    codes = ended(wrong(tiny_config.data.dir, "full0", "--heartbeat", "10"), 240)
    told = [line for line in (tmp_path / "log0.txt").read_text().splitlines() if line.startswith("fer-jax: ")]
    assert codes[0] == 75
    assert codes[1] != 0
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert "Traceback" not in (tmp_path / "log0.txt").read_text()


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("localhost", 1),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("nobody.invalid", 1), ("localhost", 0))),
    ],
)
def test_processes_that_are_not_there_are_one_line(tmp_path, where, number):
    there = f"{where}:{free_port()}"
    program = (
        "import sys; from fer_jax.cli import main; from fer_jax.runs import processes; processes.JOIN_SECONDS = 2; "
        "sys.exit(main.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "--config", str(chaos.SMOKE), "--workdir", str(tmp_path / "run"),
         "--coordinator", there, "--num-processes", "2", "--process-id", str(number)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    told = f"fer-jax: --distributed: the other processes were not found at --coordinator {there} in 2 s"
    assert (done.returncode, done.stderr.splitlines()) == (75, [told])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() != 1, reason="compares one device with four")
def test_one_device_and_four_make_the_same_decisions(single, tiny_config, tmp_path):
    assert ended(start(tmp_path / "run", tmp_path, tiny_config.data.dir, 1, 1), 400) == [0]
    close(tmp_path / "run", single)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--coordinator", "localhost:1"], "--coordinator, --num-processes and --process-id go together"),
        (["--coordinator", "x:1", "--num-processes", "2", "--process-id", "2"], "--process-id is 2; it may be 0 to 1"),
        (["--stall", "-1"], "argument --stall: is -1; it may be a number of seconds from 0"),
        (["--wait", "inf"], "argument --wait: is inf; it may be a number of seconds from 0"),
        (["--heartbeat", "1"], "argument --heartbeat: is 1; it may be a number of seconds from 5"),
        (["--distributed"], "--distributed: the other processes were not found"),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_line(capsys, tmp_path, flags, said):
    try:
        code = main.main(["train", "--config", str(chaos.SMOKE), "--workdir", str(tmp_path / "run"), *flags])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err.splitlines()
    assert (code, len(told)) == (2, 1)
    assert said in told[0]
    assert not (tmp_path / "run").exists()
