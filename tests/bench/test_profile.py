"""The share of compiled code: a phase that computes is nearly all of it, one that sleeps nearly none."""

import time

import jax
import jax.numpy as jnp
import pytest

from fer_jax.bench import profile


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="names of XLA's threads on the CPU")
def test_a_trace_tells_computing_from_waiting():
    big = jax.random.normal(jax.random.key(0), (700, 700))
    powers = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: jnp.tanh(x @ y), x))
    powers(big).block_until_ready()
    with profile.traced() as computing:
        for _ in range(3):
            powers(big).block_until_ready()
    with profile.traced() as waiting:
        time.sleep(0.3)
        powers(big[:7, :7]).block_until_ready()
    assert computing["busy"] > 0.7 * computing["wall"]
    assert waiting["busy"] < 0.3 * waiting["wall"]
    assert waiting["wall"] >= 0.3


def test_spans_that_overlap_count_once():
    assert profile.union([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4.0
    assert profile.union([]) == 0.0
