"""Every tensor of a file is accounted for, in one line."""

import pytest

from fer_jax.errors import UserError
from fer_jax.models import tensors

EXPECTED = {"a/kernel": (3, 3), "a/bias": (3,), "b/kernel": (2,)}


def test_what_fits_is_silent():
    tensors.check("weights f", dict(EXPECTED), EXPECTED)


def test_missing_extra_and_misshapen_are_named_together():
    found = {"a/kernel": (3, 4), "b/kernel": (2,), "top/kernel": (9, 9)}
    with pytest.raises(UserError) as error:
        tensors.check("weights f", found, EXPECTED)
    said = "weights f does not fit: a/bias missing; top/kernel not of this network; a/kernel is 3×4, not 3×3"
    assert str(error.value) == said


def test_many_names_are_counted():
    with pytest.raises(UserError) as error:
        tensors.check("f", {}, {f"layer{i}": () for i in range(9)})
    assert str(error.value) == "f does not fit: layer0, layer1, layer2, layer3 and 5 more missing"
