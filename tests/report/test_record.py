"""What checkpoints hold is found, is of the run that it is said to be of, and is missed quietly."""

import json
import shutil

import numpy as np
import pytest

from fer_jax.report import record


@pytest.fixture
def results(tiny_run):
    return json.loads((tiny_run / "results.json").read_text())


def test_steps_are_those_that_results_were_made_from(tiny_run, results):
    for method, found in results["continual"].items():
        for run in found["runs"]:
            cell = record.find(results, [tiny_run], method, run)
            measured = record.steps(cell)
            assert [len(one["history"]) for one in measured] == run["epochs"]
            counted = record.confusions(measured, method)
            assert [step for step, _ in counted] == run["trained_steps"]
            for step, counts in counted:
                counts = np.asarray(counts, float)
                with np.errstate(invalid="ignore"):
                    accuracy = np.diag(counts) / counts.sum(1)
                np.testing.assert_allclose(accuracy, np.asarray(run["accuracy_matrix"][step], float))


def test_memory_grows_with_the_classes_that_are_learned(tiny_run, results):
    run = results["continual"]["kd_psmr"]["runs"][1]
    kept = record.memories(record.find(results, [tiny_run], "kd_psmr", run))
    assert list(kept) == run["trained_steps"][1:]
    for step, index in kept.items():
        known = np.asarray(run["learned_at"]) <= step
        assert ((index >= 0).sum(1) == np.where(known, run["exemplars_per_class"][step - 1], 0)).all()


def test_the_run_of_another_result_is_not_taken(tiny_run, results):
    run = results["continual"]["kd_psmr"]["runs"][0]
    run["final_confusion"][0][0] += 1
    assert record.find(results, [tiny_run], "kd_psmr", run) is None
    run["final_confusion"][0][0] -= 1
    assert record.find(results, [tiny_run], "kd_psmr", run) is not None
    assert record.find(results, [tiny_run], "kd_psmr", {**run, "seed": 17}) is None


def test_what_is_not_there_or_damaged_is_none(tiny_run, results, tmp_path):
    run = results["continual"]["kd_psmr"]["runs"][0]
    assert record.find(results, [tmp_path], "kd_psmr", run) is None
    cell = tmp_path / "checkpoints" / "fold0" / "kd_psmr" / "order0"
    shutil.copytree(record.find(results, [tiny_run], "kd_psmr", run), cell)
    for file in cell.glob("*/meta/metadata"):
        file.write_text("{")
    assert record.steps(cell) is None
    assert record.memories(cell) is None


def test_a_column_of_results_by_method_and_classifier():
    assert record.split_name("icarl (network), seed=1") == ("icarl", "network")
    assert record.split_name("icarl") == ("icarl", None)
