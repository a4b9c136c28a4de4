"""What `make` would run for each committed result is what that result says it was made with.

Every target that writes to docs/results runs here with programs in the place of python, fer-jax, cp and rm that only
note what they are asked. Nothing is measured.
"""

import argparse
import functools
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

import pytest

from fer_jax import config as configs
from fer_jax.bench import accelerator, measurements
from fer_jax.config.file import read_config
from fer_jax.data.facs_faces import categories
from fer_jax.runs.checkpoints import Saving
from fer_jax.sweeps import axes
from studies import identity_gap, prepare, record, serve, teach, transfer, tuning
from studies.documents import commits
from studies.related import common

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
# Their commands need files or environments that no target makes; studies/README.md and their docstrings say which.
BY_HAND = {"accelerator_forms", "detectors"}
# Committed before results held their command, but for detectors, which has one for each environment.
WITHOUT_COMMAND = {"accelerator", "accelerator_forms", "detectors"}
# Committed before results held their commit. One that is measured again leaves the list.
WITHOUT_COMMIT = {"accelerator", "accelerator_forms"}


class Made(NamedTuple):
    """A committed file: the command that makes it, and the target of the Makefile."""

    command: list[str]
    target: str


def _targets() -> list[str]:
    """The targets whose commands name a file in docs/results."""
    rules = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [name for name, commands in rules if "docs/results" in commands]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Made]:
    """By committed file's name what makes it."""
    folder = tmp_path_factory.mktemp("make")
    venv, log = folder / "venv", folder / "log.txt"
    (venv / "bin").mkdir(parents=True)
    for name in ("python", "fer-jax", "cp", "rm"):
        program = venv / "bin" / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >> {shlex.quote(str(log))}\n')
        program.chmod(0o755)
    peers = [pathlib.Path(f".venv-{name}/.installed") for name in ("peer", "avalanche")]
    stamps = [*(venv / f".installed{more}" for more in ("", "-dev", "-mutation")), *peers]
    environment = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    found: dict[str, Made] = {}
    for target in _targets():
        log.write_text("")
        old = [word for stamp in stamps for word in ("-o", str(stamp))]
        subprocess.run(
            ["make", *old, target, f"VENV={venv}"], cwd=ROOT, env=environment, check=True, capture_output=True
        )
        _note(found, target, [shlex.split(line) for line in log.read_text().splitlines()])
    return found


def _note(found: dict[str, Made], target: str, commands: list[list[str]]) -> None:
    """Adds the committed files that these commands write or copy."""
    by_workdir = {}
    for command in commands:
        if "--workdir" in command:
            by_workdir[command[command.index("--workdir") + 1]] = command
        if command[0] == "cp":
            workdir, out = next(w for w in by_workdir if command[1].startswith(f"{w}/")), command[2]
            maker = by_workdir[workdir]
        elif "--out" in command:
            maker, out = command, command[command.index("--out") + 1]
        else:
            continue
        if out.startswith("docs/results/"):
            name = str(pathlib.Path(out).relative_to("docs/results").with_suffix(""))
            assert name not in found
            found[name] = Made(maker, target)


def whole(command: list[str]) -> list[str]:
    """Returns the command for all of a file, of which `--only NAMES` measures a part anew and keeps the rest."""
    at = command.index("--only") if command[0] == "python" and "--only" in command else len(command)
    return command[:at] + command[at + 2 :]


def read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def committed() -> set[str]:
    """The names of all results, those of related systems with their folder."""
    return {str(path.relative_to(RESULTS).with_suffix("")) for path in RESULTS.rglob("*.json")}


