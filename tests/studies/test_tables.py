"""The tables of docs/results.md, from results whose figures are known."""

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
    assert results.search({"continual": found}).splitlines()[2:] == [
        "| LwF | 2, 1 of 3 | 1, 2 of 3 |",
        "| experience replay, class-balanced | 0, 0 of 1 | – |",
    ]
