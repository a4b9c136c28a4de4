"""Increments of every method: what they may look at, and that the number of devices changes nothing."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import classifiers, experiment, methods, objectives, protocol
from fer_jax.bench import timing
from fer_jax.classifiers import random_features
from fer_jax.config import ConfigError
from fer_jax.errors import UserError
from fer_jax.phases import answers, continual, memory
from fer_jax.phases import base as base_task
from fer_jax.phases import increments as steps
from fer_jax.phases.part import Part, cached, check_answers, effective
from fer_jax.phases.trunk_cache import TrunkCache
from fer_jax.runs import results
from tests.support.digits import fold_of

ROOT = pathlib.Path(__file__).parents[2]
QUICK = ("er", "icarl", "slda")
# Without those that read all images, no image but names, or action units, which digits do not have.
INCREMENTAL = [
    name
    for name, method in methods.METHODS.items()
    if method.reads != "all" and name != "composition" and "units" not in name
]
LEARNERS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in INCREMENTAL]


@pytest.fixture(autouse=True)
def few_random_features(monkeypatch):
    monkeypatch.setattr(random_features, "WIDTH", 60)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_task.run(fold_of(tmp_path_factory.mktemp("base")))[0]


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_read_of_old_images_that_are_not_in_the_memory(name, base, tmp_path):
    clean = fold_of(tmp_path)
    method, order = effective(clean.config, methods.METHODS[name]), np.arange(6)

    def part_of(fold) -> Part:
        return Part(fold, base, method, 0, order)

    run = part_of(clean)
    learned = steps.begin(run)
    for increment in range(2):
        new = np.isin(clean.data.label, run.new_classes(increment))
        allowed = np.zeros(len(new), bool)
        allowed[clean.split.train] = new[clean.split.train]
        stored = memory.everything(learned)
        allowed[stored[stored >= 0]] = True
        # Test images are read after training.
        allowed[clean.split.test] = True
        assert not allowed.all()
        poisoned = dataclasses.replace(
            clean,
            images=jnp.where(jnp.asarray(allowed)[:, None, None, None], clean.images, jnp.nan),
            cache=TrunkCache(),
        )
        bad = part_of(poisoned)
        # Validation images here are some of the training images. They watch training and choose nothing, so others may
        # stand in their place.
        others = dataclasses.replace(clean, images=clean.images[::-1], cache=TrunkCache())
        bad.validation = part_of(others).validation
        after, measured = steps.learn(run, learned, increment)
        poisoned_after, poisoned_measured = steps.learn(bad, learned, increment)
        jax.tree.map(np.testing.assert_array_equal, after, poisoned_after)
        assert measured["confusions"] == poisoned_measured["confusions"]
        learned = after


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_compiled_after_the_second_increment(name, base, tmp_path):
    """Classes of different sizes, masks, memories and weights are arguments of the same programs."""
    given = fold_of(tmp_path, more=5, **{"continual.max_epochs": 1, "gdumb.max_epochs": 1})
    run = Part(given, base, effective(given.config, methods.METHODS[name]), 0, np.arange(6))
    if name == "er":
        jax.clear_caches()  # so that one of them is known to compile, and to be counted
    learned, seconds = steps.begin(run), []
    for increment in range(3):
        with timing.compilations() as found:
            learned, _ = steps.learn(run, learned, increment)
        seconds.append(found.seconds)
    assert seconds[0] > 0 or name != "er"
    assert seconds[2] == 0


@pytest.mark.parametrize("name", ["icarl", "er_reservoir", *(
    pytest.param(name, marks=pytest.mark.slow) for name in ("er", "gdumb", "er_ace")
)])  # fmt: skip
def test_a_memory_of_a_limit_is_never_larger_and_its_classes_are_as_large_as_each_other(name, base, tmp_path):
    given = fold_of(tmp_path, **{"memory.mode": "limit"})
    run = Part(given, base, effective(given.config, methods.METHODS[name]), 0, np.arange(6))
    budget = int(given.config.memory.share * len(given.split.train))
    learned = steps.begin(run)
    for increment in range(4):
        if increment:
            learned, measured = steps.learn(run, learned, increment - 1)
            np.testing.assert_array_equal(measured["memory"], learned.memory.index)
        known = protocol.class_mask(run.steps, increment)
        count, m = np.asarray(learned.memory.count), budget // int(known.sum())
        assert not count[~known].any()
        assert count.sum() == m * known.sum() <= budget
        if run.rule.balanced:
            assert (count[known] == m).all()


@pytest.mark.parametrize("name", ["er", "icarl", "wa", "bic"])
def test_an_epoch_is_judged_by_what_the_increment_would_leave(name, base, tmp_path):
    """After the correction, and by the classifier that is the method's own."""
    given = fold_of(tmp_path, **{"protocol.name": "held_out"})
    method = effective(given.config, methods.METHODS[name])
    run = Part(given, base, method, 0, np.arange(6))
    learned, measured = steps.learn(run, steps.begin(run), 0)
    known = jnp.asarray(protocol.class_mask(run.steps, 1))
    row = measured["history"][measured["epoch"]]
    validated = answers.validated(run, learned, known[run.validation.labels], known)
    assert {name: float(value) for name, value in validated.items()}.items() <= row.items()
    assert set(measured["correction"]) == {"wa": {"factor"}, "bic": {"alpha", "beta"}}.get(name, set())
    scores = answers._Seen(run, learned).scores(method.answers_by[0], run.validation)
    answered = np.where(known, scores, -np.inf).argmax(1)
    labels = np.asarray(run.validation.labels)
    seen = np.asarray(known)[labels]
    assert row["val_accuracy"] == pytest.approx((answered == labels)[seen].mean())


