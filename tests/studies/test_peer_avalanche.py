"""Both sides are given one stream, and what Avalanche answers is measured as ours is."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest

from fer_jax import experiment
from fer_jax.data.standard import digits
from fer_jax.methods import METHODS
from fer_jax.phases.fold import build_network
from studies import peer_avalanche as study

ROOT = pathlib.Path(__file__).parents[2]
AVALANCHE = ROOT / ".venv-avalanche" / "bin" / "python"


def test_avalanche_is_given_the_pictures_as_our_network_reads_them():
    config, data = study.config_of("4+6x1", 0, "er"), digits()
    given = study.arrays(config)
    assert [given[name].dtype for name in ("x_train", "y_train")] == [np.float32, np.int64]
    network = build_network(config, 10)
    params = network.init(jax.random.key(0), 8)
    first = params["backbone"]["dense0"]
    split = study._split(config, data)
    for part, rows in (("train", split.train), ("test", split.test)):
        ours = network.trunk(params, data.image[rows] / np.float32(255), "dense1")
        theirs = np.maximum(given[f"x_{part}"] @ first["kernel"] + first["bias"], 0)
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
        np.testing.assert_array_equal(given[f"y_{part}"], data.label[rows])
    assert len(split.train) + len(split.test) == len(data.label)
    assert not np.intersect1d(split.train, split.test).size


@pytest.mark.parametrize(("stream", "sizes"), [("4+6x1", [4, 1, 1, 1, 1, 1, 1]), ("5x2", [2] * 5)])
def test_the_request_is_our_stream(stream, sizes):
    asked = study.request(study.config_of(stream, 2, "er"), "er", 1433, 10)
    assert [len(task) for task in asked["tasks"]] == sizes
    assert sorted(c for task in asked["tasks"] for c in task) == list(range(10))
    assert asked["tasks"][0] == list(range(sizes[0]))
    assert (asked["seed"], asked["epochs"], asked["batch"], asked["learning_rate"]) == (2, 20, 32, 1e-3)
    # 30 % of 1,433 pictures are 429, 42 of each of ten classes.
    assert (asked["widths"], asked["exemplars"]) == ([128, 128], 42)
    other = study.request(study.config_of(stream, 1, "er"), "er", 1433, 10)
    assert other["tasks"] != asked["tasks"]


def test_what_is_compared_are_our_methods():
    assert {method for ours in study.METHODS.values() for method in ours} <= set(METHODS)


def test_avalanches_accuracies_are_pooled_as_ours():
    y_test = np.array([0, 1, 1, 2])
    # Three test images in the first task, one in the second.
    found = study.scores([[2 / 3, 0.0], [1 / 3, 1.0]], [[0, 1], [2]], y_test)
    assert found == pytest.approx({"final_accuracy": 0.5, "average_incremental_accuracy": 0.5})
    assert study.scores([[2 / 3, 1.0]], [[0, 1], [2]], y_test) == pytest.approx({"final_accuracy": 0.75})


def test_estimates_are_over_base_models_and_ratios_within_rounds():
    rows = [
        {"ours": {"final_accuracy": a, "seconds": s, "training_seconds": s / 2},
         "avalanche": {"final_accuracy": b, "seconds": 3 * s}}
        for a, b, s in ((0.5, 0.4, 1.0), (0.7, 0.6, 2.0))
    ]  # fmt: skip
    found = study.compared(rows)
    means = {what: found["final_accuracy"][what]["mean"] for what in ("ours", "avalanche", "difference")}
    assert means == pytest.approx({"ours": 0.6, "avalanche": 0.5, "difference": 0.1})
    assert found["final_accuracy"]["ours"]["n"] == 2
    assert (found["times_avalanche"]["median"], found["training_times_avalanche"]["median"]) == (3, 6)
    assert "average_incremental_accuracy" not in found


@pytest.mark.parametrize(("python", "said"), [(sys.executable, "it has no avalanche"), ("no/python", "No such file")])
def test_without_avalanche_the_study_says_so_in_one_line(python, said, monkeypatch, capsys, tmp_path):
    out = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["peer_avalanche", "--python", python, "--out", str(out)])
    with pytest.raises(SystemExit) as error:
        study.main()
    lines = capsys.readouterr().err.splitlines()
    assert error.value.code == 2
    assert lines == [line for line in lines if line.startswith(f"--python {python}: {said}")]
    assert len(lines) == 1
    assert "`make peer-avalanche`" in lines[0]
    assert not out.exists()


def test_the_committed_comparison_has_every_method_and_five_seeds():
    found = json.loads((ROOT / "docs" / "results" / "peer_avalanche.json").read_text())
    assert found["peer"]["avalanche"] == "0.6.0"
    assert set(found["streams"]) == set(study.STREAMS)
    for by_method in found["streams"].values():
        assert set(by_method) == {method for ours in study.METHODS.values() for method in ours}
        assert min(one["final_accuracy"]["ours"]["n"] for one in by_method.values()) >= 5


@pytest.mark.slow
def test_our_run_takes_the_classes_in_the_order_that_avalanche_is_asked_for(tmp_path):
    config = study.config_of("4+6x1", 1, "slda", epochs=1)
    (run,) = experiment.train(config, tmp_path / "run")["continual"]["slda"]["runs"]
    asked = study.request(config, "slda", 1433, 10)
    assert [run["learned_at"].index(step) for step in range(1, 7)] == [c for task in asked["tasks"][1:] for c in task]
    assert run["exemplars_per_class"] == [asked["exemplars"]] * 6


@pytest.mark.slow
def test_both_sides_run_every_method():
    if not AVALANCHE.exists():
        pytest.skip(f"{AVALANCHE} is missing: `make peer-avalanche` makes it")
    found = study.measure(str(AVALANCHE), ("5x2",), seeds=1, epochs=2)
    by_method = found["streams"]["5x2"]
    for side in ("ours", "avalanche"):
        accuracy = {name: one["final_accuracy"][side]["mean"] for name, one in by_method.items()}
        assert accuracy["er"] > accuracy["finetune"] + 0.2
        assert accuracy["joint"] > accuracy["finetune"] + 0.2
        assert accuracy["slda"] > 0.8
    assert by_method["er"]["average_incremental_accuracy"]["avalanche"]["n"] == 1
    assert found["peak_bytes"]["avalanche"] > 1e8
    assert len(found["rows"]) == len(by_method)
