"""Each exact operation is right to the last place of single precision, and computed in the order that is written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from fer_jax.data.facs_faces import exact
from fer_jax.data.facs_faces.exact import Program
from fer_jax.errors import UserError

UNIFORM = np.random.default_rng(0).uniform


def traced(function, *arguments):
    return Program(jax.make_jaxpr(function)(*arguments))(*arguments)


@pytest.mark.parametrize(
    ("function", "reference", "ranges", "places"),
    [
        (jnp.exp, np.exp, [(-59, 20)], 1),
        (jnp.sin, np.sin, [(-80, 80)], 1),
        (jnp.cos, np.cos, [(-80, 80)], 1),
        (jnp.power, np.power, [(0, 1), (0.3, 4)], 1),
        (jax.lax.erf_inv, scipy.special.erfinv, [(-1, 1)], 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_functions_are_right_to_their_last_places(function, reference, ranges, places):
    arguments = [UNIFORM(*bounds, 20_000).astype(np.float32) for bounds in ranges]
    (found,) = traced(function, *arguments)
    expected = reference(*(x.astype(np.float64) for x in arguments))
    assert found.dtype == np.float32
    assert (np.abs(found - expected) <= places * np.spacing(np.abs(expected).astype(np.float32))).all()


def test_the_ends_of_their_ranges():
    (found,) = traced(jnp.exp, np.asarray([-1e4, -61, 0], np.float32))
    np.testing.assert_array_equal(found, [0, 0, 1])
    (found,) = traced(jnp.power, np.zeros(2, np.float32), np.asarray([0, 0.5], np.float32))
    np.testing.assert_array_equal(found, [1, 0])


def test_a_sum_adds_halves():
    """2^24 and four ones: single precision loses each one that is added to it alone, and has two that are added first.

    By halves: (2^24 + 1) + 1 loses both, and 1 + 1 is there.
    """
    x = np.asarray([2**24, 1, 1, 1, 1], np.float32)
    (found,) = traced(jnp.sum, x)
    assert found == 2**24 + 2
    pictures = UNIFORM(0, 1, (2, 5, 7)).astype(np.float32)
    (found,) = traced(lambda p: jnp.sum(p, axis=(1, 2)), pictures)
    np.testing.assert_allclose(found, pictures.sum((1, 2)), rtol=1e-6)


def test_a_product_and_a_sum_are_rounded_one_after_the_other():
    x, y = np.float32(1 + 2**-12), np.float32(-(1 + 2**-11))
    (found,) = traced(lambda x, y: x * x + y, x, y)
    assert found == 0  # at once it would be 2^-24


@pytest.mark.parametrize("y", range(1, 9))
def test_whole_powers_are_products(y):
    x = UNIFORM(-2, 2, 100).astype(np.float32)
    (found,) = traced(lambda x: x**y, x)
    np.testing.assert_allclose(found, x.astype(np.float64) ** y, rtol=1e-6)


def test_moves_and_choices():
    def function(x, pictures):
        low = jnp.where(x > 0.5, x, -x)[1:7:2]
        return low, pictures * x[:, None, None, None] + jnp.asarray((1.0, 2.0, 3.0)), x.astype(jnp.int32), low.sum()

    x = np.arange(8, dtype=np.float32) / 4
    pictures = UNIFORM(0, 1, (8, 5, 4, 3)).astype(np.float32)
    for found, expected in zip(traced(function, x, pictures), function(x, pictures), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_randomness_is_jaxs():
    def key(seed):
        return jax.random.fold_in(jax.random.key(seed), 3)

    (found,) = traced(lambda seed: jax.random.uniform(key(seed), (50,)), np.int32(7))
    np.testing.assert_array_equal(found, jax.random.uniform(key(7), (50,)))
    (found,) = traced(lambda seed: jax.random.normal(key(seed), (50,)), np.int32(7))
    np.testing.assert_allclose(found, jax.random.normal(key(7), (50,)), rtol=1e-5)


def test_an_operation_without_exact_form_is_named():
    with pytest.raises(UserError, match=r"^jax [\d.]+ draws faces by the operation tanh, which has no exact form here"):
        Program(jax.make_jaxpr(jnp.tanh)(np.float32(1)))


def test_a_process_without_the_cpu_says_how_to_have_it(monkeypatch):
    def none(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", none)
    with pytest.raises(UserError, match=r"but the CPU renders the faces; it may be .*,cpu"):
        exact._cpu()
