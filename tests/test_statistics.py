"""Statistics worked out by hand, and Holm's procedure against its definition."""

import numpy as np
import pytest
from scipy import stats

from fer_jax import statistics


def test_an_interval_is_around_the_mean_and_the_same_every_time():
    values = [0.1, 0.2, 0.3, 0.4, 0.9]
    found = statistics.interval(values)
    assert found == statistics.interval(values)
    assert found["mean"] == pytest.approx(0.38)
    assert 0.1 < found["low"] < 0.38 < found["high"] < 0.9
    assert found["n"] == 5
    # A mean of resamples of five: its standard deviation is that of the values over sqrt(5).
    wide = stats.norm.interval(0.95, 0.38, np.std(values) / np.sqrt(5))
    assert found["low"] == pytest.approx(wide[0], abs=0.05)
    one = statistics.interval([0.5])
    assert (one["mean"], one["n"]) == (0.5, 1)
    assert np.isnan([one["low"], one["high"]]).all()


def test_base_models_are_drawn_before_their_runs():
    # Two base models, 0 and 1 apart, whose runs do not differ: a mean is 0, .5 or 1, each end a quarter of the draws.
    values, base_models = [0.0] * 5 + [1.0] * 5, [0] * 5 + [1] * 5
    found = statistics.interval(values, base_models)
    assert (found["mean"], found["low"], found["high"]) == (0.5, 0.0, 1.0)
    assert (found["n"], found["base_models"]) == (10, 2)
    # As if runs were independent it would be narrower.
    flat = statistics.interval(values)
    assert 0.1 < flat["low"] < flat["high"] < 0.9
    # One run a base model: drawing base models is drawing runs.
    apart = statistics.interval(values, range(10))
    assert apart["low"] == pytest.approx(flat["low"], abs=0.1)
    # A base model with more runs counts for more.
    assert statistics.interval([0.0, 0.0, 0.0, 1.0], [0, 0, 0, 1])["mean"] == 0.25
    # Two of n runs: variance of a mean of means is that between base models, over two, and that within, over n.
    rng = np.random.default_rng(1)
    base_models = np.repeat(np.arange(40), 5)
    many = rng.normal(size=40)[base_models] + rng.normal(size=200)
    means = many.reshape(40, 5).mean(1)
    within = many.reshape(40, 5).var(1).mean() / 200
    half = 1.96 * np.sqrt(means.var() / 40 + within)
    found = statistics.interval(many, base_models)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.05)


def test_orders_and_seeds_vary_apart_from_each_other():
    # Order adds 0 or 2, seed adds 0 or 10: one step apart the standard deviations are 2 and 10 over sqrt(2).
    values = {(o, s, 0): 2.0 * o + 10.0 * s for o in (0, 1) for s in (0, 1)}
    found = statistics.spread(values)
    assert found == pytest.approx({"order": 2 / np.sqrt(2), "seed": 10 / np.sqrt(2)})
    assert statistics.spread({(0, 0, 0): 1.0}) == {}


def test_holm_by_hand():
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 lifted to the one before, 0.5 * 1.
    assert statistics.holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]).shape == (0,)


def runs(values: dict[int, float], fold: int = 0) -> dict:
    return {"runs": [{"order": o, "fold": fold, "metrics": {"final_accuracy": v}} for o, v in values.items()]}


def test_methods_are_paired_by_run():
    ours = {o: 0.5 + 0.01 * o for o in range(7)}
    better = {o: v + 0.1 + 0.001 * o for o, v in ours.items() if o != 6}
    few = {o: ours[o] + 0.1 for o in range(5)}
    found = statistics.compare({"kd_psmr": runs(ours), "better": runs(better), "same": runs(ours)}, seed=3)
    assert found["reference"] == "kd_psmr"
    table = found["metrics"]["final_accuracy"]
    row = table["to_reference"]["better"]
    # Six differences of one sign: 2 / 2^6.
    assert (row["n"], row["base_models"], row["p"]) == (6, 1, pytest.approx(1 / 32))
    assert row["mean"] == pytest.approx(0.1025)
    assert row["p_holm"] == pytest.approx(2 / 32)
    assert table["to_reference"]["same"]["p"] == 1.0
    assert table["methods"]["kd_psmr"]["n"] == 7
    assert table["ranks"] == pytest.approx({"better": 1.0, "kd_psmr": 2.5, "same": 2.5})
    # Demšar's table: q of 3 methods is 2.343.
    assert table["critical_difference"] == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), abs=2e-3)
    assert table["ranked"] == {"n": 6, "base_models": 1}
    # Of five runs no test could reject: none is made, and the others are not corrected for it.
    found = statistics.compare({"kd_psmr": runs(ours), "better": runs(better), "few": runs(few)})
    rows = found["metrics"]["final_accuracy"]["to_reference"]
    assert rows["few"]["n"] == 5
    assert np.isnan([rows["few"]["p"], rows["few"]["p_holm"]]).all()
    assert rows["better"]["p_holm"] == rows["better"]["p"] == pytest.approx(1 / 32)


def test_orders_of_one_seed_and_fold_share_a_base_model():
    def run(seed, fold, order):
        return {"order": order, "fold": fold, "seed": seed, "metrics": {"final_accuracy": 1.0 * seed}}

    of = {"runs": [run(*name) for name in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1))]}
    found = statistics.compare({"kd_psmr": of, "a": of})["metrics"]["final_accuracy"]
    assert (found["methods"]["a"]["n"], found["methods"]["a"]["base_models"]) == (5, 3)
    assert found["to_reference"]["a"]["base_models"] == 3


def test_less_forgetting_ranks_first_and_one_method_alone_is_not_compared():
    def entry(value):
        return {"runs": [{"order": o, "fold": 0, "metrics": {"forgetting": value + o}} for o in range(3)]}

    found = statistics.compare({"kd_psmr": entry(0.1), "a": entry(0.2), "b": entry(0.3)})["metrics"]
    assert found["forgetting"]["ranks"] == {"kd_psmr": 1.0, "a": 2.0, "b": 3.0}
    assert statistics.compare({"kd_psmr": entry(0.1)})["metrics"] == {}