def test_a_method_may_take_the_last_epoch_whatever_validation_says(base, tmp_path, monkeypatch):
    fold = fold_of(tmp_path, **{"continual.patience": 1, "continual.max_epochs": 4})
    falling = iter(np.linspace(1, 0, 8))
    monkeypatch.setattr(steps, "score", lambda *_: (jnp.float32(1), jnp.float32(next(falling))))
    monkeypatch.setattr(answers, "validated", Mock(side_effect=AssertionError))
    part = Part(fold, base, dataclasses.replace(methods.METHODS["er"], validates="none"), 0, np.arange(6))
    _, measured = steps.learn(part, steps.begin(part), 0)
    assert [measured["epoch"], len(measured["history"])] == [3, 4]


def test_a_search_compares_the_methods_own_answer_though_no_epoch_is_chosen_by_it(base, tmp_path):
    own = dataclasses.replace(methods.METHODS["er"], validates="none", classifiers=("exemplar_mean", "network"))
    part = Part(fold_of(tmp_path), base, own, 0, np.arange(6))
    learned, measured = steps.learn(part, steps.begin(part), 0, searching=True)
    known, labels = protocol.class_mask(part.steps, 1), np.asarray(part.validation.labels)
    scores = answers._Seen(part, learned).scores(own.answers_by[0], part.validation)
    right = (np.where(known, scores, -np.inf).argmax(1) == labels)[known[labels]]
    assert measured["validation_accuracy"] == pytest.approx(right.mean())
    assert measured["confusions"] == {}


@pytest.mark.parametrize("name", ["er", "er_ace", "gdumb"])
def test_the_classifier_is_aligned_by_exemplars_and_new_images_alone(name, base, tmp_path):
    given = fold_of(tmp_path, **{"continual.correction": "align_classifier", "protocol.name": "held_out"})
    run = Part(given, base, effective(given.config, methods.METHODS[name]), 0, np.arange(6))
    learned, measured = steps.learn(run, steps.begin(run), 0)
    assert set(measured["correction"]) == {"loss"}
    begun = steps._set_up(run, learned, 1)
    seen = memory._features(run, learned.params, begun.learned, begun.context)
    counts = np.bincount(np.asarray(seen.labels) + 1, minlength=11)[1:]
    stored = np.asarray(begun.learned.memory.count)
    everything = np.bincount(given.data.label[given.split.train], minlength=10)
    np.testing.assert_array_equal(counts, np.where(begun.new & (run.method.fills == "after"), everything, stored))
    assert counts[begun.known].all()
    _, measured = steps.learn(run, learned, 1)
    row = measured["history"][measured["epoch"]]
    assert np.isfinite(row["val_loss"])


