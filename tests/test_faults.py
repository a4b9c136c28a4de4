"""Bad days, end to end on the smallest run: what is said, that it ends, and that nothing is lost."""

import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest

from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.errors import DeviceMemoryError, UserError
from fer_jax.runs import processes
from fer_jax.runs.checkpoints import CheckpointError, Saving
from fer_jax.training import epoch as training
from studies import chaos
from tests.support.file_systems import file_system, remount

ROOT = pathlib.Path(__file__).parents[1]
SMOKE = str(chaos.SMOKE)


def start(workdir, log, *overrides: str) -> subprocess.Popen:
    """The command itself, with every epoch saved."""
    command = [sys.executable, "-m", "fer_jax.cli.main", "train", "--config", SMOKE, "--workdir", str(workdir)]
    return subprocess.Popen(
        [*command, "--save-every", "0", *overrides], stderr=log.open("w"), stdout=subprocess.DEVNULL
    )


def wait_for(log, text: str, seconds: float = 120) -> None:
    """Until the run has said so."""
    deadline = time.monotonic() + seconds
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"{text!r} was not said in {seconds} s: {log.read_text()[-500:]}"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_ends_a_run_with_a_line_that_says_how_to_go_on(tiny_config, tiny_data, tmp_path):
    log = tmp_path / "log.txt"
    with start(tmp_path / "run", log, f"--config.data.dir={tiny_config.data.dir}") as process:
        wait_for(log, "basic fold 0, head")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert log.read_text().splitlines()[-1].startswith("fer-jax: interrupted by SIGTERM; everything is saved")


@pytest.mark.slow
def test_signals_end_a_run_with_everything_saved(tiny_run, tiny_config, tmp_path):
    workdir, log, data = tmp_path / "run", tmp_path / "log.txt", f"--config.data.dir={tiny_config.data.dir}"
    for number, code, moment in ((signal.SIGTERM, 143, "basic fold 0, head"), (signal.SIGINT, 130, "kd_psmr")):
        with start(workdir, log, data) as process:
            wait_for(log, moment)
            process.send_signal(number)
            assert process.wait(60) == code
        told = log.read_text().splitlines()
        assert told[-1] == f"fer-jax: interrupted by {number.name}; everything is saved, the same command goes on"
        assert not any("Traceback" in line for line in told)
        assert not (workdir / "results.json").exists()
    with start(workdir, log, data) as process:
        assert process.wait(120) == 0
    assert "going on in" in log.read_text()
    assert chaos.same(workdir, tiny_run)


@pytest.mark.slow
def test_a_full_disk_is_told_and_costs_no_finished_step(tiny_run, tiny_config, tmp_path):
    with file_system(tmp_path / "disk", "size=1500k") as disk:
        with pytest.raises((CheckpointError, OSError), match="No space left on device"):
            experiment.train(tiny_config, disk / "run", saving=Saving(0.0))
        assert list((disk / "run" / "checkpoints").iterdir())
        remount(disk, "size=64m")
        experiment.train(tiny_config, disk / "run", saving=Saving(0.0))
        assert chaos.same(disk / "run", tiny_run)


def test_a_read_only_workdir_is_one_line_and_stays_as_it_is(tiny_run, tiny_config, tmp_path, capsys):
    with file_system(tmp_path / "disk", "size=64m") as disk:
        shutil.copytree(tiny_run, disk / "run")
        before = {p: p.stat().st_mtime_ns for p in disk.rglob("*")}
        remount(disk, "ro")
        for workdir in ("run", "new"):
            code = main.main(
                [
                    "train",
                    "--config",
                    SMOKE,
                    "--workdir",
                    str(disk / workdir),
                    f"--config.data.dir={tiny_config.data.dir}",
                ]
            )
            told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fer-jax: ")]
            assert code == 2
            assert len(told) == 1
            assert "Read-only file system" in told[0] or "cannot be written to" in told[0]
        assert {p: p.stat().st_mtime_ns for p in disk.rglob("*")} == before


def failing(after: int, error: Exception):
    """`run_epoch` that raises after so many epochs."""
    run_epoch, calls = training.run_epoch, [0]

    def run(*arguments, **named):
        calls[0] += 1
        if calls[0] > after:
            raise error
        return run_epoch(*arguments, **named)

    return run


@pytest.mark.slow
def test_a_device_out_of_memory_names_the_setting_to_lower(tiny_config, tmp_path, monkeypatch):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")
    with monkeypatch.context() as patch:
        patch.setattr(training, "run_epoch", failing(9, error))
        with pytest.raises(
            DeviceMemoryError, match=r"continual kd_psmr .*lower config\.continual\.batch_size or"
        ) as told:
            experiment.train(tiny_config, tmp_path / "run", saving=Saving(0.0))
    assert "\n" not in str(told.value)


