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

from fer_jax import chaos, main

SMALL = ("--config.methods=('kd_psmr',)", "--config.protocol.n_orders=1", "--config.few_shot.shots=(1,)")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start(workdir, folder, data: str, processes: int, devices: int, *more: str) -> list[subprocess.Popen]:
    """The command as so many processes of so many virtual devices each; logs in `folder`."""
    command = [sys.executable, "-m", "fer_jax.main", "train", "--config", str(chaos.SMOKE), "--workdir", str(workdir)]
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


def close(a, b) -> None:
    """Equal decisions and accuracies, losses and parameters within rounding."""
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
    ours, theirs = chaos.arrays(a), chaos.arrays(b)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        if name.endswith("['memory'].index") or ".index" in name:
            np.testing.assert_array_equal(array, theirs[name])


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
def test_processes_gather_their_own_shares_of_images_on_the_host(single, tiny_config, tmp_path):
    processes = start(tmp_path / "run", tmp_path, tiny_config.data.dir, 2, 2, "--config.data.residency=host")
    assert ended(processes, 400) == [0, 0]
    assert "stay on the host and are streamed" in (tmp_path / "log0.txt").read_text()
    close(tmp_path / "run", single)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "victim"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 1), (signal.SIGKILL, 0)])
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
        (["--distributed", "--heartbeat", "1"], "--heartbeat is 1; it may be a number of seconds from 5"),
        (["--distributed"], "--distributed: the other processes were not found"),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_line(capsys, tmp_path, flags, said):
    code = main.main(["train", "--config", str(chaos.SMOKE), "--workdir", str(tmp_path / "run"), *flags])
    told = capsys.readouterr().err.splitlines()
    assert (code, len(told)) == (2, 1)
    assert said in told[0]
    assert not (tmp_path / "run").exists()
