"""Few shots by a classifier of statistics, against the same worked out with NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import classifiers
from fer_jax.config import names
from fer_jax.errors import UserError
from fer_jax.phases import base as base_task
from fer_jax.phases import few_shot, part
from fer_jax.phases.shots_by_statistics import ByStatistics
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.runs import results
from tests.support.digits import fold_of

TAKEN = 0.25


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    changes = {
        "few_shot.taken": TAKEN,
        "few_shot.shots": (1, 3),
        "few_shot.draws": 2,
        "few_shot.answers": ("class_mean",),
    }
    fold = fold_of(tmp_path_factory.mktemp("digits"), **changes, **{"protocol.name": "held_out", "data.n_base": 8})
    base = base_task.initial_params(fold)
    return ByStatistics(fold, base, classifiers.CLASSIFIERS["class_mean"]), fold, base


def features_of(fold, base, rows):
    return np.asarray(Encoded.of(fold, base, rows, "input").features(fold, base, "input"))


def by_hand(fold, base, new_class, shots):
    """The nearest class mean, and the new class where it is nearer by more than what a quarter of the others pass."""
    means = [features_of(fold, base, fold.train_rows(np.arange(10) == c)).mean(0) for c in range(8)]
    means = np.stack([*means, features_of(fold, base, shots).mean(0)])

    def scores(rows):
        return -((features_of(fold, base, rows)[:, None] - means) ** 2).sum(-1)

    labels = fold.data.label
    held = scores(fold.split.validation[labels[fold.split.validation] < 8])
    threshold = np.quantile(held[:, 8] - held[:, :8].max(1), 1 - TAKEN)
    test = fold.split.test[(labels[fold.split.test] < 8) | (labels[fold.split.test] == new_class)]
    found = scores(test)
    answers = np.where(found[:, 8] - found[:, :8].max(1) > threshold, new_class, found[:, :8].argmax(1))
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels[test], answers), 1)
    return counts


@pytest.mark.parametrize("new_class", [8, 9])
def test_the_new_class_takes_a_share_of_the_base_classes_validation_images(learner, new_class):
    by_statistics, fold, base = learner
    shots = fold.train_rows(np.arange(10) == new_class)[:3]
    counts = by_statistics.counts(new_class, shots)
    np.testing.assert_array_equal(counts, by_hand(fold, base, new_class, shots))
    assert counts[:, new_class].sum() > 0


def test_no_validation_image_of_a_new_class_is_looked_at(learner):
    _, fold, base = learner
    whole = Encoded.held_out(fold, base, "validation", "input")
    new = np.asarray(whole.labels) >= 8
    assert new.any()
    poisoned = Encoded(jnp.where(new[:, None, None, None], jnp.nan, whole.activations), whole.labels)
    shots = fold.train_rows(np.arange(10) == 8)[:1]
    counts = ByStatistics(fold, base, classifiers.CLASSIFIERS["class_mean"]).counts(8, shots)
    fold.cache.clear()
    fold.cache.get(base, ("held out", "validation", "input"), lambda: poisoned)
    np.testing.assert_array_equal(
        ByStatistics(fold, base, classifiers.CLASSIFIERS["class_mean"]).counts(8, shots), counts
    )
    fold.cache.clear()


def test_rows_of_every_class_draw_and_answer_and_a_resumed_phase_has_the_same(learner):
    _, fold, base = learner
    rows = [{**row, "seconds": 0} for row in few_shot.run(fold, base)]
    assert [(row["class"], row["shots"], row["draw"]) for row in rows] == [
        (fold.data.class_names[c], shots, draw) for c in (8, 9) for shots in (1, 3) for draw in (0, 1)
    ]
    assert {row["answer"] for row in rows} == {"class_mean"}
    assert [{**row, "seconds": 0} for row in few_shot.run(fold, base)] == rows
    assert few_shot.work(fold) == [0, 0]
    assert few_shot.fits(fold) == len(rows)


def test_a_classifier_of_exemplars_or_penalties_is_refused_in_one_line():
    for name in ("exemplar_mean", "ridge"):
        with pytest.raises(
            UserError, match=f"^'{name}' reads exemplars or chooses a penalty; it may be one of network, "
        ):
            names.of_few_images(name)
    assert names.of_few_images("network") is None


def test_a_class_is_known_by_its_name_alone_beside_those_of_few_images(tmp_path):
    answers = {"few_shot.answers": ("composition", "class_mean"), "few_shot.shots": (1,), "few_shot.draws": 2}
    given = fold_of(tmp_path, **answers, **{"protocol.name": "held_out", "data.n_base": 8})
    class_names = ("happy", "surprised", "sad", "angry", *"efgh", "happily surprised", "sadly angry")
    with pytest.raises(
        UserError, match=r"^config.few_shot.answers has composition: the name of class digit 8 does not"
    ):
        part.check_answers(given.config, given.data.class_names)
    fold = dataclasses.replace(given, data=dataclasses.replace(given.data, class_names=class_names))
    part.check_answers(fold.config, class_names)
    base = base_task.initial_params(fold)
    rows = few_shot.run(fold, base)
    assert [(row["class"], row["shots"], row["answer"]) for row in rows] == [
        (name, shots, answer) for name in class_names[8:]
        for shots, answer in ((None, "composition"), (1, "class_mean"), (1, "class_mean"))
    ]  # fmt: skip
    # By hand, of the first of them: the eight, and the sum of two.
    test = Encoded.of(fold, base, fold.split.test, "input")
    p = np.asarray(jax.nn.softmax(test.logits(fold, base, "input")[:, :8]))
    answer = np.concatenate([2 * p - 0.5, p[:, :1] + p[:, 1:2]], 1).argmax(1)
    labels = np.asarray(test.labels)
    assert rows[0]["new_class_accuracy"] == pytest.approx(np.mean(answer[labels == 8] == 8))
    assert rows[0]["base_accuracy"] == pytest.approx(np.mean((answer == labels)[labels < 8]))
    assert list(results.few_shot_table([dict(row, fold=0) for row in rows])) == ["no, composition", "1, class_mean"]