@pytest.mark.parametrize("name", ["er", "joint"])
def test_penalties_are_chosen_on_validation_images_of_known_classes(name, base, tmp_path):
    """After every epoch for the method's own classifier, and once for the answers; of equal ones the largest."""
    given, asked = fold_of(tmp_path, **{"protocol.name": "held_out"}), []

    def scores(read, features, penalty):
        asked.append(float(penalty))
        right = jax.nn.one_hot(run.validation.labels, 10)
        return jnp.where((penalty > 5e-3) & (penalty < 0.5), right, -right)

    made = classifiers.Classifier(
        "made", scores, lambda *_: jnp.zeros(1), lambda statistics, *_: statistics, penalties=(0.001, 0.01, 0.1, 1.0)
    )
    method = dataclasses.replace(effective(given.config, methods.METHODS[name]), classifiers=(made, "network"))
    run = Part(given, base, method, 0, np.arange(6))
    assert len(run.validation.labels) == len(run.test.labels)
    _, measured = steps.learn(run, steps.begin(run), 0)
    assert measured["penalties"] == {"made": 0.1}
    assert {row["val_accuracy"] for row in measured["history"]} == {1.0}
    # All of them each time, and only the chosen one for the test images.
    times = len(measured["history"]) + 1
    assert asked == pytest.approx([*made.penalties * times, 0.1])


@pytest.mark.parametrize("name", ["ranpac", "klda"])
def test_chosen_penalties_are_in_the_results(name, base, tmp_path):
    given = fold_of(tmp_path, **{"protocol.name": "held_out"})
    found = continual.run_all(given, base, methods.METHODS[name], {0: np.arange(6)})
    table = results.continual_runs([{"fold": 0, "basic": {}, "continual": {name: found}}], {0: np.arange(6)}, 4, 2)
    own = methods.METHODS[name].answers_by[0]
    (run,) = table[name]["runs"]
    assert len(run["penalties"]) == 3
    assert set(run["penalties"]) <= set(own.penalties)
    assert run["metrics"]["final_accuracy"] > 0.3


def with_units(fold):
    """The fold with ten action units, of which a class shows one."""
    units = 0.8 * np.eye(10, dtype=np.float32)[fold.data.label]
    return dataclasses.replace(fold, data=dataclasses.replace(fold.data, targets={"action_units": units}))


@pytest.mark.parametrize("name", ["units_lda", "units_mixture"])
def test_answers_by_action_units_look_at_no_image(name, base, tmp_path):
    given = with_units(fold_of(tmp_path, **{"protocol.name": "held_out"}))
    blind = dataclasses.replace(given, images=jnp.full_like(given.images, jnp.nan))
    found = continual.run_all(blind, base, methods.METHODS[name], {0: np.arange(6)})
    counts = np.asarray(found[0][-1]["confusions"][methods.METHODS[name].classifiers[0]])
    assert np.trace(counts) == counts.sum() > 0


def test_features_and_action_units_are_side_by_side(base, tmp_path):
    given = with_units(fold_of(tmp_path, **{"protocol.name": "held_out"}))
    run = Part(given, base, effective(given.config, methods.METHODS["features_units_lda"]), 0, np.arange(6))
    rows = np.asarray([3, 1])
    read = run.encoded(rows).read(given, base, run.recipe.cut, "features_and_units")
    np.testing.assert_array_equal(read[:, -10:], given.data.targets["action_units"][rows])
    np.testing.assert_array_equal(read[:, :-10], run.encoded(rows).features(given, base, run.recipe.cut))
    assert steps.begin(run).statistics.mean.shape == (10, read.shape[1])
    mixed = dataclasses.replace(methods.METHODS["units_ridge"], classifiers=("units_ridge", "features_units_ridge"))
    with pytest.raises(UserError, match="statistics of several kinds"):
        effective(given.config, mixed)


