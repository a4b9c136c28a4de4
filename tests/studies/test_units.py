"""What the comparison of unit classifiers rests on: when a class is known, and whose people decide."""

import dataclasses

import numpy as np

from fer_jax import protocol
from fer_jax.classifiers import CLASSIFIERS
from studies import units as study

PEOPLE = 10
LABELS = np.tile(np.arange(study.N_CLASSES), PEOPLE)
SPLIT = protocol.split(np.repeat(np.arange(PEOPLE, dtype=np.int32), study.N_CLASSES), 0, study.FOLDS, "held_out")
ORDER = np.random.default_rng(0).permutation(15)


def test_a_class_is_answered_from_its_step_on():
    units = np.eye(study.N_CLASSES, dtype=np.float32)[LABELS]
    accuracy = study.learn(CLASSIFIERS["units_discriminant"], units, LABELS, SPLIT, ORDER)
    known = protocol.learned_at(ORDER, study.N_BASE, 1) <= np.arange(16)[:, None]
    np.testing.assert_array_equal(np.isnan(accuracy), ~known)
    assert (accuracy[known] == 1).all()


def test_validation_people_of_known_classes_choose_the_penalty():
    """One of two penalties answers right for validation people alone, the other one for test people alone."""
    units = np.stack([LABELS, np.isin(np.arange(len(LABELS)), SPLIT.validation)], 1).astype(np.float32)

    def scores(state, seen, penalty):
        right = np.eye(study.N_CLASSES)[np.asarray(seen[:, 0], int)]
        return np.where((np.asarray(seen[:, 1]) == 1)[:, None] == (float(penalty) == 0.5), right, -right)

    made = dataclasses.replace(
        CLASSIFIERS["units_discriminant"], scores=scores, penalties=(0.5, 2.0), prepare=None,
        empty=lambda *sizes: None, add=lambda state, *given: state,
    )  # fmt: skip
    accuracy = study.learn(made, units, LABELS, SPLIT, ORDER)
    assert np.nanmax(accuracy) == 0


def test_estimates_are_over_seeds_and_beside_the_bayes_accuracy():
    rows = [
        {"method": name, "seed": seed, "order": order, "flips": 0.1, "noise": 0.0,
         "final_accuracy": 0.5 + 0.1 * seed, "average_incremental_accuracy": 0.6 + 0.1 * order}
        for name in study.NAMES for seed in range(2) for order in range(2)
    ]  # fmt: skip
    (level,) = study.summary(rows, protocol.class_orders(15, 2))
    found = level["estimates"]["units_ridge"]["final_accuracy"]
    assert (found["base_models"], found["n"], round(found["mean"], 6)) == (2, 4, 0.55)
    # Drawn faces, counted by hand elsewhere: 63.7 within 0.3.
    assert abs(level["bayes"]["final_accuracy"] - 0.637) < 0.004
    assert level["bayes"]["average_incremental_accuracy"] > level["bayes"]["final_accuracy"]
