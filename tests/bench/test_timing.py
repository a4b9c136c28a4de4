"""Turns, medians and fitted growth."""

import jax
import jax.numpy as jnp
import pytest

from fer_jax.bench import timing


def test_every_round_calls_each_once_and_begins_with_another():
    called = []
    functions = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = timing.interleaved(functions, 4)
    assert "".join(called) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 4)


def test_rounds_end_with_the_budget_but_not_before_the_least():
    assert len(timing.interleaved({"a": lambda: None}, 100, budget=0.0)["a"]) == 3


def test_a_ratio_is_of_the_same_round():
    # Slow and fast rounds alike are twice as fast: the rounds differ, the ratio does not.
    found = timing.times_as_fast([2.0, 20.0, 2.0, 20.0], [1.0, 10.0, 1.0, 10.0])
    assert (found["median"], found["low"], found["high"]) == (2.0, 2.0, 2.0)


def test_growth_finds_an_exponent_and_a_cliff():
    sizes = [1, 2, 4, 8]
    assert timing.growth(sizes, [3 * s**1.5 for s in sizes])["exponent"] == pytest.approx(1.5)
    assert timing.growth(sizes, [1, 1, 1, 8])["steepest"] == pytest.approx(3.0)


def test_compilations_are_counted_once():
    double = jax.jit(lambda x: x * 2.125)
    first = timing.warm(lambda: double(jnp.ones(3)))
    again = timing.warm(lambda: double(jnp.ones(3)))
    assert first.compile_seconds > 0
    assert again.compile_seconds == 0
    assert first.peak_bytes > 1e6
