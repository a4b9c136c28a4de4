"""results.json: what it holds, that it is documented, and that it is written whole or not at all."""

import json
import os
import pathlib
import re

import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.runs import results
from tests.support.documented import keys

ROOT = pathlib.Path(__file__).parents[2]


def test_metrics_come_from_confusions_by_hand():
    # One base class, one increment; two test images a class.
    confusions = np.asarray([[[2, 0], [0, 0]], [[1, 1], [0, 2]]])
    found = results.run_metrics(confusions, np.asarray([0, 1]))
    assert found["average_incremental_accuracy"] == 0.75
    assert found["average_incremental_accuracy_with_base"] == pytest.approx((1.0 + 0.75) / 2)
    assert found["base_retention_final"] == 0.5
    assert found["novel_accuracy_final"] == 1.0
    assert found["harmonic_mean_final"] == pytest.approx(2 / 3)
    assert found["forgetting"] == 0.5
    assert found["backward_transfer"] == -0.5
    assert "intransigence" not in found
    run = {
        "accuracy_matrix": [[1.0, None], [0.5, 1.0]],
        "learned_at": [0, 1],
        "trained_steps": [0, 1],
        "metrics": found,
    }
    results.add_intransigence(run, {"accuracy_matrix": [[1.0, None], [0.9, 0.8]], "trained_steps": [0, 1]})
    assert found["intransigence"] == pytest.approx(-0.2)


def step(increment: int, confusion, base=None) -> dict:
    first = {} if base is None else {"base_confusions": {"network": base}, "search": {}}
    return {"increment": increment, "confusions": {"network": confusion}, "exemplars_per_class": 3, "epoch": 0,
            "history": [{"val_accuracy": 0.5}, {"val_accuracy": 0.25}], "correction": {}, "seconds": 1.5,
            **first}  # fmt: skip


def test_runs_of_all_methods_and_a_joint_model_at_the_last_step_only():
    base = [[4, 0, 0], [0, 0, 0], [0, 0, 0]]
    first, last = [[3, 1, 0], [1, 3, 0], [0, 0, 0]], [[2, 1, 1], [0, 4, 0], [0, 1, 3]]
    orders = {2: np.asarray([0, 1])}
    # The order learns class 1, then class 2.
    phases = [
        {
            "fold": 4,
            "basic": {"test_confusion": base},
            "continual": {
                "kd_psmr": {2: [step(0, first, base), step(1, last)]},
                "joint": {2: [step(1, np.eye(3, dtype=int) * 4, base)]},
            },
        }
    ]
    found = results.continual_runs(phases, orders, 1)
    run = found["kd_psmr"]["runs"][0]
    assert (run["fold"], run["order"], run["class_order"]) == (4, 2, [1, 2])
    assert run["learned_at"] == protocol.learned_at(orders[2], 1).tolist()
    assert run["metrics"]["final_accuracy"] == pytest.approx(9 / 12)
    # The joint model of the last step alone says nothing of what was learned before.
    assert "intransigence" not in run["metrics"]
    assert found["joint"]["metrics"]["final_accuracy"]["mean"] == 1.0
    assert set(found["joint"]["metrics"]) == {"final_accuracy"}
    assert np.isnan(found["joint"]["runs"][0]["accuracy_matrix"][1]).all()
    assert run["seconds"] == 3.0
    assert run["epochs"] == [2, 2]


def test_intransigence_against_a_joint_model_of_every_step():
    base, first = [[4, 0], [0, 0]], [[3, 1], [1, 3]]
    continual = {"kd_psmr": {0: [step(0, first, base)]}, "joint": {0: [step(0, np.eye(2, dtype=int) * 4, base)]}}
    phases = [{"fold": 0, "basic": {"test_confusion": base}, "continual": continual}]
    found = results.continual_runs(phases, {0: np.asarray([0])}, 1)
    assert found["kd_psmr"]["metrics"]["intransigence"]["mean"] == pytest.approx(1.0 - 0.75)


def test_few_shot_intervals_are_over_classes():
    rows = [
        {"class": c, "shots": 1, "draw": d, "new_class_accuracy": new, "base_accuracy": base, "accuracy": 0.5}
        for c, d, new, base in (("a", 0, 1.0, 0.0), ("a", 1, 0.5, 0.5), ("b", 0, 0.0, 1.0), ("b", 1, 0.0, 1.0))
    ]
    table = results.few_shot_table([*rows, {**rows[0], "shots": 0}])
    assert list(table) == ["1", "all"]
    # Always the new class scores 0; so does never.
    assert table["1"]["harmonic_mean"]["mean"] == pytest.approx(((0.0 + 0.5) / 2 + 0.0) / 2)
    assert table["1"]["new_class_accuracy"]["mean"] == pytest.approx(0.375)
    assert (table["1"]["accuracy"]["n"], table["1"]["accuracy"]["draws"]) == (2, 4)
    assert table["all"]["harmonic_mean"]["mean"] == 0.0


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    results.write_json(path, {"b": np.float32(0.5), "a": [np.nan, np.arange(2)], 3: (True, None)})
    assert json.loads(path.read_text()) == {"3": [True, None], "a": [None, [0, 1]], "b": 0.5}
    with pytest.raises(TypeError):
        results.write_json(path, {"a": object()})
    assert json.loads(path.read_text())["b"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_every_key_is_documented(tiny_run):
    """docs/results_schema.md names every key of the file, and none that is not in it."""
    text = (ROOT / "docs" / "results_schema.md").read_text().split("## Merged results")[0]
    assert f"schema_version` {results.SCHEMA_VERSION}" in text
    documented = set(re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE))
    assert keys(json.loads((tiny_run / "results.json").read_text())) == documented


def test_json_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def spy_fsync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def spy_replace(a, b):
        done.append("replace")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    results.write_json(tmp_path / "results.json", {"a": float("nan")})
    file, moved, folder = done
    assert file.startswith(str(tmp_path / ".results.json"))
    assert (moved, folder) == ("replace", str(tmp_path))
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": None}