class TestTargets:
    def test_every_committed_file_has_its_target(self, made):
        assert made.keys() | BY_HAND == committed()
        assert not made.keys() & BY_HAND

    def test_a_file_that_holds_its_command_was_made_by_the_target(self, made):
        trained = {name for name, one in made.items() if one.command[1] in ("train", "sweep")}
        commands = {name: read(name).get("command") for name in committed()}
        assert {name for name, command in commands.items() if command is None} - trained == WITHOUT_COMMAND
        for name, command in commands.items():
            if command is not None and name in made:
                assert whole(shlex.split(command)) == made[name].command, f"make {made[name].target}"

    def test_every_file_names_the_commit_it_was_measured_at(self):
        found = {name: commits.commits(read(name)) for name in committed()}
        assert {name for name, names in found.items() if not names} == WITHOUT_COMMIT
        assert not [name for name, names in found.items() if any(one.endswith("+") for one in names)]

    def test_runs_and_sweeps_have_the_config_of_the_file(self, made):
        trained = {name for name, one in made.items() if one.command[1] in ("train", "sweep")}
        assert trained == {name for name in made if "schema_version" in read(name)}
        for name in trained:
            config, varied = _config(made[name].command)
            _check_config(name, config, made[name])
            there = read(name).get("merged", {}).get("differ", {})
            assert varied == there, f"make {made[name].target}"

    def test_studies_have_the_settings_of_the_file(self, made, monkeypatch):
        for name, of in SETTINGS.items():
            there = read(name)["settings"]
            here = of(_options(made[name].command, monkeypatch))
            different = {key: (there.get(key), value) for key, value in here.items() if there.get(key) != value}
            assert not different, f"make {made[name].target}: {different}"

    def test_every_study_that_can_be_asked_for_less_is_compared(self, made, monkeypatch):
        for name, one in made.items():
            if one.command[:2] == ["python", "-m"] and one.command[2].startswith("studies."):
                options = vars(_options(one.command, monkeypatch)).keys() - {"out", "workdir", "python", "only", "jobs"}
                assert not options or name in SETTINGS or name in COMPARED or name.startswith("related/"), name

    def test_studies_of_related_systems_have_the_settings_of_the_file(self, made, monkeypatch):
        for name in made:
            if name.startswith("related/"):
                options = {**vars(_options(made[name].command, monkeypatch)), "first_seed": record.FIRST_SEED}
                there = read(name)["settings"]
                assert "first_seed" in there
                for key, value in there.items():
                    assert options[key] == (tuple(value) if isinstance(value, list) else value), f"{name}: {key}"

    def test_the_gap_is_measured_with_the_seeds_of_the_file(self, made, monkeypatch):
        options = _options(made["identity_gap"].command, monkeypatch)
        there = {n: [row["seed"] for row in task["rows"]] for n, task in read("identity_gap")["by_classes"].items()}
        first = record.FIRST_SEED
        assert there == {str(n): list(range(first, first + options.seeds)) for n in options.classes}

    def test_tuning_tries_the_candidates_of_the_file(self, made, monkeypatch):
        options, there = _options(made["tuning"].command, monkeypatch), read("tuning")
        tries = options.tries or tuning.CANDIDATES
        assert there["candidates"].keys() == {" ".join(one) for one in tries}
        _check_config("tuning", tuning.candidate(ROOT / options.config, tries[0]), made["tuning"])

    def test_bench_measures_all_and_not_quickly(self, made):
        rows = read("bench")["measurements"]
        assert made["bench"].command[:2] == ["fer-jax", "bench"]
        assert not {"--quick", "--only", "--config"} & set(made["bench"].command)
        assert {row["name"] for row in rows} >= measurements.MEASUREMENTS.keys() - {"devices", "devices in processes"}
        assert not any(row.get("settings", {}).get("quick") for row in rows)

    def test_the_accelerators_check_measures_what_the_file_has(self, made, monkeypatch):
        options = _options(made["accelerator"].command, monkeypatch)
        assert (options.config, options.tests, options.budget) == (None, "tests", accelerator.BUDGET)
        # It was measured when the measurements were one part.
        assert read("accelerator")["bench"]["parts"].keys() == set(accelerator.BENCH)

    def test_structure_compares_the_commits_of_the_file(self, made, monkeypatch):
        options = _options(made["structure"].command, monkeypatch)
        assert read("structure")["before"]["commit"].startswith(options.before)
        assert options.after == "HEAD"