def test_images_that_do_not_fit_the_device_are_told(tiny_config, tiny_data, tmp_path, monkeypatch):
    def full(config, data):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")

    monkeypatch.setattr(experiment, "_placed", full)
    with pytest.raises(DeviceMemoryError, match=r"^placing the images: .*; take config\.data\.residency=host") as told:
        experiment.train(tiny_config, tmp_path / "run")
    assert "\n" not in str(told.value)


def test_what_to_lower_where_class_orders_are_trained_side_by_side(tiny_config):
    config = tiny_config.copy_and_resolve_references()
    config.continual.side_by_side = 2
    unit = "continual er fold 0 orders 0, 1, increment 0"
    assert experiment._lower(config, unit).startswith("lower config.continual.side_by_side, config.continual.batch_")
    assert "side_by_side" not in experiment._lower(tiny_config, unit)
    assert "side_by_side" not in experiment._lower(config, "basic fold 0, head")


def test_one_process_of_several_says_why_it_ends(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(os, "_exit", sys.exit)
    for error in (DeviceMemoryError("lower this\nand more"), OSError("no disk"), FloatingPointError("not finite")):
        with pytest.raises(SystemExit), processes.ending_together():
            raise error
        assert capsys.readouterr().err == f"fer-jax: {str(error).splitlines()[0]}\n"
    with pytest.raises(SystemExit), processes.ending_together():
        raise KeyError("a mistake of ours")
    assert "Traceback" in capsys.readouterr().err


def test_another_error_of_the_device_is_not_taken_for_memory(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "run_epoch", failing(0, jax.errors.JaxRuntimeError("INTERNAL: broken")))
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        experiment.train(tiny_config, tmp_path / "run")


INFINITE = """
import jax.numpy as jnp
from fer_jax import losses

def loss(outputs, context):
    # From the second increment on; six classes are basic.
    bad = (context.class_mask.sum() > 7) & (outputs.labels >= 6)
    return jnp.where(bad, jnp.inf, losses.cross_entropy(outputs.logits, outputs.labels, context.class_mask))
"""


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(tiny_config, tmp_path, capsys, monkeypatch):
    """The loss of pictures of the compound classes is infinite in the second increment: the first one stays."""
    workdir = tmp_path / "run"
    (tmp_path / "infinite_loss.py").write_text(INFINITE)
    monkeypatch.chdir(tmp_path)
    code = main.main(
        ["train", "--config", str(ROOT / SMOKE), "--workdir", str(workdir), f"--config.data.dir={tiny_config.data.dir}",
         "--config.continual.loss=infinite_loss.loss", "--config.methods=('kd_psmr',)",
         "--config.protocol.n_orders=1"]
    )  # fmt: skip
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fer-jax: ")]
    assert code == 1, told
    assert len(told) == 1
    assert re.search(
        r"continual kd_psmr fold 0 order 0, increment 1 .*epoch 1\b.*step 0 of \d+, on images \[\d", told[0]
    )
    assert "is kept in" in told[0]
    cell = workdir / "checkpoints" / "fold0" / "kd_psmr" / "order0"
    assert [path.name for path in cell.iterdir() if path.name.isdigit()] == ["0"]


def test_a_run_asks_for_no_network(tiny_run, connections):
    """The run that many tests share prepared its data, trained and wrote its report without an address to go to."""
    assert not connections.exists(), connections.read_text()


@pytest.mark.slow
def test_the_clock_may_jump(tiny_run, tiny_config, tmp_path, monkeypatch):
    now, run_epoch = time.time, training.run_epoch
    offset, jumps = [0.0], itertools.cycle([-7200.0, 240.0, 120.0])

    def jumping(*arguments, **named):
        offset[0] += next(jumps)
        return run_epoch(*arguments, **named)

    monkeypatch.setattr(time, "time", lambda: now() + offset[0])
    monkeypatch.setattr(training, "run_epoch", jumping)
    experiment.train(tiny_config, tmp_path / "run", saving=Saving(0.5))
    assert offset[0] < -7200
    monkeypatch.undo()
    assert chaos.same(tmp_path / "run", tiny_run)


@pytest.mark.slow
def test_two_runs_in_one_workdir(tiny_run, tiny_config, tmp_path, monkeypatch):
    """While one trains, the second is refused; the first ends undisturbed."""
    workdir, run_epoch, refused = tmp_path / "run", training.run_epoch, []

    def intruding(*arguments, **named):
        if not refused:
            with pytest.raises(UserError, match="is in use by another run"):
                experiment.train(tiny_config, workdir)
            refused.append(True)
        return run_epoch(*arguments, **named)

    monkeypatch.setattr(training, "run_epoch", intruding)
    experiment.train(tiny_config, workdir)
    assert refused
    assert chaos.same(workdir, tiny_run)
