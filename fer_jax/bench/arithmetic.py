"""Counts multiply-adds: by a formula over the network's layers and by XLA's cost analysis; measures the device's peak.

The formula counts convolutions, depthwise ones among them, and dense layers: kernel × output. It includes zero padding,
which an implementation may compute or skip. XLA's count excludes zero padding and includes everything else.
"""

import dataclasses
import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.models.counting import forward, layers
from fer_jax.models.network import Network, merge

KINDS = ("published", "exact", "cached")


class Work(NamedTuple):
    """The arithmetic of one timed round.

    multiply_adds: by formula.
    by_xla: by XLA's account; None where it gives none.
    devices: that share the work, each with a peak of its own.
    """

    multiply_adds: int
    by_xla: float | None
    devices: int = 1


def forward_by_xla(network: Network, image_size: int, cut: str, batch: int) -> tuple[float | None, float | None]:
    """Counts what `forward` counts, by XLA's cost analysis."""
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), image_size))
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
    trunk, tail = (functools.partial(part, cut=cut) for part in (network.trunk, network.tail))
    activations = jax.eval_shape(trunk, params, images)
    return by_xla(jax.jit(trunk).lower(params, images)), by_xla(jax.jit(tail).lower(params, activations))


def times(n: float, work: float | None) -> float | None:
    """Multiplies a count by n; None where it is unknown."""
    return None if work is None else n * work


def backward(network: Network, image_size: int, cut: str, batch: int = 1) -> int:
    """Counts the multiply-adds of the gradient by everything that is trained from the cut on.

    A layer's gradient by its kernel costs as much as its forward pass, and so does that by its input, which layers that
    read the cut's own tensor do not need.
    """
    # What is trained is found by forward derivatives, which not every form of a layer has.
    network = dataclasses.replace(network, backbone=network.backbone.clone(form="library"))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), image_size))
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
    activations = jax.eval_shape(lambda p, x: network.trunk(p, x, cut), params, images)
    trainable, frozen = network.split(params, cut)

    def derivative(trainable, frozen, activations):
        def logits(trainable):
            return network.tail(merge(trainable, frozen), activations, cut)[0]

        return jax.jvp(logits, (trainable,), (jax.tree.map(jnp.ones_like, trainable),))

    called = layers(derivative, trainable, frozen, activations)
    return sum(layer.multiply_adds * (1 + layer.input_learns) for layer in called)


def step(network: Network, image_size: int, cut: str, batch: int, kind: str) -> int:
    """Counts the multiply-adds of a training step with a teacher.

    Args:
      kind: "published", teacher and student each from the pixels; "exact", one trunk for both; "cached", the student's
        tail alone.
    """
    trunk, tail = forward(network, image_size, cut, batch)
    trunks, tails = {"published": (2, 2), "exact": (1, 2), "cached": (0, 1)}[kind]
    return trunks * trunk + tails * tail + backward(network, image_size, cut, batch)


def by_xla(program) -> float | None:
    """Counts a lowered or compiled program's multiply-adds by XLA's cost analysis: half its floating-point operations.

    XLA counts the body of a loop once. Returns None where the count is unknown.
    """
    costs = program.cost_analysis()
    return costs["flops"] / 2 if costs and "flops" in costs else None


class Peak(NamedTuple):
    """The device's fastest matrix product: multiply-adds a second, of which numbers, of n × n."""

    per_second: float
    dtype: str
    size: int
    n: int


@functools.cache
def matmul_peak(rounds: int = 12) -> Peak:
    """Measures the peak: the best of some rounds, float32 on the CPU, bfloat16 elsewhere."""
    cpu = jax.default_backend() == "cpu"
    size, dtype = (2048, jnp.float32) if cpu else (8192, jnp.bfloat16)
    a, b = (jax.random.normal(jax.random.key(i), (size, size), dtype) for i in range(2))
    product = jax.jit(jnp.matmul).lower(a, b).compile()
    product(a, b).block_until_ready()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        product(a, b).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return Peak(size**3 / min(seconds), jnp.dtype(dtype).name, size, rounds)
