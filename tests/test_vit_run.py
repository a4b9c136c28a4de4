"""configs/vit.py from rendered faces to maps: its methods and phases on a transformer of two blocks."""

import json
import os
import pathlib
import runpy
import subprocess
import sys
import time

import pytest

from fer_jax.cli import main
from tests.support import clock

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "vit.py"
SMALL = {
    "data.n_subjects": 12,
    "model.depth": 2,
    "model.width": 64,
    "basic.head.max_epochs": 1,
    "continual.max_epochs": 1,
    "joint.max_epochs": 1,
    "protocol.classes_per_increment": 5,
}


@pytest.mark.slow
def test_every_classifier_on_a_frozen_transformer(tmp_path, capsys):
    workdir, config = tmp_path / "run", runpy.run_path(str(CONFIG))["get_config"]()
    changes = [f"--config.{key}={value}" for key, value in SMALL.items()]
    assert main.main(["train", "--config", str(CONFIG), "--workdir", str(workdir), *changes]) == 0, capsys.readouterr()
    found = json.loads((workdir / "results.json").read_text())
    assert {name.split(" (")[0] for name in found["continual"]} >= set(config.methods)
    assert found["basic"][0]["weights_sha256"] is None
    for entry in found["continual"].values():
        (run,) = entry["runs"]
        assert len(run["accuracy_matrix"]) == 4
    out = tmp_path / "maps"
    assert main.main(["explain", "--workdir", str(workdir), "--out", str(out)]) == 0
    explained = json.loads((out / "explain.json").read_text())
    assert (explained["layer"], explained["map_size"]) == ("block2", [8, 8])
    assert main.main(["explain", "--workdir", str(workdir), "--out", str(out), "--layer", "pool"]) == 2
    assert "--layer is 'pool'; it may be one of input, block1, block2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.alone
def test_the_config_as_it_stands_takes_five_minutes_on_two_cores(tmp_path):
    """By the clock, in a process of its own, with faces to render and programs to compile."""
    command = [sys.executable, "-m", "fer_jax", "train", "--config", CONFIG, "--workdir", tmp_path / "run"]
    as_users = {"TFDS_DATA_DIR": str(tmp_path / "data"), "XLA_FLAGS": ""}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--no-compilation-cache"], env=os.environ | as_users, capture_output=True, text=True
    )
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    print(f"configs/vit.py took {took:.0f} s on {len(os.sched_getaffinity(0))} cores")
    assert (tmp_path / "run" / "results.json").exists()
    assert took <= 300 * clock.slowness()
