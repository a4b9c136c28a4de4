"""The first screen: its sentences and numbers, by hand."""

import copy

import numpy as np
import pytest

from fer_jax.report import headline
from fer_jax.runs.results import estimates

COUNTS = [[8, 2, 0, 0], [0, 10, 0, 0], [0, 5, 5, 0], [4, 0, 0, 6]]


def a_run(counts, order=0, matrix=True) -> dict:
    """Four classes, the last two learned one by one; the accuracy on the first two was 1 and 0.9 at first."""
    last = np.diagonal(counts) / 10
    a = [[1.0, 0.9, None, None], [None] * 4, last.tolist()] if matrix else [[None] * 4, [None] * 4, last.tolist()]
    if matrix:
        a[1] = [0.9, 0.8, 0.9, None]
    return {
        "order": order, "fold": 0, "learned_at": [0, 0, 1, 2], "class_order": [2, 3], "test_counts": [10] * 4,
        "trained_steps": [0, 1, 2] if matrix else [0, 2], "accuracy_matrix": a, "final_confusion": counts,
        "metrics": {"final_accuracy": float(last.mean())},
    }  # fmt: skip


def results_of(**columns: list[dict]) -> dict:
    continual = {name: {"runs": runs, "metrics": estimates(runs)} for name, runs in columns.items()}
    return {
        "config": {"methods": list(columns), "protocol.classes_per_increment": 1},
        "protocol": "held_out",
        "data": {"name": "faces", "classes": ["happy", "sad", "awed", "hatred"], "n_base": 2, "images": 400,
                 "subjects": 50, "metadata": {"bayes": {"all": 0.95}}},
        "continual": continual,
        "basic": [{"fold": 0, "objective": None, "test_accuracy": 0.95, "test_confusion": [[9, 1], [0, 10]]}],
    }  # fmt: skip


@pytest.fixture
def results():
    ours = a_run(COUNTS)
    ours["metrics"] |= {"forgetting": 0.1, "base_accuracy": 0.95, "base_retention_final": 0.9}
    joint = a_run([[10, 0, 0, 0], [0, 10, 0, 0], [0, 2, 8, 0], [0, 0, 0, 10]], matrix=False)
    finetune = a_run([[0, 0, 0, 10]] * 4)
    return results_of(finetune=[finetune], kd_psmr=[ours], joint=[joint])


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def said(card: headline.Card) -> str:
    return plain(" ".join(card.sentences))


def test_what_was_learned_is_said_without_a_term_of_the_field(results):
    text = " ".join(headline.learned(results))
    assert text == (
        "A network first learned 2 expressions together: happy and sad. Then it learned 2 more, one at a time, such as "
        "awed, without going back to all earlier images. The data set has 100 images of each; it was tested on people "
        "that training never saw."
    )
    results["data"] |= {"classes": ["3", "5", "0", "1"], "images": 401, "subjects": None}
    results["config"]["protocol.classes_per_increment"] = 2
    text = " ".join(headline.learned(results))
    assert "2 classes together: 3 and 5" in text
    assert "2 at a time" in text
    assert "about 100 images of each; it was tested on images that" in text


def test_the_scale_is_sorted_and_has_chance_bounds_and_what_is_possible(results):
    assert headline.bars(results) == [
        ("guessing among 4", 0.25, "bound"),
        ("finetuning (lower bound)", 0.25, "bound"),
        ("KD + PSMR (the paper)", 0.725, "main"),
        ("joint training (upper bound)", 0.95, "bound"),
        ("best possible on these images", 0.95, "bound"),
    ]


def test_of_many_methods_the_paper_and_the_best_stand_beside_the_main_one():
    runs = {name: [a_run([[n, 10 - n, 0, 0], *COUNTS[1:]])] for n, name in enumerate(("icarl", "er", "kd_psmr", "lwf"))}
    found = headline.bars(results_of(**runs))
    assert [(bar.name, bar.kind) for bar in found if bar.kind != "bound"] == [
        ("iCaRL", "main"), ("KD + PSMR (the paper)", "other"), ("LwF", "other"),
    ]  # fmt: skip


