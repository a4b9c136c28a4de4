"""The table of units names what is shown, labelled pictures are counted by class, and a tiny run."""

import numpy as np

from fer_jax.data.facs_faces import bayes, categories
from studies.related import action_units, learning
from tests.support import related


def test_the_table_names_as_well_as_can_be_done_and_worse_with_permuted_units():
    which = learning.cells(range(60), learning.ALL)
    units = (learning.sampled(0, which).action_units > 0).astype(np.float32)
    right = np.mean(action_units.by_table(units, learning.ALL) == which[:, 1])
    assert abs(right - bayes.bayes_accuracy(np.asarray(learning.ALL))) < 0.03
    shuffled = np.random.default_rng(0).permutation(units)
    assert np.mean(action_units.by_table(shuffled, learning.ALL) == which[:, 1]) < 0.12
    assert set(action_units.by_table(units, action_units.COMPOUND)) <= set(action_units.COMPOUND)


def test_the_first_pictures_of_each_class():
    labels = np.asarray([1, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(action_units.first_of_each(labels, np.asarray([0, 1, 2, 3, 4]), 2), [1, 4, 0, 2])


def test_probabilities_are_those_of_the_head():
    params = {"heads": {"units": [{"kernel": np.eye(2), "bias": np.asarray([0.0, 1.0])}]}}
    found = action_units.unit_probabilities(params, np.asarray([[0.0, -1.0]]))
    np.testing.assert_allclose(found, [[0.5, 0.5]])
    assert action_units.STAGE_1.heads["units"] == (len(categories.UNITS),)
    assert set(action_units.STAGE_1.terms) == {"action_units"}


def test_a_tiny_run(tmp_path):
    row = related.row(action_units.STUDY, tmp_path, people=3, unseen=2, shots=(1, 2), fit=1)
    assert row["ceiling with such a detector"] <= action_units.ceilings()["21"]
