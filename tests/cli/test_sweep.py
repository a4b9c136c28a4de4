"""The command end to end: lists, runs and submits exactly what is not finished; mistakes are one line."""

import json
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.config.file import read_config
from fer_jax.errors import DeviceMemoryError
from fer_jax.interface.experiments import finish as finish_cell
from fer_jax.runs.workdir import locked
from fer_jax.sweeps import cells, runner
from fer_jax.sweeps.axes import Sweep, read_axes
from studies.chaos import SMOKE, without_times
from tests.support.documented import SMALLEST

OVER = ["--over", "method=finetune,kd_psmr", "--over", "order=1,0"]
NAMES = ["finetune-order1", "finetune-order0", "kd_psmr-order1", "kd_psmr-order0"]


def sweep(workdir: pathlib.Path, *arguments: str, over=tuple(OVER)) -> list[str]:
    return ["sweep", "--config", str(SMOKE), "--workdir", str(workdir), *over, *arguments]


def of(over: list[str], *overrides: str) -> Sweep:
    """The sweep that the command makes of these arguments."""
    config = read_config([f"--config={SMOKE}", *overrides])
    return Sweep(config, tuple(read_axes(over[1::2], config)))


def listed(capsys, workdir: pathlib.Path) -> list[list[str]]:
    assert main.main(sweep(workdir, "--list")) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def finish(workdir: pathlib.Path, name: str) -> None:
    folder = cells.folder(workdir, name)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(SMALLEST))


