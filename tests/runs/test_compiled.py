"""Compiled programs that one command leaves for the next."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import pytest

from fer_jax.runs import compiled
from studies import chaos

ROOT = pathlib.Path(__file__).parents[2]
# Runs a command of fer_jax, then prints how many programs it found compiled and how many it compiled.
COUNTED = """
import collections, json, sys
from fer_jax.cli import main
from fer_jax.runs import compiled

compiled.reuse()
import jax  # reads the environment

seen = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **more: seen.update([name.rpartition("/")[2]]))
code = main.main(sys.argv[1:])
print(json.dumps([seen["cache_hits"], seen["cache_misses"]]))
sys.exit(code)
"""


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    """The environment of a user whose cache folder is empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return kept | {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def entries(home: dict[str, str]) -> list[pathlib.Path]:
    return sorted(pathlib.Path(home["XDG_CACHE_HOME"]).rglob("*-cache"))


def train(workdir: pathlib.Path, home: dict[str, str], *flags: str) -> subprocess.CompletedProcess:
    """Learns digits in a process of its own."""
    command = [
        sys.executable, "-m", "fer_jax.cli.main", "train", "--config", f"{ROOT}/configs/digits.py:5x2", "--workdir",
        str(workdir), "--config.methods=('kd_psmr','slda')", "--config.basic.body.max_epochs=2",
        "--config.continual.max_epochs=2", "--config.protocol.orders=(0,)", *flags,
    ]  # fmt: skip
    done = subprocess.run(command, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


class TestReuse:
    def test_names_a_folder_of_the_users(self, tmp_path):
        environment = {"XDG_CACHE_HOME": str(tmp_path)}
        compiled.reuse(environment)
        folder = pathlib.Path(environment[compiled.FOLDER])
        assert folder.is_dir()
        assert folder.parent == tmp_path / "fer_jax"
        assert environment.items() >= compiled.ALL_PROGRAMS.items()

    @pytest.mark.parametrize("asked", [{compiled.FOLDER: "elsewhere"}, {compiled.ENABLED: "false"}])
    def test_what_the_user_says_to_jax_stands(self, tmp_path, asked):
        environment = {"XDG_CACHE_HOME": str(tmp_path), **asked}
        compiled.reuse(environment)
        assert environment == {"XDG_CACHE_HOME": str(tmp_path), **asked}
        assert not list(tmp_path.iterdir())

    def test_nothing_is_kept_where_the_folder_cannot_be_made(self, tmp_path):
        (tmp_path / "fer_jax").write_text("a file")
        environment = {"XDG_CACHE_HOME": str(tmp_path)}
        compiled.reuse(environment)
        assert compiled.FOLDER not in environment

    def test_what_was_used_least_recently_goes_first(self, tmp_path):
        environment = {"XDG_CACHE_HOME": str(tmp_path)}
        compiled.reuse(environment)
        folder = pathlib.Path(environment.pop(compiled.FOLDER))
        for age, name in enumerate(("new", "old", "older", "oldest")):
            (folder / name).write_bytes(bytes(100))
            os.utime(folder / name, (1e9 - age, 1e9 - age))
        os.utime(folder / "oldest", (2e9, 0))  # it was read just now
        (folder / "measured").mkdir()  # as XLA has it on GPUs
        (folder / "measured" / "one").write_bytes(bytes(100))
        os.utime(folder / "measured" / "one", (1e8, 1e8))
        compiled.reuse(environment, most_bytes=250)
        assert {path.name for path in folder.rglob("*")} == {"measured", "new", "oldest"}
        assert compiled.FOLDER in environment


class TestCommands:
    @pytest.mark.slow
    def test_the_second_compiles_nothing(self, tiny_run, home, tmp_path):
        image = ROOT / "docs" / "faces.png"
        command = [sys.executable, "-c", COUNTED, "predict", "--cropped", "--workdir", str(tiny_run), str(image)]
        counts = []
        for _ in range(2):
            done = subprocess.run(command, env=home, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            counts.append(json.loads(done.stdout.splitlines()[-1]))
        (_, compiled_first), (found, compiled_then) = counts
        assert compiled_first > 0
        assert (found, compiled_then) == (compiled_first, 0)

    @pytest.mark.slow
    def test_results_are_those_of_programs_compiled_anew(self, home, tmp_path):
        """Also where two processes fill the folder at once, and where a process was killed as it wrote an entry."""
        train(tmp_path / "anew", home, "--no-compilation-cache")
        assert not entries(home)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(train, tmp_path / name, home) for name in ("one", "other")]:
                done.result()
        assert entries(home)
        for entry in entries(home)[::3]:
            entry.write_bytes(entry.read_bytes()[:100])
        train(tmp_path / "damaged", home)
        for name in ("one", "other", "damaged"):
            assert chaos.same(tmp_path / "anew", tmp_path / name)
