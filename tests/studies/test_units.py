"""What the comparison of unit classifiers rests on: when a class is known, and whose people decide."""

import dataclasses
import json
import runpy
import sys

import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.classifiers import CLASSIFIERS
from studies import record
from studies import units as study

PEOPLE = 10
LABELS = np.tile(np.arange(study.N_CLASSES), PEOPLE)
SPLIT = protocol.split(np.repeat(np.arange(PEOPLE, dtype=np.int32), study.N_CLASSES), 0, study.FOLDS, "held_out")
ORDER = np.random.default_rng(0).permutation(15)


def test_a_class_is_answered_from_its_step_on():
    units = np.eye(study.N_CLASSES, dtype=np.float32)[LABELS]
    accuracy = study.learn(CLASSIFIERS["units_discriminant"], units, LABELS, SPLIT, ORDER)
    known = protocol.learned_at(ORDER, study.N_BASE, 1) <= np.arange(16)[:, None]
    np.testing.assert_array_equal(np.isnan(accuracy), ~known)
    assert (accuracy[known] == 1).all()


def test_validation_people_of_known_classes_choose_the_penalty():
    """One of two penalties answers right for validation people alone, the other one for test people alone."""
    units = np.stack([LABELS, np.isin(np.arange(len(LABELS)), SPLIT.validation)], 1).astype(np.float32)

    def scores(state, seen, penalty):
        right = np.eye(study.N_CLASSES)[np.asarray(seen[:, 0], int)]
        return np.where((np.asarray(seen[:, 1]) == 1)[:, None] == (float(penalty) == 0.5), right, -right)

    made = dataclasses.replace(
        CLASSIFIERS["units_discriminant"], scores=scores, penalties=(0.5, 2.0), prepare=None,
        empty=lambda *sizes: None, add=lambda state, *given: state,
    )  # fmt: skip
    accuracy = study.learn(made, units, LABELS, SPLIT, ORDER)
    assert np.nanmax(accuracy) == 0


def test_estimates_are_over_seeds_and_beside_the_bayes_accuracy():
    rows = [
        {"method": name, "seed": seed, "order": order, "flips": 0.1, "noise": 0.0,
         "final_accuracy": 0.5 + 0.1 * seed, "average_incremental_accuracy": 0.6 + 0.1 * order}
        for name in study.NAMES for seed in range(2) for order in range(2)
    ]  # fmt: skip
    (level,) = study.summary(rows, protocol.class_orders(15, 2))
    found = level["estimates"]["units_ridge"]["final_accuracy"]
    assert (found["base_models"], found["n"], round(found["mean"], 6)) == (2, 4, 0.55)
    # Drawn faces, counted by hand elsewhere: 63.7 within 0.3.
    assert abs(level["bayes"]["final_accuracy"] - 0.637) < 0.004
    assert level["bayes"]["average_incremental_accuracy"] > level["bayes"]["final_accuracy"]


TINY = ("--seeds", "1", "--subjects", "20", "--orders", "1", "--flips", "0", "0.2", "--size", "32", "--epochs", "1")


@pytest.mark.slow
def test_a_small_study_has_every_row(tmp_path, monkeypatch):
    out = tmp_path / "units.json"
    monkeypatch.setattr(study, "run_seconds", lambda: {"warm": {"median": 7.0}})
    monkeypatch.setattr(sys, "argv", ["units", "--out", str(out), *TINY])
    study.main()
    found = json.loads(out.read_text())
    of_rows = [(row["method"], row["flips"], row["noise"]) for row in found["rows"]]
    assert of_rows == [(name, *level) for level in ((0.0, 0.0), (0.2, 0.1)) for name in study.NAMES]
    accuracy = {(row["method"], row["flips"]): row["final_accuracy"] for row in found["rows"]}
    for name in study.NAMES:
        assert accuracy[name, 0.0] > max(accuracy[name, 0.2], 5 / study.N_CLASSES)
        # A network of one epoch says something else than units do.
        assert not name.startswith("features") or accuracy[name, 0.0] != accuracy[name.removeprefix("features_"), 0.0]
    assert found["run_seconds"]["warm"]["median"] == 7
    assert [level["estimates"].keys() for level in found["levels"]] == 2 * [dict.fromkeys(study.NAMES).keys()]


def test_runs_are_timed_each_in_a_new_folder_and_cold_ones_compile(monkeypatch):
    commands = []
    monkeypatch.setattr(record, "seconds", lambda *command: commands.append(command) or float(len(commands)))
    found = study.run_seconds()
    assert (found["cold"]["median"], found["warm"]["median"]) == (3, 6)
    assert ["--no-compilation-cache" in command for command in commands] == [False, *[True] * 3, *[False] * 3]
    workdirs = {command[command.index("--workdir") + 1] for command in commands}
    assert len(workdirs) == len(commands) == 7
    (config,) = {command[command.index("--config") + 1] for command in commands}
    (methods,) = {word for command in commands for word in command if str(word).startswith("--config.methods")}
    assert methods == "--config.methods=('units_lda',)"
    assert "units_lda" in runpy.run_path(str(config))["get_config"]().methods


def test_an_interrupted_study_goes_on_after_its_last_seed(monkeypatch):
    measured, saved = [], []
    monkeypatch.setattr(study, "measure", lambda seed, *_: measured.append(seed) or [{"seed": seed}, {"seed": seed}])

    def rows(seeds: int, before: dict | None, load: float = 0.1, **changes) -> list[int]:
        settings = {"seeds": seeds, "first_seed": 0, "epochs": 1} | changes
        same = {"settings": settings, "environment": {"commit": "a", "load_before": load}}
        found = study.all_rows(settings, None, before, same, lambda rows: saved.append(same | {"rows": list(rows)}))
        return [row["seed"] for row in found]

    assert rows(2, None) == [0, 0, 1, 1]
    measured.clear()
    assert rows(3, saved[0], load=2.0) == [0, 0, 1, 1, 2, 2]
    assert measured == [1, 2]
    measured.clear()
    assert rows(1, saved[-1]) == [0, 0]
    assert measured == []
    assert rows(1, saved[-1], epochs=2) == [0, 0]
    assert measured == [0]
