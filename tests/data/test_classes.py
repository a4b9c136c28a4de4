"""The basic classes that compound ones are made of, by their names."""

import numpy as np
import pytest

from fer_jax.data import classes
from fer_jax.data.facs_faces import categories
from fer_jax.errors import UserError

BASIC = ("happy", "sad", "fearful", "angry", "surprised", "disgusted")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("happily surprised", ("happy", "surprised")),
        ("angrily disgusted", ("angry", "disgusted")),
        ("disgustedly surprised", ("disgusted", "surprised")),
        ("hatred", ("angry", "disgusted")),
        ("happily bored", None),
        ("happy", None),
        ("neutral", None),
    ],
)
def test_parents_are_read_off_the_name(name, expected):
    assert classes.parents(name, BASIC) == expected


def test_every_compound_class_of_cfee_is_made_of_two_basic_ones():
    names = categories.NAMES[:-1]
    parts = classes.compositions(names, 6)
    np.testing.assert_array_equal(parts[:6], np.eye(21)[:6])
    assert (np.sort(parts[6:], 1)[:, -2:] == 0.5).all()
    assert (parts[6:].sum(1) == 1).all()
    happily_surprised = parts[names.index("happily surprised")]
    assert [names[i] for i in np.flatnonzero(happily_surprised)] == ["happy", "surprised"]


def test_a_class_whose_name_does_not_tell_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"the name of class 4 does not contain two of 0, 1, 2, 3; it may be such as"):
        classes.compositions(tuple("0123456789"), 4)
