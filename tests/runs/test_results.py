"""results.json: what it holds, that it is documented, and that it is written whole or not at all."""

import copy
import json
import os
import pathlib
import re

import numpy as np
import pytest

from fer_jax import metrics, protocol
from fer_jax.errors import UserError
from fer_jax.runs import results
from tests.support.documented import SMALLEST, keys

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
    # Class 0: precision 1, recall 1/2; class 1: precision 2/3, recall 1. The base step is in no average.
    assert found["macro_f1_final"] == found["macro_f1_average"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["mean_class_recall_final"] == found["mean_class_recall_average"] == 0.75
    assert "intransigence" not in found
    run = {
        "accuracy_matrix": [[1.0, None], [0.5, 1.0]],
        "learned_at": [0, 1],
        "trained_steps": [0, 1],
        "metrics": found,
    }
    results.add_intransigence(run, {"accuracy_matrix": [[1.0, None], [0.9, 0.8]], "trained_steps": [0, 1]})
    assert found["intransigence"] == pytest.approx(-0.2)


def test_class_metrics_are_averaged_over_increments():
    # Four images of class 0 and one of each other: accuracy and mean class recall part.
    base = [[4, 0, 0], [0, 0, 0], [0, 0, 0]]
    first, last = [[2, 2, 0], [0, 1, 0], [0, 0, 0]], [[4, 0, 0], [1, 0, 0], [0, 0, 1]]
    found = results.run_metrics(np.asarray([base, first, last]), np.asarray([0, 1, 2]))
    assert found["average_incremental_accuracy"] == pytest.approx((3 / 5 + 5 / 6) / 2)
    assert found["mean_class_recall_average"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found["mean_class_recall_final"] == pytest.approx(2 / 3)
    f1 = [(4 / 6 + 2 / 4) / 2, (8 / 9 + 0 + 1) / 3]
    assert found["macro_f1_average"] == pytest.approx(np.mean(f1))
    assert found["macro_f1_final"] == pytest.approx(f1[1])


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
    assert set(found["joint"]["metrics"]) == {"final_accuracy", "macro_f1_final", "mean_class_recall_final"}
    assert np.isnan(found["joint"]["runs"][0]["accuracy_matrix"][1]).all()
    assert run["seconds"] == 3.0
    assert run["epochs"] == [2, 2]


def test_intransigence_against_a_joint_model_of_every_step():
    base, first = [[4, 0], [0, 0]], [[3, 1], [1, 3]]
    continual = {"kd_psmr": {0: [step(0, first, base)]}, "joint": {0: [step(0, np.eye(2, dtype=int) * 4, base)]}}
    phases = [{"fold": 0, "basic": {"test_confusion": base}, "continual": continual}]
    found = results.continual_runs(phases, {0: np.asarray([0])}, 1)
    assert found["kd_psmr"]["metrics"]["intransigence"]["mean"] == pytest.approx(1.0 - 0.75)


def shot(name: str, draw: int, new: float, base: float, **more) -> dict:
    return {"class": name, "shots": 1, "draw": draw, "fold": 0, "new_class_accuracy": new, "base_accuracy": base,
            "accuracy": 0.5, **more}  # fmt: skip


def test_few_shots_of_one_base_model_have_a_range_over_classes():
    rows = [shot("a", 0, 1.0, 0.0), shot("a", 1, 0.5, 0.5), shot("b", 0, 0.0, 1.0), shot("b", 1, 0.0, 1.0)]
    table = results.few_shot_table([*rows, {**rows[0], "shots": 0}])
    assert list(table) == ["1", "all"]
    # Always the new class scores 0; so does never.
    assert table["1"]["harmonic_mean"]["mean"] == pytest.approx(((0.0 + 0.5) / 2 + 0.0) / 2)
    new = table["1"]["new_class_accuracy"]
    assert (new["mean"], new["lowest"], new["highest"]) == (pytest.approx(0.375), 0.0, 0.75)
    assert (new["low"], new["high"], new["base_models"]) == (None, None, 1)
    assert (table["1"]["accuracy"]["n"], table["1"]["accuracy"]["draws"]) == (2, 4)
    assert table["all"]["harmonic_mean"]["mean"] == 0.0


def test_few_shot_intervals_are_over_base_models():
    # Two classes and two draws of two seeds: means .375 and .625.
    rows = [
        shot(name, draw, value + 0.25 * seed, 1.0, seed=seed, label=label)
        for label in ("", "x=1")
        for seed in (0, 1)
        for name, draw, value in (("a", 0, 0.75), ("a", 1, 0.5), ("b", 0, 0.25), ("b", 1, 0.0))
    ]
    table = results.few_shot_table(rows)
    assert list(table) == ["1", "1, x=1"]
    new = table["1"]["new_class_accuracy"]
    assert (new["mean"], new["n"], new["base_models"], new["draws"]) == (0.5, 4, 2, 8)
    assert new["high"] == pytest.approx(0.5 + 12.706 * 0.125, abs=1e-3)
    assert (new["lowest"], new["highest"]) == (0.25, 0.75)


def close(a, b) -> bool:
    """Whether two values of JSON are the same, numbers nearly."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    return a == (pytest.approx(b, abs=1e-9) if isinstance(b, float) else b)


NEW = {"macro_f1_average", "macro_f1_final", "mean_class_recall_average", "mean_class_recall_final"}


@pytest.mark.parametrize("name", ["quickstart", "compare", "ablation", "digits_4+6x1", "digits_5x2", "fashion_mnist"])
def test_committed_results_have_the_metrics_of_todays_code(name):
    found = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    # From the runs alone, but for intransigence, which needs two of them, and what needs every step's confusion.
    bare = copy.deepcopy(found)
    bare["comparison"], bare["few_shot"]["estimates"] = None, None
    for entry in bare["continual"].values():
        entry["metrics"] = None
        for run in entry["runs"]:
            run["metrics"] = {key: run["metrics"][key] for key in ("intransigence",) if key in run["metrics"]}
    made = results.restated(bare)
    for method, entry in found["continual"].items():
        for run, again in zip(entry["runs"], made["continual"][method]["runs"], strict=True):
            derived = {key: value for key, value in again["metrics"].items() if key not in NEW - run["metrics"].keys()}
            assert close(derived, {key: value for key, value in run["metrics"].items() if key != "macro_f1_average"})
            assert again["metrics"]["mean_class_recall_final"] > 0
    base_models = {(run.get("seed"), run["fold"]) for run in entry["runs"]}
    final = made["continual"]["kd_psmr"]["metrics"]["macro_f1_final"]
    assert final["base_models"] == len(base_models)
    assert (final["low"] is None) == (len(base_models) == 1)


def test_the_oldest_results_have_the_new_metrics_but_one():
    found = results.read(ROOT / "tests" / "fixtures" / "workdir_0450aeb")
    (run,) = found["continual"]["kd_psmr"]["runs"]
    run["metrics"]["final_accuracy"] = 0.125  # what the file holds of a run is taken as it is
    made = results.restated(found)["continual"]["kd_psmr"]
    assert NEW - made["metrics"].keys() == {"macro_f1_average"}
    assert made["runs"][0]["metrics"]["macro_f1_final"] == metrics.macro_f1(run["final_confusion"])
    assert made["metrics"]["final_accuracy"]["mean"] == 0.125


def test_a_run_that_lacks_a_metric_leaves_no_estimate_of_it():
    runs = [
        {"order": o, "fold": 0, "metrics": {"forgetting": v, "final_accuracy": 0.5}} for o, v in enumerate((0.5, None))
    ]
    assert results.estimates(runs).keys() == {"final_accuracy"}


def test_todays_results_are_whole(tiny_run):
    found = results.read(tiny_run)
    assert results.restated(found) == found
    assert found["continual"]["kd_psmr"]["metrics"].keys() >= NEW


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "seed"),
        ({"data": None}, "data"),
        ({"data": {}}, "data.name"),
        ({"config": {}}, "config.methods"),
        ({"continual": None}, "continual"),
        ({"continual": {"er": None}}, "continual.er.runs"),
        ({"continual": {"er": {"runs": [], "metrics": {}}}}, "continual.er.runs.fold"),
        ({"continual": {"er": {"runs": [{"fold": 0}], "metrics": {}}}}, "continual.er.runs.order"),
        ({"few_shot": {"estimates": {}}}, "few_shot.rows"),
    ],
)
def test_a_file_without_a_key_is_one_line(tmp_path, change, said):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(SMALLEST))
    assert results.restated(results.read(tmp_path))["continual"] == {}
    path.write_text(json.dumps({**SMALLEST, **change} if change else {"schema_version": 1}))
    with pytest.raises(UserError) as raised:
        results.read(tmp_path)
    expected = f"{path} is not as fer-jax wrote it ({said} is missing or of another type); delete it, and the"
    assert str(raised.value).startswith(expected)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    results.write_json(path, {"b": np.float32(0.5), "a": [np.nan, np.arange(2)], 3: (True, None)})
    assert json.loads(path.read_text()) == {"3": [True, None], "a": [None, [0, 1]], "b": 0.5}
    with pytest.raises(TypeError):
        results.write_json(path, {"a": object()})
    assert json.loads(path.read_text())["b"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_every_key_is_documented(tiny_run):
    """docs/results_schema.md names every key of both files, and none that is in neither."""
    text = (ROOT / "docs" / "results_schema.md").read_text().split("## Merged results")[0]
    assert f"schema_version` {results.SCHEMA_VERSION}" in text
    documented = set(re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE))
    files = (tiny_run / "results.json", ROOT / "docs" / "results" / "quickstart.json")
    assert set().union(*(keys(json.loads(file.read_text())) for file in files)) == documented


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
