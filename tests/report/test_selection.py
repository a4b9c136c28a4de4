"""Which runs are shown: by hand."""

from fer_jax.report import selection


def a_run(order, average, final=0.5):
    return {"order": order, "fold": 0, "metrics": {"average_incremental_accuracy": average, "final_accuracy": final}}


def test_best_nearest_and_worst_by_hand():
    runs = [a_run(0, 0.2), a_run(1, 0.9), a_run(2, 0.6), a_run(3, 0.5)]
    picked = selection.pick(runs)
    assert [run["order"] for run in picked] == [1, 2, 0]  # the mean is 0.55: 0.6 and 0.5 are as near, the first counts


def test_runs_without_an_average_are_ranked_by_their_end():
    runs = [{"order": i, "metrics": {"final_accuracy": value}} for i, value in enumerate((0.1, 0.4, 0.3))]
    assert selection.metric_of(runs) == "final_accuracy"
    assert [run["order"] for run in selection.pick(runs)] == [1, 2, 0]


def test_orders_table_names_runs_and_leaves_out_a_single_one():
    results = {
        "config": {"methods": ["kd_psmr", "lwf"]},
        "continual": {"kd_psmr": {"runs": [a_run(0, 0.2, 0.1), a_run(4, 0.4, 0.3)]}, "lwf": {"runs": [a_run(0, 0.3)]}},
    }
    header, rows = selection.orders_table(results)
    assert header == ["%", "best", "nearest to the mean", "worst"]
    assert [row[1:] for row in rows] == [
        ["40.0 (order 4)", "20.0 (order 0)", "20.0 (order 0)"],
        ["30.0 (order 4)", "10.0 (order 0)", "10.0 (order 0)"],
    ]


def test_a_run_is_told_by_what_differs():
    runs = [{**a_run(0, 0.2), "seed": 1}, {**a_run(0, 0.2), "seed": 2, "fold": 3}]
    assert selection.run_name(runs[1], {"continual": {"lwf": {"runs": runs}}}) == "order 0, fold 3, seed 2"
    assert selection.run_name(runs[0], {"continual": {"lwf": {"runs": runs[:1]}}}) == "order 0"


def test_classes_in_the_order_of_learning():
    assert selection.learned_order({"learned_at": [0, 0, 2, 1], "class_order": [3, 2]}) == [0, 1, 3, 2]


def test_the_first_method_that_is_no_bound_is_shown_in_detail():
    of = {key: {} for key in ("finetune", "lwf", "kd_psmr", "joint")}
    assert selection.main_method({"config": {"methods": list(of)}, "continual": of}) == "lwf"
    assert selection.main_method({"config": {"methods": ["joint"]}, "continual": {"joint": {}}}) == "joint"
    assert selection.main_method({"config": {"methods": ["lwf"]}, "continual": {}}) is None
