"""Two workdirs side by side: the difference by hand, what is said of it, and what cannot be compared."""

import json
import pathlib

import pytest

from fer_jax.errors import UserError
from fer_jax.report import against
from fer_jax.runs.results import estimates


def side(letter: str, accuracies: dict[str, list[list[float]]], seed: int = 0, **config) -> against.Side:
    """Two classes, learned at once; accuracies by method: of both classes, a row an order."""
    continual = {}
    for method, rows in accuracies.items():
        runs = [
            {"order": i, "fold": 0, "accuracy_matrix": [row], "metrics": {"final_accuracy": sum(row) / 2}}
            for i, row in enumerate(rows)
        ]
        continual[method] = {"runs": runs, "metrics": estimates(runs)}
    results = {
        "config": {"methods": list(accuracies), "memory.share": 0.3, **config},
        "seed": seed, "protocol": "held_out", "continual": continual,
        "data": {"name": "faces", "classes": ["happy", "awed"], "n_base": 1, "sha256": "00"},
    }  # fmt: skip
    return against.Side(letter, pathlib.Path(letter), results)


@pytest.fixture
def sides():
    a = side("A", {"kd_psmr": [[0.5, 0.7], [0.7, 0.7]], "er": [[0.5, 0.5]]})
    return a, side("B", {"kd_psmr": [[0.9, 0.5], [0.9, 0.7]]}, **{"memory.share": 0.5})


def test_numbers_and_sentences_by_hand(sides):
    pairs = against.paired(*sides)
    assert pairs == {"KD + PSMR (the paper)": ("kd_psmr", "kd_psmr")}
    header, rows = against.numbers(*sides, pairs)
    assert header[1:] == ["A", "B", "B minus A, points"]
    # 0.6 and 0.7 against 0.7 and 0.8.
    assert rows == [["KD + PSMR (the paper): final accuracy, all classes", "65.0 (range 60.0 to 70.0)",
                     "75.0 (range 70.0 to 80.0)", "+10.0"]]  # fmt: skip
    assert against.keys(*sides) == [["memory.share", "0.3", "0.5"], ["methods", "['kd_psmr', 'er']", "['kd_psmr']"]]
    said = " ".join(against.sentences(*sides, pairs))
    assert said == (
        "The configs differ in memory.share (0.3 in A, 0.5 in B), methods (['kd_psmr', 'er'] in A, ['kd_psmr'] in B). "
        "KD + PSMR (the paper) names 65.0 % of the test images right in the end in A, and 75.0 % in B: 10.0 points "
        "more. One base model cannot tell such a difference from chance; more seeds can. Most was gained by happy "
        "(+30), in points. Most was lost by awed (-10), in points."
    )
    assert against.classes(*sides, pairs)[1] == [["happy", "60", "90", "+30"], ["awed", "70", "60", "-10"]]


def test_other_seeds_and_other_images_are_not_paired(sides):
    a, b = sides
    # Order 1 alone is shared: 0.8 minus 0.7.
    b.results["continual"]["kd_psmr"]["runs"] = b.results["continual"]["kd_psmr"]["runs"][1:]
    columns = ("kd_psmr", "kd_psmr")
    paired = against.difference(a, b, columns, "final_accuracy")
    assert paired["mean"] == pytest.approx(0.1)
    assert paired["n"] == 1
    b.results["seed"] = 1
    assert against.difference(a, b, columns, "final_accuracy") == {"mean": pytest.approx(0.1), "low": None}
    b.results["seed"], b.results["data"]["sha256"] = 0, "11"
    assert "n" not in against.difference(a, b, columns, "final_accuracy")
    assert "not the same bytes" in " ".join(against.sentences(a, b, against.paired(a, b)))


def test_an_interval_with_zero_in_it_is_said():
    def seeds(letter: str, shift: float) -> against.Side:
        one = side(letter, {"er": [[0.5, 0.5], [0.6 + shift, 0.6]]})
        for number, run in enumerate(one.results["continual"]["er"]["runs"]):
            run |= {"order": 0, "seed": number}
        return one

    pairs = {"replay": ("er", "er")}
    assert "has 0 in it" in " ".join(against.sentences(seeds("A", 0.0), seeds("B", 0.1), pairs))


def test_a_method_of_both_is_compared_first_and_without_one_the_main_ones():
    a = side("A", {"er": [[0.5, 0.5]], "lwf": [[0.5, 0.5]]})
    assert list(against.paired(a, side("B", {"icarl": [[1, 1]], "lwf": [[1, 1]], "er": [[1, 1]]})).values()) == [
        ("er", "er"), ("lwf", "lwf"),
    ]  # fmt: skip
    apart = against.paired(a, side("B", {"icarl": [[1, 1]]}))
    assert apart == {"experience replay, class-balanced and iCaRL": ("er", "icarl")}
    assert against.paired(a, side("B", {})) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "published"}, "its protocol is published, the other's is held_out"),
        (
            {"data": {"classes": ["happy", "hatred"]}},
            "it has 2 classes, the other 2, and only one of them has the class",
        ),
        ({"data": {"classes": ["awed", "happy"]}}, "its classes stand in another order"),
        ({"data": {"n_base": 2}}, "its data.n_base is 2, the other's is 1"),
        (
            {"config": {"protocol.classes_per_increment": 3}},
            "its protocol.classes_per_increment is 3, the other's is 1",
        ),
    ],
)
def test_what_answers_another_question_is_refused_in_one_line(sides, changes, said):
    a, b = sides
    for key, value in changes.items():
        b.results[key] = {**b.results[key], **value} if isinstance(value, dict) else value
    with pytest.raises(UserError) as raised:
        against.check(a, b)
    assert str(raised.value).startswith("--against B cannot be compared with --workdir A: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_page_has_the_numbers_of_both_and_one_figure(tiny_run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    results = json.loads((tiny_run / "results.json").read_text())
    results["config"]["memory.share"] = 0.25
    (other / "results.json").write_text(json.dumps(results))
    path = against.write(tiny_run, other, tmp_path / "page")
    text = path.read_text()
    assert text.count("<svg ") == 1
    assert {one.name for one in path.parent.iterdir()} == {"index.html", "accuracy.png", "accuracy.pdf"}
    assert "memory.share (0.5 in A, 0.25 in B)" in text
    assert "no change" in text
    with pytest.raises(UserError, match="is the same workdir"):
        against.write(other, other)
    results["protocol"] = "published"
    (other / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="cannot be compared"):
        against.write(tiny_run, other, tmp_path / "none")
    assert not (tmp_path / "none").exists()
