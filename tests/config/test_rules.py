"""What a rule allows, and in which words it says so."""

import pytest

from fer_jax.config.rules import PAIRS, POSITIVE, REQUIRED, TEXT, fits, optional, whole


@pytest.mark.parametrize("value", [(), (("a", 1),), [["a", 0.5], ["b", 2]]])
def test_pairs_are_names_with_weights(value):
    assert fits(PAIRS, value)


@pytest.mark.parametrize(
    "value", ["a", ("a", 1), (("a",),), (("a", 0),), (("a", -1),), (("", 1),), ((1, "a"),), (("a", True),)]
)
def test_anything_else_is_no_pairs(value):
    assert not fits(PAIRS, value)


def test_a_key_is_required_unless_it_has_a_default():
    assert TEXT.default is REQUIRED
    assert optional(whole(1), 3).default == 3
    with pytest.raises(ValueError, match="the default 0 breaks its own rule; it may be a finite number above 0"):
        optional(POSITIVE, 0)
