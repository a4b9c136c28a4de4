"""Forgetting by class: by hand, and as the metric of all classes has it."""

import numpy as np

from fer_jax import metrics
from fer_jax.report import forgetting

RUN = {
    "learned_at": [0, 2, 1],
    "class_order": [2, 1],
    "trained_steps": [0, 1, 2],
    "accuracy_matrix": [[0.5, None, None], [0.8, None, 0.6], [0.2, 1.0, 0.7]],
    "test_counts": [5, 5, 5],
}
RESULTS = {
    "config": {"methods": ["kd_psmr", "joint"]},
    "data": {"classes": ["a", "b", "c"]},
    "continual": {"kd_psmr": {"runs": [RUN]}, "joint": {"runs": [{**RUN, "trained_steps": [0, 2]}]}},
}


def test_by_hand_and_as_the_metric():
    found = forgetting.by_class(RUN)
    np.testing.assert_allclose(found, [0.6, np.nan, -0.1])
    a = np.asarray(RUN["accuracy_matrix"], float)
    assert np.isclose(np.nanmean(found), metrics.forgetting(a, np.asarray(RUN["learned_at"]), np.full(3, 5)))


def test_the_table_has_methods_that_were_trained_at_every_step():
    found = forgetting.table(RESULTS)
    assert found["columns"] == ["KD + PSMR (the paper)"]
    assert found["rows"] == [("a", [(0.6000000000000001, "+60")]), ("b", [None]), ("c", [(0.0, "-10")])]
    assert forgetting.figure(RESULTS, "joint") is None


def test_the_mean_over_runs_leaves_out_what_is_not_there():
    rows = [np.asarray([0.2, np.nan, np.nan]), np.asarray([0.4, 0.5, np.nan])]
    np.testing.assert_allclose(forgetting.mean_over_runs(rows), [0.3, 0.5, np.nan])


def test_the_figure_goes_from_learned_to_final():
    axes = forgetting.figure(RESULTS, "kd_psmr").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.5, 1.0, 0.6])
    np.testing.assert_allclose(axes.lines[1].get_xdata(), [0.2, 1.0, 0.7])
