"""What the comparison of seen and unseen people rests on: one test, equal training sets, nothing shared."""

import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.data.facs_faces import categories
from studies import identity_gap


@pytest.mark.slow
def test_both_networks_answer_the_same_pictures_and_only_one_has_seen_the_people(monkeypatch):
    calls = []

    def spy(seed, images, labels, train, test, n_classes, epochs):
        calls.append((np.asarray(images), np.asarray(labels), train, test))
        return 0.75 - 0.25 * len(calls)

    monkeypatch.setattr(identity_gap, "accuracy_after_training", spy)
    n_subjects, n_classes = 5, categories.N_BASIC + categories.N_COMPOUND
    a_person = n_classes * (identity_gap.TRAINING_PICTURES + 1)
    found = identity_gap.measure(seeds=[0], n_subjects=n_subjects, epochs=1, tasks=(n_classes,))
    (images, labels, seen, test), (_, _, unseen, same_test) = calls
    assert len(images) == n_subjects * a_person
    np.testing.assert_array_equal(test, same_test)
    assert len(seen) == len(unseen)
    assert not set(test) & (set(seen) | set(unseen))
    people = [set(rows // a_person) for rows in (test, seen, unseen)]
    assert people[0] == people[1] == {0, 1}
    assert people[2] == {2, 3}
    # Every expression is tested once a person and trained on equally often.
    assert np.bincount(labels[test]).tolist() == [2] * n_classes
    assert len(set(np.bincount(labels[seen]))) == len(set(np.bincount(labels[unseen]))) == 1
    assert found["by_classes"]["21"]["estimates"]["gap"]["mean"] == 0.25


def test_an_earlier_result_is_gone_on_with_and_another_is_not(monkeypatch):
    measured, saved = [], []

    def compare(seed, n_classes, n_subjects, epochs):
        measured.append((n_classes, seed))
        return {"seed": seed, "image_disjoint": 0.5, "subject_disjoint": 0.5 - seed / 10, "gap": seed / 10}

    monkeypatch.setattr(identity_gap, "compare", compare)
    first = identity_gap.measure(range(2), 8, 1, (6, 21))
    assert measured == [(6, 0), (6, 1), (21, 0), (21, 1)]
    measured.clear()
    more = identity_gap.measure(range(3), 8, 1, (6, 21), before=first, save=lambda found: saved.append(len(measured)))
    assert measured == [(6, 2), (21, 2)]
    assert saved == [0, 0, 1, 1, 1, 2]
    assert more["by_classes"]["6"]["estimates"]["gap"]["n"] == 3
    assert more["by_classes"]["21"]["estimates"]["gap"]["mean"] == pytest.approx(0.1)
    measured.clear()
    identity_gap.measure(range(1), 8, 2, (6,), before=first)
    assert measured == [(6, 0)]


@pytest.mark.slow
def test_a_network_is_trained_and_scored():
    rows = np.arange(80)
    labels = (rows % 2).astype(np.int32)
    noise = np.random.default_rng(0).integers(0, 100, (80, identity_gap.SIZE, identity_gap.SIZE, 3))
    images = (noise + 150 * labels[:, None, None, None]).astype(np.uint8)
    accuracy = identity_gap.accuracy_after_training(
        0, jnp.asarray(images), jnp.asarray(labels), rows[:64], rows[64:], n_classes=2, epochs=20
    )
    # Dark and bright pictures are told apart on pictures that were not trained on.
    assert accuracy > 0.9
