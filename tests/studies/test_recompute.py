"""Committed results have the metrics and statistics of today's code, from their own accuracy matrices."""

import copy
import json
import pathlib

import pytest

from fer_jax.runs import results
from studies import documents as readme
from studies import recompute

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"


def close(a, b) -> bool:
    """Whether two values of JSON are the same, numbers nearly."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == (pytest.approx(b, abs=1e-9) if isinstance(b, float) else b)


# The large ones take half a minute each.
QUICK = ("quickstart", "digits_5x2", "fashion_mnist")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in readme.COMPARISONS]
)
def test_committed_results_are_recomputed(name, tmp_path):
    found = json.loads((RESULTS / f"{name}.json").read_text())
    old = copy.deepcopy(found)
    old["comparison"] = {}
    for entry in old["continual"].values():
        entry["metrics"] = {}
        for run in entry["runs"]:
            run["metrics"] = {key: value for key, value in run["metrics"].items() if key == "intransigence"}
    results.write_json(tmp_path / "results.json", recompute.recompute(old))
    assert close(json.loads((tmp_path / "results.json").read_text()), found)


def test_a_joint_model_of_the_last_step_alone_keeps_what_it_has():
    run = {
        "order": 0,
        "fold": 0,
        "trained_steps": [0, 2],
        "accuracy_matrix": [[1.0]] * 3,
        "metrics": {"final_accuracy": 0.5},
    }
    found = {"seed": 0, "continual": {"joint": {"runs": [run], "metrics": {}}}}
    made = recompute.recompute(found)["continual"]["joint"]
    assert made["runs"][0]["metrics"] == {"final_accuracy": 0.5}
    assert made["metrics"]["final_accuracy"]["mean"] == 0.5