def test_a_head_of_action_units_is_as_wide_as_the_data_set_has_units(tmp_path):
    given = with_units(fold_of(tmp_path))
    assert given.sized(objectives.OBJECTIVES["action_units"]).heads["units"] == (10,)
    for name in ("class_action_units", "cross_entropy"):
        assert given.sized(objectives.OBJECTIVES[name]) is objectives.OBJECTIVES[name]
    seventeen = dataclasses.replace(given.data, targets={"action_units": np.zeros((len(given.labels), 17), np.float32)})
    fold = dataclasses.replace(given, data=seventeen)
    assert fold.sized(objectives.OBJECTIVES["action_units"]) is objectives.OBJECTIVES["action_units"]


def test_compound_classes_are_answered_without_an_image(base, tmp_path):
    given = fold_of(tmp_path, **{"protocol.name": "held_out", "methods": ("er", "composition")})
    compound = ("happily sad", "happily angry", "happily surprised", "sadly angry", "sadly surprised", "awed")
    pictured = dataclasses.replace(given.data, class_names=("happy", "sad", "fearful", "surprised", *compound))
    with pytest.raises(
        UserError, match=r"methods has composition, which answers by composition: .* happily angry does"
    ):
        check_answers(given.config, pictured.class_names)
    names = ("happy", "sad", "angry", "surprised", *compound[:5], "angrily surprised")
    pictured = dataclasses.replace(given.data, class_names=names)
    check_answers(given.config, names)
    # No image is read but the test fold's.
    seen = jnp.zeros(len(given.labels), bool).at[given.split.test].set(True)[:, None, None, None]
    blind = dataclasses.replace(given, data=pictured, images=jnp.where(seen, given.images, jnp.nan))
    found = continual.run_all(blind, base, methods.METHODS["composition"], {0: np.arange(6)})
    counts = np.asarray(found[0][-1]["confusions"]["composition"])
    run = Part(given, base, methods.METHODS["composition"], 0, np.arange(6))
    p = np.asarray(jax.nn.softmax(run.test.logits(given, base, run.recipe.cut)[:, :4]))
    pairs = [(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    scores = np.stack([p[:, a] + p[:, b] - (0.5 if a == b else 0) for a, b in pairs], 1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (np.asarray(run.test.labels), scores.argmax(1)), 1)
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("name", [pytest.param("ewc", marks=pytest.mark.slow), "derpp"])
def test_an_objective_with_heads_and_two_views_learns_increments(name, base, tmp_path):
    """The anchor of a penalty and the recorded logits know nothing of the extra heads."""
    given = fold_of(tmp_path, **{"continual.loss": "contrastive"})
    run = Part(given, base, effective(given.config, methods.METHODS[name]), 0, np.arange(6))
    learned = steps.begin(run)
    for increment in range(2):
        learned, measured = steps.learn(run, learned, increment)
        assert all(np.isfinite(row["loss"]) for row in measured["history"])
    assert set(learned.params) == {"backbone", "head"}


def test_recorded_logits_are_of_an_augmented_view(base, tmp_path):
    given = fold_of(tmp_path)
    inverted = dataclasses.replace(given, images=255 - given.images, cache=TrunkCache())
    plain, run = (Part(fold, base, methods.METHODS["derpp"], 0, np.arange(6)) for fold in (inverted, given))
    run.recipe = dataclasses.replace(run.recipe, augmentation=lambda key, images, positions: 1 - images)
    recorded = steps.begin(run).recorded
    np.testing.assert_allclose(recorded, steps.begin(plain).recorded, rtol=1e-4, atol=1e-4)
    assert (~np.isnan(recorded[:, :4])).any()


def test_the_anchor_weighs_all_images_of_its_classes(base, tmp_path, monkeypatch):
    given, seen = fold_of(tmp_path, more=5), []

    def fisher(trainable, frozen, activations, labels, *_):
        assert len(activations) == len(labels)
        seen.append(np.bincount(np.asarray(labels) + 1, minlength=11)[1:])
        return jax.tree.map(jnp.zeros_like, trainable)

    monkeypatch.setattr(memory.importance, "fisher", fisher)
    run = Part(given, base, methods.METHODS["ewc"], 0, np.arange(6))
    steps.learn(run, steps.begin(run), 0)
    every = np.bincount(given.data.label[given.split.train], minlength=10)
    np.testing.assert_array_equal(seen, [every * (np.arange(10) < 4), every * np.isin(np.arange(10), [4, 5])])


@pytest.mark.parametrize(("name", "mode"), [("bic", "grow"), ("er_ace", "limit"), *(
    pytest.param(name, mode, marks=pytest.mark.slow)
    for name in ("bic", "gdumb", "er_ace", "er_paired", "er_reservoir", "kd_psmr", "joint")
    for mode in ("limit", "grow") if (name, mode) not in (("bic", "grow"), ("er_ace", "limit"))
)])  # fmt: skip
def test_no_reserved_image_was_ever_in_a_pool(name, mode, base, tmp_path, monkeypatch):
    """Of every increment that uses it, and every one before; a memory of a limit is not larger for it."""
    given = fold_of(tmp_path, more=5, **{"memory.mode": mode, "continual.correction": "correct_bias"})
    method = effective(given.config, methods.METHODS[name])
    run = Part(given, base, dataclasses.replace(method, reserved=0.4), 0, np.arange(6))
    trained, used = set(), []

    def drawn(part, begun, epoch):
        pool, key = pooled(part, begun, epoch)
        trained.update(np.concatenate([np.asarray(one) for one in jax.tree.leaves(pool)]).tolist())
        return pool, key

    def correct(head, logits, labels, context):
        labels = np.asarray(labels)
        used.append(np.bincount(labels[labels >= 0], minlength=10))
        return head, {}

    pooled = steps._drawn
    monkeypatch.setattr(steps, "_drawn", drawn)
    run.method = dataclasses.replace(run.method, correct=correct)
    learned, held = steps.begin(run), {}
    for increment in range(3):
        begun = steps._set_up(run, learned, increment)
        reserved = np.asarray(begun.learned.reserved.index)
        learned, measured = steps.learn(run, learned, increment)
        assert not trained & set(reserved[reserved >= 0].tolist())
        # As many of every known class, the new ones too.
        each = used[-1][begun.known]
        assert len(set(each)) == 1
        assert each[0] >= 1
        assert not used[-1][~begun.known].any()
        # Once it is given up, an image does not come back.
        for c, row in enumerate(np.asarray(learned.reserved.index)):
            assert set(row) <= held.get(c, set(row)) | {-1}
            if begun.known[c]:
                held[c] = set(row)
        if run.method.replays:
            stored = memory.everything(learned)
            m = given.exemplars(increment + 1)
            assert (stored >= 0).sum() <= m * begun.known.sum() <= int(0.3 * len(given.split.train))
            np.testing.assert_array_equal(measured["memory"], stored)


def test_bias_is_corrected_by_a_tenth_of_the_memory_and_one_exemplar_is_too_few(base, tmp_path):
    given = fold_of(tmp_path)
    run = Part(given, base, methods.METHODS["bic"], 0, np.arange(6))
    learned, measured = steps.learn(run, steps.begin(run), 0)
    assert set(measured["correction"]) == {"alpha", "beta"}
    m = given.exemplars(1)
    np.testing.assert_array_equal(learned.reserved.count[:6], max(1, m // 10))
    np.testing.assert_array_equal(learned.memory.count[:6], m - max(1, m // 10))
    given = fold_of(tmp_path, **{"memory.share": 0.1, "methods": ("er",)})
    assert given.exemplars(0) == 1
    experiment._check_memory(given.config, 10, 0, given.split)
    given = fold_of(tmp_path, **{"memory.share": 0.1, "methods": ("er", "bic")})
    with pytest.raises(ConfigError, match=r"share is 0.1; in fold 0 a class has one exemplar .* bic reserves some"):
        experiment._check_memory(given.config, 10, 0, given.split)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"continual.terms": (("distilled_cross_entropy", 1.0),)}, "needs a teacher, and er has none"),
        ({"continual.classifiers": ("exemplar_mean", "exemplar_mean")}, None),
    ],
)
def test_what_does_not_go_together_is_refused(changes, said, tmp_path):
    given = fold_of(tmp_path, **changes)
    if said is None:
        assert effective(given.config, methods.METHODS["er"]).classifiers == ("network", "exemplar_mean")
    else:
        with pytest.raises(UserError, match=said):
            effective(given.config, methods.METHODS["er"])


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        ({"continual.classifiers": ("exemplar_ridge",)}, "exemplar_ridge"),
        ({"continual.correction": "align_classifier"}, "align_classifier"),
        ({"continual.correction": "correct_bias"}, "correct_bias"),
    ],
)
def test_what_reads_exemplars_needs_a_memory(changes, reads, tmp_path):
    given = fold_of(tmp_path, **changes, methods=("er", "icarl"))
    check_answers(given.config, given.data.class_names)
    given = fold_of(tmp_path, **changes, methods=("er", "lwf"))
    with pytest.raises(
        UserError, match=f"config.methods has lwf, which stores no exemplars, and {reads} reads them; it"
    ):
        check_answers(given.config, given.data.class_names)