def test_cells_are_listed_and_submitted_by_how_far_they_came(capsys, tmp_path):
    workdir = tmp_path / "swept"
    assert listed(capsys, workdir) == [[str(i), name, "missing"] for i, name in enumerate(NAMES)]
    assert not workdir.exists()
    workdir.mkdir()
    cells.claim(workdir, of(OVER), write=True)
    finish(workdir, NAMES[1])
    cells.fail(workdir, NAMES[2], "the device is out of memory")
    states = ["missing", "finished", "failed: the device is out of memory", "missing"]
    assert [row[2] for row in listed(capsys, workdir)] == states
    assert main.main(sweep(workdir, "--emit", "slurm", "--jobs", "2", "--few-shot")) == 2
    assert "few_shot.shots [] there, [1, 0] here" in capsys.readouterr().err
    asked = ("--save-every", "30", "--tracker", "mine.T", "--stall", "60")
    assert main.main(sweep(workdir, "--emit", "slurm", "--jobs", "2", *asked)) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["sbatch", "--array=0,2-3%2", "launch/slurm/sweep.sbatch"]
    # What the script hands on is this very sweep.
    assert main.main(["sweep", *words[3:], "--list"]) == 0
    assert words[3:] == [
        "--config",
        str(SMOKE),
        "--workdir",
        str(workdir),
        *OVER,
        "--tracker",
        "mine.T",
        "--save-every",
        "30",
        "--stall",
        "60",
    ]
    for name in (NAMES[0], NAMES[2], NAMES[3]):
        (cells.folder(workdir, name)).mkdir(exist_ok=True)
        (cells.folder(workdir, name) / "results.json").write_text(json.dumps(SMALLEST))
    capsys.readouterr()
    assert main.main(sweep(workdir, "--emit", "slurm")) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "every cell is finished" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cell", "4"], "--cell is 4; it may be 0 to 3"),
        (["--cell", "-1"], "--cell is -1; it may be 0 to 3"),
        (["--over", "order=0"], "--over order is there twice"),
        (["--over", "sed=0"], "--over sed does not exist; did you mean seed?"),
        (["--config.sed=0"], "config.sed does not exist"),
        (["--config.protocol.orders=(0,)"], "--over order: --config.protocol.orders sets the same key"),
        (["--list", "--distributed"], "several processes go with --cell"),
        (["more"], "more is not an argument of sweep"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(capsys, tmp_path, arguments, said):
    assert main.main(sweep(tmp_path / "swept", *arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fer-jax: ")
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_flags_that_do_not_go_together_are_told(capsys, tmp_path):
    for arguments in (["--list", "--cell", "0"], ["--jobs", "0"], ["--emit", "cron"]):
        with pytest.raises(SystemExit) as stop:
            main.main(sweep(tmp_path, *arguments))
        assert stop.value.code == 2
    with pytest.raises(SystemExit):
        main.main(["sweep", "--config", str(SMOKE), "--workdir", str(tmp_path)])
    assert "--over" in capsys.readouterr().err


def test_one_cell_is_run_once_and_its_failure_is_told(capsys, tmp_path, monkeypatch):
    workdir, orders = tmp_path / "swept", []

    def train(config, folder, console, saving, shared, then, tracker):
        orders.append((config.methods, config.protocol.orders))
        assert folder == cells.folder(workdir, NAMES[3])
        assert shared == workdir / "base"
        assert then is finish_cell
        if len(orders) == 1:
            raise DeviceMemoryError("the device is out of memory; lower config.continual.batch_size")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(SMALLEST))

    monkeypatch.setattr(experiment, "train", train)
    assert main.main(sweep(workdir, "--cell", "3")) == 1
    assert "out of memory" in capsys.readouterr().err
    assert listed(capsys, workdir)[3][2].startswith("failed: DeviceMemoryError: the device is out of memory")
    assert main.main(sweep(workdir, "--cell", "3")) == 0
    assert "kd_psmr-order0: results: " in capsys.readouterr().out
    assert main.main(sweep(workdir, "--cell", "3")) == 0
    assert "cell 3 kd_psmr-order0: finished already" in capsys.readouterr().out
    assert orders == [(("kd_psmr",), (0,))] * 2


@pytest.mark.slow
def test_a_sweep_runs_here_and_ends_with_one_report(capsys, tiny_run, tiny_config, tmp_path, monkeypatch):
    workdir = tmp_path / "swept"
    over = ["--over", "method=finetune", "--over", "order=1,0"]
    command = sweep(workdir, "--jobs", "2", f"--config.data.dir={tiny_config.data.dir}", over=over)
    cells.claim(workdir, of(over, f"--config.data.dir={tiny_config.data.dir}"), write=True)
    # The second cell cannot work at first.
    broken = cells.folder(workdir, "finetune-order0") / "config.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("[]")
    assert main.main(command) == 1
    said = capsys.readouterr()
    assert "fer-jax: 1 of 2 cells are not finished:\n  finetune-order0: " in said.err
    assert "config.json is not what fer-jax train wrote there" in said.err
    assert "merged:  1 of 2 runs" in said.out
    broken.unlink()
    assert main.main(command) == 0
    assert "merged:  2 of 2 runs" in capsys.readouterr().out
    found, whole = (json.loads((folder / "results.json").read_text()) for folder in (workdir, tiny_run))
    for run in found["continual"]["finetune"]["runs"]:
        assert run.pop("seed") == 0
    ours, theirs = (without_times(one["continual"]["finetune"]["runs"]) for one in (found, whole))
    assert ours == theirs
    assert (workdir / "report" / "index.html").exists()
    # One trained the base model, the other has it from there: the same training, to the second.
    times = {row["seconds"] for name in ("finetune-order0", "finetune-order1")
             for row in json.loads((cells.folder(workdir, name) / "results.json").read_text())["basic"]}  # fmt: skip
    assert len(times) == 1
    assert len(list((workdir / "base").glob("*/checkpoints/fold0/basic"))) == 1
    assert "results: " in cells.log_file(workdir, "finetune-order1").read_text()
    # Nothing is left to do, and no process is started for it.
    monkeypatch.setattr(runner.subprocess, "Popen", lambda *a, **k: pytest.fail("started"))
    assert main.main(command) == 0


@pytest.mark.slow
def test_a_signal_reaches_the_cells_and_the_sweep_goes_on_from_there(tiny_run, tiny_config, tmp_path):
    workdir, log = tmp_path / "swept", tmp_path / "log.txt"
    over = ["--over", "method=finetune", "--over", "order=1,0"]
    data = f"--config.data.dir={tiny_config.data.dir}"
    command = [sys.executable, "-m", "fer_jax.cli.main", *sweep(workdir, data, "--save-every", "0", over=over)]
    cell = cells.log_file(workdir, "finetune-order1")
    with log.open("w") as file, subprocess.Popen(command, stderr=file, stdout=file) as process:
        deadline = time.monotonic() + 120
        while not cell.exists() or "basic fold 0, head" not in cell.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert "interrupted by SIGTERM; everything is saved, the same command goes on" in log.read_text()
    assert "interrupted by SIGTERM; everything is saved" in cell.read_text()
    # The one that ran holds nothing any more; the other was not begun.
    with locked(cells.folder(workdir, "finetune-order1")):
        pass
    assert [cells.state(workdir, f"finetune-order{order}").word for order in (1, 0)] == ["begun", "missing"]
    with log.open("a") as file:
        assert subprocess.run([*command, "--cell", "0"], stderr=file, stdout=file).returncode == 0
    # What the first attempt finished is not trained again.
    said = log.read_text()
    assert "going on in" in said
    assert "basic fold 0, body: epoch" in said
    assert "basic fold 0, head: epoch" not in said
    found, whole = (
        without_times(json.loads((folder / "results.json").read_text()))
        for folder in (cells.folder(workdir, "finetune-order1"), tiny_run)
    )
    assert found["basic"] == whole["basic"]
    assert found["continual"]["finetune"]["runs"] == whole["continual"]["finetune"]["runs"][1:]
