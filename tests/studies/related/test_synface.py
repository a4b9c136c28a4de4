"""Faces between people, shares of labels, pairs by hand, and a tiny run."""

import types

import numpy as np
import pytest

from fer_jax.data.facs_faces.parameters import IDENTITY
from studies.related import learning, synface
from studies.related.common import Work
from tests.support import related


def test_a_face_between_two_people_has_no_third_colour():
    a, b = np.zeros((2, len(IDENTITY))), np.full((2, len(IDENTITY)), 3.0)
    mixed = synface.between(a, b, np.asarray([0.75, 0.25]))
    places = [list(IDENTITY).index(name) for name in ("hair_colour", "eye_colour", "jaw")]
    np.testing.assert_allclose(mixed[:, places], [[0, 0, 0.75], [3, 3, 2.25]])


def test_labels_have_the_shares_of_the_faces():
    work = Work(0, types.SimpleNamespace(people=4, few=2, size=24), None)
    sets = synface.training_sets(work)
    assert set(sets) == set(synface.ARMS)
    for pictures, shares in sets.values():
        assert len(pictures) == len(shares) == 4 * 21
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert not sets[synface.IDENTITIES][1][:, 4:].any()
    assert sets[synface.BOTH][1][:, 4:].any()
    # Where a label has one share, the picture is of one domain.
    alone = sets[synface.UNMIXED][1][:, :4].sum(1) > 0.999
    mixed = sets[synface.IDENTITIES][0]
    assert 0.2 < alone.mean() < 0.8
    np.testing.assert_array_equal(sets[synface.UNMIXED][0][alone], mixed[alone])
    # Somebody else is mixed in, never oneself.
    which = learning.cells(range(4), learning.ALL)
    _, other, share = synface.mixed_people(0, which, learning.sampled(0, which))
    assert (other != which[:, 0]).all()
    assert set(np.unique(share)) <= set(synface.SHARES)


def test_pairs_by_hand():
    angles = np.deg2rad([0, 10, 90, 100])
    features = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert synface.verified(features, np.asarray([0, 0, 1, 1])) == 1
    # Two pairs of the same people at 90°, of others three nearer and one further: of each kind .5 and .75 are wrong.
    assert synface.verified(features, np.asarray([0, 1, 0, 1])) == pytest.approx(0.375)
    noise = np.random.default_rng(0).normal(size=(200, 8))
    assert synface.verified(noise, np.arange(200) % 20) == pytest.approx(0.5, abs=0.05)


def test_a_tiny_run(tmp_path):
    row = related.row(synface.STUDY, tmp_path, people=3, few=1, unseen=2)
    assert 0 <= row["expressions: mixed"] <= 1
