"""The tables of docs/results.md, from results whose figures are known."""

import pytest

from studies.documents import results


def test_choices_at_either_end_of_a_search_are_counted():
    def run(rate, strength, rates, strengths):
        tried = [{"learning_rate": r, "strength": s} for r in rates for s in strengths]
        return {"search": {"learning_rate": rate, "strength": strength, "tried": tried}}

    rates, weights = (1e-3, 2e-3, 4e-3), (0.1, 1)
    found = {
        "lwf": {"runs": [run(1e-3, 0.1, rates, weights), run(1e-3, 1, rates, weights), run(4e-3, 1, rates, weights)]},
        "er": {"runs": [run(2e-3, None, rates, (None,))]},
        "ncm": {"runs": [{"search": {}}]},
    }
    assert results.search({"continual": found, "merged": {"methods": list(found)}}).splitlines()[2:] == [
        "| LwF | 2, 1 of 3 | 1, 2 of 3 |",
        "| experience replay, class-balanced | 0, 0 of 1 | – |",
    ]


def test_an_ingredient_is_compared_over_all_variants_that_have_it():
    of_rule, of_teacher = {"predictive_sort": 0.5, "random": 0.6, "herding": 0.8}, {"base": 0.0, "previous": 0.1}

    def runs(value: float) -> dict:
        metrics = dict.fromkeys(("average_incremental_accuracy", "final_accuracy"), value)
        return {"runs": [{"order": 0, "fold": fold, "metrics": metrics} for fold in (2, 3)]}

    found = {
        f"fer_jax.ingredients.{rule}_{teacher}_{mask}": runs(of_rule[rule] + of_teacher[teacher])
        for rule in of_rule for teacher in of_teacher for mask in ("masked", "padded")
    }  # fmt: skip
    found |= {f"fer_jax.ingredients.{rule}_alone": runs(of_rule[rule] - 0.05) for rule in of_rule}
    found["kd_psmr"] = found.pop("fer_jax.ingredients.predictive_sort_base_masked")
    rows = [row.split(" | ")[1] for row in results.factors({"continual": found}).splitlines()[2:]]
    assert [float(row.partition(" [")[0]) for row in rows] == pytest.approx([20, 10, 10, 10, 0])
