"""Statistics worked out by hand: base models are the unit, and their class orders are not."""

import numpy as np
import pytest
from scipy import stats

from fer_jax import metrics, statistics

# Two base models (seeds 0 and 1) of three class orders each: the orders of one lie together, the base models apart.
TWO = {(0, 0, 0): 0.01, (1, 0, 0): 0.02, (2, 0, 0): 0.03, (0, 1, 0): 0.07, (1, 1, 0): 0.08, (2, 1, 0): 0.09}


def test_orders_of_a_base_model_are_no_independent_sample():
    # As six independent runs: mean .05, sample deviation .0341, t(5) = 2.571: 0 is far outside.
    naive = metrics.estimate(list(TWO.values()))
    assert naive.low == pytest.approx(0.05 - 2.571 * np.sqrt(0.0058 / 5 / 6), abs=1e-4)
    assert naive.low > 0.01
    # Over base models: means .02 and .08, standard error .03, t(1) = 12.706.
    found = statistics.estimate(TWO)
    assert found["mean"] == pytest.approx(0.05)
    assert (found["low"], found["high"]) == (
        pytest.approx(0.05 - 12.706 * 0.03, abs=1e-4),
        pytest.approx(0.05 + 12.706 * 0.03, abs=1e-4),
    )
    assert (found["n"], found["base_models"]) == (6, 2)
    # The lowest orders are .01 and .07, the highest .03 and .09.
    assert (found["lowest"], found["highest"]) == (pytest.approx(0.04), pytest.approx(0.06))


def test_rounding_takes_no_mean_out_of_its_range():
    # A joint model that is trained once is every order's: numpy's mean of three times .7 is less than .7.
    for value in np.random.default_rng(0).integers(0, 480, 300) / 480:
        for several in range(1, 4):
            found = statistics.estimate({(order, seed, 0): value for order in range(3) for seed in range(several)})
            assert found["lowest"] == found["mean"] == found["highest"] == value
    assert statistics.estimate({(order, 0, 0): 0.7 for order in range(3)})["mean"] == 0.7


def test_seeds_and_folds_are_base_models():
    found = statistics.estimate({(0, 0, 0): 0.25, (0, 0, 1): 0.5, (0, 1, 0): 0.75})
    assert (found["n"], found["base_models"]) == (3, 3)
    assert found["high"] - 0.5 == pytest.approx(stats.t.ppf(0.975, 2) * 0.25 / np.sqrt(3))
    assert (found["lowest"], found["highest"]) == (found["mean"], found["mean"])


def test_a_base_model_counts_once_however_many_orders_it_has():
    found = statistics.estimate({(0, 0, 0): 0.0, (1, 0, 0): 0.0, (2, 0, 0): 0.0, (0, 1, 0): 1.0})
    assert (found["mean"], found["lowest"], found["highest"]) == (0.5, 0.5, 0.5)


def test_one_base_model_has_a_range_and_no_interval():
    found = statistics.estimate({(0, None, 0): 0.25, (1, None, 0): 0.5, (2, None, 0): 0.75})
    assert (found["mean"], found["low"], found["high"]) == (0.5, None, None)
    assert (found["lowest"], found["highest"], found["n"], found["base_models"]) == (0.25, 0.75, 3, 1)
    with pytest.raises(ValueError, match="at least one"):
        statistics.estimate({})


def runs(values: dict, metric: str = "final_accuracy") -> dict:
    return {"runs": [{"order": o, "seed": s, "fold": f, "metrics": {metric: v}} for (o, s, f), v in values.items()]}


def test_differences_are_paired_by_base_model_and_order():
    # Orders and seeds move both methods by far more than they differ.
    ours = {(o, s, 0): 0.1 * o + 0.3 * s for o in range(3) for s in (0, 1)}
    better = {(o, s, 0): v + (0.02 if s else 0.01) for (o, s, _), v in ours.items()}
    found = statistics.compare({"kd_psmr": runs(ours), "better": runs(better)})
    assert found["reference"] == "kd_psmr"
    row = found["metrics"]["final_accuracy"]["to_reference"]["better"]
    assert row["mean"] == pytest.approx(0.015)
    assert row["high"] - row["mean"] == pytest.approx(12.706 * 0.005, abs=1e-4)
    assert (row["n"], row["base_models"]) == (6, 2)
    assert (row["lowest"], row["highest"]) == (pytest.approx(0.015), pytest.approx(0.015))
    # What one of them lacks is left out of both: here order 2, and seed 1 of order 0.
    some = {name: better[name] for name in ((0, 0, 0), (1, 0, 0), (1, 1, 0))}
    row = statistics.difference(some, ours)
    assert (row["n"], row["base_models"], row["mean"]) == (3, 2, pytest.approx(0.015))
    assert statistics.difference({(9, 0, 0): 1.0}, ours) is None


def test_a_difference_that_only_dependent_runs_show_is_not_shown():
    ours = dict.fromkeys(TWO, 0.5)
    better = {name: 0.5 + value for name, value in TWO.items()}
    row = statistics.compare({"a": runs(better), "kd_psmr": runs(ours)})["metrics"]["final_accuracy"]["to_reference"][
        "a"
    ]
    assert row["low"] < 0 < row["high"]


def test_the_reference_is_the_papers_method_or_the_one_named():
    one = {(0, 0, 0): 0.5}
    columns = {"a": runs(one), "kd_psmr, views=4": runs(one), "kd_psmr, views=8": runs(one)}
    assert statistics.compare(columns)["reference"] == "kd_psmr, views=4"
    found = statistics.compare(columns, reference="a")
    assert (found["reference"], list(found["metrics"])) == ("a", ["final_accuracy"])
    assert set(found["metrics"]["final_accuracy"]["to_reference"]) == set(columns) - {"a"}
    # Without the reference, or with it alone, nothing is paired.
    assert statistics.compare({"a": runs(one), "b": runs(one)}) == {"reference": "kd_psmr", "metrics": {}}
    assert statistics.compare({"kd_psmr": runs(one)})["metrics"] == {}


def test_runs_without_a_metric_are_left_out():
    found = statistics.values_of([*runs({(0, 0, 0): 0.5})["runs"], *runs({(1, 0, 0): None})["runs"],
                                  *runs({(2, 0, 0): 0.5}, "forgetting")["runs"]], "final_accuracy")  # fmt: skip
    assert found == {(0, 0, 0): 0.5}
