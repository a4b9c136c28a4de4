"""Habits of their own, exact ceilings, and a tiny run."""

import numpy as np
import pytest

from fer_jax.data.facs_faces import categories
from studies.related import learning, personal
from tests.support import related


def test_habits_are_a_persons_own_and_as_frequent_as_said():
    which = learning.cells(range(150), (2,), 2)  # fearful: 1, 4, 20 and 25 always, 2, 5 and 26 sometimes
    typical = learning.sampled(0, which)
    units = learning.with_habits(0, which, typical).action_units > 0
    np.testing.assert_array_equal(units[::2], units[1::2])  # in both pictures alike
    share = categories.presence_probability()[2]
    assert 1 - units[:, share == 1].mean() == pytest.approx(learning.DROPPED, abs=0.08)
    assert units[:, share == 0].mean() == pytest.approx(learning.ADDED, abs=0.04)
    sometimes = (share > 0) & (share < 1)
    np.testing.assert_array_equal(units[:, sometimes], typical.action_units[:, sometimes] > 0)


def test_ceilings_lie_apart_and_are_those_that_were_worked_out_elsewhere():
    found = personal.ceilings()
    assert [found[name] for name in "ABC"] == pytest.approx([0.66, 0.71, 0.998], abs=0.005)


def test_a_tiny_run(tmp_path):
    row = related.row(personal.STUDY, tmp_path, people=3, pictures=1, users=2, met=2, few=1, tests=1, adapt=1)
    assert 0 <= row["overlap of A and C"] <= 1
    # Each of the two users is the other one's other user.
    assert len(list(tmp_path.rglob("user*.msgpack"))) == 4