@pytest.mark.parametrize("name", [pytest.param("er_paired", marks=pytest.mark.slow), "derpp"])
def test_nothing_is_read_of_old_images_from_cached_views_nor_side_by_side(name, tmp_path):
    changes = {
        "model.name": "convnet", "model.widths": (4, 6), "continual.cut": "conv1", "feature_cache.views": 2,
        "continual.augment": True, "protocol.name": "held_out", "continual.batch_size": 4,
    }  # fmt: skip
    clean = fold_of(tmp_path, **changes)
    base, orders = base_task.run(clean)[0], (np.arange(6), np.arange(6)[::-1])
    method = effective(clean.config, methods.METHODS[name])
    runs = [Part(clean, base, method, number, order) for number, order in enumerate(orders)]
    assert cached(clean.config, method)
    learned = [steps.begin(run) for run in runs]
    after, measured = steps.learn_together(runs, learned, 0, clean.slot("clean"))
    # What any of the runs may read; their new classes are others.
    allowed = np.zeros(len(clean.labels), bool)
    for run, one in zip(runs, learned, strict=True):
        stored = np.asarray(one.memory.index)
        allowed[stored[stored >= 0]] = True
        allowed |= np.isin(clean.data.label, run.new_classes(0)) & np.asarray(run.train_mask)
    allowed[clean.split.test] = allowed[clean.split.validation] = True
    assert not allowed.all()
    images = jnp.where(jnp.asarray(allowed)[:, None, None, None], clean.images, jnp.nan)
    poisoned = dataclasses.replace(clean, images=images, cache=TrunkCache())
    bad = [Part(poisoned, base, method, number, order) for number, order in enumerate(orders)]
    poisoned_after, poisoned_measured = steps.learn_together(bad, learned, 0, clean.slot("poisoned"))
    jax.tree.map(np.testing.assert_array_equal, after, poisoned_after)
    assert [one["confusions"] for one in measured] == [one["confusions"] for one in poisoned_measured]