def test_the_cards_say_how_good_what_was_forgotten_and_confused_and_what_next(results):
    good, forgotten, confused, after = headline.cards(results, "runs/mine")
    assert plain(good.number) == "72.5 %"
    assert said(good) == (
        "In the end KD + PSMR (the paper) names 72.5 % of 40 test images right, out of 4 expressions. Guessing would "
        "reach 25.0 %, and training on all images at once 95.0 %. This is 68 % of the way between them."
    )
    assert plain(forgotten.number) == "-10 points"
    # happy went from 1 to 0.8, sad from 0.9 to 1, awed from 0.9 to 0.5; hatred came last.
    assert said(forgotten) == (
        "On average an expression lost 10 points between its best accuracy and the end. The most was lost by awed: 40 "
        "points. The first 2 went from 95.0 %, when they were alone, to 90.0 %."
    )
    assert plain(confused.number) == "50 %"
    assert said(confused) == (
        "50 % of awed were called sad (joint training: 20 %). 40 % of hatred were called happy (joint training: 0 %). "
        "20 % of happy were called sad (joint training: 0 %)."
    )
    assert "Try contrastive_replay" in said(after)
    assert after.commands[1][1] == "fer-jax report --workdir runs/mine --against OTHER"


def test_what_next_depends_on_how_far_joint_training_is(results):
    near = copy.deepcopy(results)
    near["continual"]["joint"]["metrics"]["final_accuracy"]["mean"] = 0.76
    assert "little is left to gain" in said(headline.cards(near, "w")[-1])
    alone = copy.deepcopy(results)
    del alone["continual"]["joint"]
    alone["config"]["methods"].remove("joint")
    *_, after = headline.cards(alone, "w")
    assert said(after).startswith("Add joint to config.methods")
    results["continual"]["contrastive_replay"] = results["continual"].pop("kd_psmr")
    results["config"]["methods"][1] = "contrastive_replay"
    assert "Store more images" in said(headline.cards(results, "w")[-1])
    results["merged"] = {"methods": list(results["continual"])}
    assert headline.cards(results, "w")[-1].commands == ()


def test_spread_is_an_interval_over_base_models_or_a_range_over_orders(results):
    several = results_of(kd_psmr=[a_run(COUNTS), a_run([[10, 0, 0, 0], *COUNTS[1:]], order=1)])
    assert "(72.5 to 77.5 over class orders)" in said(headline.cards(several, "w")[0])
    runs = [{**a_run(COUNTS), "seed": 0}, {**a_run([[10, 0, 0, 0], *COUNTS[1:]]), "seed": 1}]
    # 2.5 points of standard error, 12.706 of Student's t with one degree of freedom.
    assert "(95 % interval 43.2 to 106.8 over 2 base models)" in said(headline.cards(results_of(kd_psmr=runs), "w")[0])


def test_a_method_without_every_step_has_no_forgetting_and_one_without_errors_no_confusion(results):
    perfect = results_of(joint=[a_run(np.diag([10] * 4).tolist(), matrix=False)])
    assert [card.question for card in headline.cards(perfect, "w")] == ["How good is it?", "What next?"]


def test_the_base_task_alone(results):
    results["continual"], results["config"]["methods"] = {}, []
    good, confused, after = headline.cards(results, "w")
    assert plain(good.number) == "95.0 %"
    assert said(confused) == "10 % of happy were called sad."
    assert said(after).startswith("Add methods to config.methods")
    assert [bar.kind for bar in headline.bars(results)] == ["bound", "main"]


def test_the_base_task_has_an_interval_where_there_are_several_base_models():
    two = {"basic": [{"fold": 0, "test_accuracy": 0.4}, {"fold": 1, "test_accuracy": 0.6}]}
    found = headline.base_estimate(two)
    # 0.1 of standard error, 12.706 of Student's t with one degree of freedom.
    assert [round(100 * found[key], 1) for key in ("mean", "low", "high")] == [50.0, -77.1, 177.1]
    # Base models of one seed and fold that differ by their settings are no sample.
    two["basic"] = [{"fold": 0, "seed": 0, "label": f"l2={x}", "test_accuracy": x} for x in (0.4, 0.6)]
    found = headline.base_estimate(two)
    assert (found["low"], found["lowest"], found["highest"], found["base_models"]) == (None, 0.4, 0.6, 1)
    two["basic"].append({"fold": 0, "objective": "mixup", "test_accuracy": 0.9})
    assert headline.base_estimate(two)["n"] == 2


def test_a_pair_is_told_once_and_only_if_it_is_confused_often():
    counts = np.asarray([[50, 30, 20], [40, 60, 0], [3, 0, 97]])
    assert headline.confusions(counts) == [(1, 0, 0.4), (0, 2, 0.2)]
    assert headline.confusions(np.diag([5, 5])) == []