class Parsed(Exception):
    """Ends a study's program once its options are known."""


def _options(command: list[str], monkeypatch) -> argparse.Namespace:
    """What a program's own parser makes of the command `python -m MODULE …`."""
    program, flag, module, *arguments = command
    assert (program, flag) == ("python", "-m")
    parse = argparse.ArgumentParser.parse_known_args

    def parsed(self, *given, **named):
        raise Parsed(parse(self, *given, **named)[0])

    study = importlib.import_module(module)
    # Studies of related systems share their command.
    main = study.main if hasattr(study, "main") else functools.partial(common.main, study.STUDY, study.__doc__)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parsed)
        with pytest.raises(Parsed) as ended:
            main()
    return ended.value.args[0]


def _config(command: list[str]):
    """The config of `fer-jax train` or `sweep`, and the keys and values that the sweep varies."""
    config = read_config([f"--config={ROOT / command[command.index('--config') + 1]}"])
    over = [command[i + 1] for i, word in enumerate(command) if word == "--over"]
    # A value of these axes is the only entry of its key's list.
    varied = {
        axis.key: [[value] for value in axis.values] if axis.name in axes.NAMES else list(axis.values)
        for axis in axes.read_axes(over, config)
    }
    return config, varied


def _check_config(name: str, config, made: Made) -> None:
    """Compares a config and the one of a committed file, but for the keys in which the file's own runs differ."""
    found = read(name)
    varied = set(found.get("merged", {}).get("differ", {}))
    there = {key: value for key, value in found["config"].items() if key not in varied}
    here = {key: value for key, value in configs.flatten(configs.resolve(config)).items() if key not in varied}
    assert here.keys() == there.keys(), f"make {made.target}"
    different = {key: (there[key], here[key]) for key in there.keys() & here.keys() if there[key] != here[key]}
    assert not different, f"make {made.target}: {different}"


def _profile(options: argparse.Namespace) -> dict:
    config = configs.resolve(read_config([f"--config={options.config}"]))
    return {
        "epochs": config.continual.max_epochs,
        "batch": config.continual.batch_size,
        "pixels": config.data.image_size,
    }


# Studies whose options a test of their own compares.
COMPARED = {"identity_gap", "structure", "tuning"}
SETTINGS = {
    "before_after": lambda a: {"seeds": a.seeds, "changes": dict(a.set)},
    "checkpoint_overhead": lambda a: {"pairs": a.pairs, "save_every": Saving().every,
                                      "increments": categories.N_COMPOUND},
    "chaos": lambda a: {"config": str(a.config), "kills": a.kills, "seed": a.seed,
                        "save_every": a.save_every},
    "identity_gap": lambda a: {"n_subjects": a.subjects, "epochs": a.epochs, "image_size": identity_gap.SIZE,
                               "training_pictures": identity_gap.TRAINING_PICTURES},
    "imbalance": lambda a: {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "n_subjects": a.subjects},
    "peer_avalanche": lambda a: {"seeds": a.seeds},
    "prepare": lambda a: {"images": a.images, "jobs": a.jobs, "width": prepare.WIDTH, "height": prepare.HEIGHT,
                          "size": prepare.SIZE},
    "serve": lambda a: {"pictures": serve.TAUGHT},
    "peer_keras": lambda a: {"rounds": a.rounds},
    "profile": _profile,
    "side_by_side": lambda a: {"orders": a.orders, "pairs": a.pairs, "max_epochs": a.epochs},
    "teach": lambda a: {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "shots": teach.SHOTS, "draws": teach.DRAWS},
    "transfer": transfer.in_words,
    "units": lambda a: {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "n_subjects": a.subjects, "orders": a.orders,
                        "flips": a.flips, "noise": a.noise, "image_size": a.size, "epochs": a.epochs},
}  # fmt: skip