def test_the_joint_model_does_read_old_images(base, tmp_path):
    clean = fold_of(tmp_path)
    poisoned = dataclasses.replace(clean, images=clean.images.at[clean.split.train[0]].set(jnp.nan))
    run = Part(poisoned, base, methods.METHODS["joint"], 0, np.arange(6))
    with pytest.raises(FloatingPointError):
        steps.learn(run, steps.begin(run), 0)


def test_a_joint_model_that_answers_by_stored_images_stores_all_training_images_it_has_seen(base, tmp_path):
    fold = fold_of(tmp_path)
    joint = dataclasses.replace(methods.METHODS["joint"], classifiers=("exemplar_mean", "network"))
    part = Part(fold, base, joint, 0, np.arange(6))
    learned, measured = steps.learn(part, steps.begin(part), 1)
    known = protocol.class_mask(part.steps, 2)
    index = np.asarray(learned.memory.index)
    assert sorted(index[index >= 0]) == sorted(fold.train_rows(known))
    assert set(measured["confusions"]) == {"exemplar_mean", "network"}
    assert measured["stored_bytes"]["exemplars"] == len(fold.train_rows(known)) * fold.images[0].size


def test_a_search_looks_at_the_first_increments_only_and_takes_the_best(base, tmp_path, monkeypatch):
    given = fold_of(
        tmp_path, **{"protocol.name": "held_out", "search.learning_rates": (1e-4, 1e-2), "search.increments": 1}
    )
    looked, values = [], iter([0.2, 0.6])

    def learn(part, learned, increment, slot, searching):
        assert searching
        looked.append((part.choice.learning_rate, increment))
        learned, found = steps.learn(part, learned, increment, slot, searching)
        # What the method answers is compared: here what validation chose the epoch by.
        assert found["validation_accuracy"] == pytest.approx(found["history"][found["epoch"]]["val_accuracy"])
        found["validation_accuracy"] = next(values)
        return learned, found

    monkeypatch.setattr(continual, "learn", learn)
    monkeypatch.setattr(steps.answers, "confusions", Mock(side_effect=AssertionError("a search reads test images")))
    choice, rows = continual.search(given, base, methods.METHODS["er"], 0, np.arange(6))
    assert looked == [(1e-4, 0), (1e-2, 0)]
    assert (choice.learning_rate, [row["validation_accuracy"] for row in rows]) == (1e-2, [0.2, 0.6])
    # Found again without a training.
    assert continual.search(given, base, methods.METHODS["er"], 0, np.arange(6)) == (choice, rows)
    assert len(looked) == 2
    # A method without training, or one candidate alone, is not searched.
    assert continual.search(given, base, methods.METHODS["slda"], 0, np.arange(6)) == ((None, None), [])


