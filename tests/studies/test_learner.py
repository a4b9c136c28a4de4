"""The tables of the proposed method, from results whose figures are known."""

import pytest

from fer_jax import statistics
from studies.documents import learner

FINAL = {
    "contrastive_replay": {1: (0.6, 0.8), 2: (0.5, 0.5)},
    "contrastive_replay (network)": {1: (0.5, 0.5), 2: (0.5, 0.5)},
    "joint_contrastive": {1: (0.8, 0.8), 2: (0.5, 0.5)},
    "kd_psmr": {1: (0.4, 0.4), 2: (0.3, 0.3)},
}


def column(by_seed: dict[int, tuple[float, ...]]) -> dict:
    runs = [
        {"order": order, "seed": seed, "fold": 0,
         "metrics": {"final_accuracy": value, "average_incremental_accuracy": value},
         "stored_bytes": {"exemplars": 2500, "recorded": 0, "statistics": 0, "anchor": 0, "teacher": 1000 * seed},
         "search": {"seconds": 0.0}}
        for seed, values in by_seed.items() for order, value in enumerate(values)
    ]  # fmt: skip
    names = ("final_accuracy", "average_incremental_accuracy")
    return {"runs": runs, "metrics": {name: statistics.estimate(statistics.values_of(runs, name)) for name in names}}


@pytest.fixture
def results() -> dict:
    shots = {name: statistics.estimate({(0, 1, 0): 0.5}) for name in ("new_class_accuracy", "harmonic_mean")}
    return {
        "continual": {name: column(values) for name, values in FINAL.items()},
        "merged": {"methods": list(FINAL)},
        "config": {"few_shot.draws": 10},
        "few_shot": {"estimates": {"no, composition": shots, "1, class_mean": shots}},
        "data": {"metadata": {"bayes": {"all": 0.8, "basic": 1.0}}},
        "seconds": {"basic": 0.0, "continual": dict.fromkeys(FINAL, 30.0)},
        "environment": {"device": {"kind": "cpu", "count": 1}, "python": "3", "packages": {"jax": "0"}},
    }


def test_the_proposed_method_beside_joint_training_and_bayes(results):
    text = learner.best(results)
    # A base model's orders are averaged before shares are taken: .7 / .8 and .5 / .5.
    assert "joint training's from the same base model: 93.8 [" in text
    assert "as a share of the Bayes accuracy, 80.0: 81.2 [" in text
    assert "| KD + PSMR (the paper): 35.0 [-28.5, 98.5] (n = 2, range 35.0 to 35.0) | -25.0 [" in text
    assert "| stored after the last increment, kB | exemplars | teacher |" in text
    assert "| contrastive replay (ours) | 2 | 1 |" in text
    assert "contrastive replay (ours) (network)" in text, "differences name what other classifiers answer"
    assert "(network) |" not in learner.measures(results), "a method's own answer stands alone"


def test_objectives_by_classifiers_are_a_matrix(results):
    columns = {f"{method}, basic.objective={name}": column({1: (value,), 2: (value,)})
               for name, values in (("mixup", (0.5, 0.6)), ("contrastive", (0.7, 0.8)))
               for method, value in zip(("ncm", "slda"), values, strict=True)}  # fmt: skip
    results |= {"continual": columns, "merged": {"methods": list(columns)}, "basic": [
        {"label": f"basic.objective={name}", "seed": seed, "fold": 0, "test_accuracy": value}
        for name, value in (("mixup", 0.9), ("contrastive", 1.0)) for seed in (1, 2)
    ]}  # fmt: skip
    table, gained = learner.objectives(results).split("\n\n")
    header, _, *rows = table.splitlines()
    assert header == "| final accuracy, % [95 % interval] | six basics | nearest class mean | streaming LDA |"
    assert [[cell.split(" [")[0] for cell in row.strip("| ").split(" | ")] for row in rows] == [
        ["mixup", "90.0", "50.0", "60.0"], ["contrastive", "100.0", "70.0", "80.0"],
    ]  # fmt: skip
    header, _, row = gained.splitlines()
    assert header.startswith("| difference to mixup | six basics |")
    assert [cell.split(" [")[0] for cell in row.strip("| ").split(" | ")] == ["contrastive", "10.0", "20.0", "20.0"]