def test_strengths_are_factors_of_a_methods_own(tmp_path):
    given = fold_of(tmp_path, **{"protocol.name": "held_out", "search.strengths": (0.1, 1.0), "search.increments": 1})
    assert [c.strength for c in continual.grid(given, methods.METHODS["ewc"])] == pytest.approx([100.0, 1000.0])
    assert [c.strength for c in continual.grid(given, methods.METHODS["er"])] == [None]


@pytest.mark.slow
def test_one_memory_and_one_result_on_any_number_of_devices(tmp_path):
    """Replay on one and on four devices: the same exemplars, and accuracies within 1e-4."""
    command = [sys.executable, "-m", "fer_jax.cli.main", "train", "--config", str(ROOT / "configs" / "digits.py"),
               "--config.protocol.n_orders=1", "--config.methods=('er','er_reservoir','derpp')",
               "--config.continual.max_epochs=3"]  # fmt: skip
    found = {}
    for devices in (1, 4):
        workdir = tmp_path / str(devices)
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        subprocess.run([*command, "--workdir", str(workdir)], env={**os.environ, **flags}, check=True, cwd=ROOT)
        found[devices] = json.loads((workdir / "results.json").read_text())
        assert found[devices]["environment"]["device"]["count"] == devices
    for method in ("er", "er_reservoir", "derpp"):
        one, four = (np.asarray(found[n]["continual"][method]["runs"][0]["accuracy_matrix"], float) for n in (1, 4))
        np.testing.assert_allclose(one, four, atol=1e-4)
    from studies.chaos import arrays

    one, four = ({k: v for k, v in arrays(tmp_path / str(n)).items() if "memory" in k and "index" in k} for n in (1, 4))
    assert one
    jax.tree.map(np.testing.assert_array_equal, one, four)
