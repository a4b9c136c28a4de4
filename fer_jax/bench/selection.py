"""Measures memory selection over all increments at full data size, and how often the trunk runs on an image."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import Warm, compilations, peak_memory
from fer_jax.bench.world import Phase, fold_of, noise
from fer_jax.models.network import Network
from fer_jax.training.encoding import BATCH

Params = Any


class Passes:
    """A count of the images that ran through a trunk."""

    def __init__(self):
        self.images = 0

    def add(self, images) -> None:
        """Adds a batch of images to the count."""
        self.images += int(images)


@dataclasses.dataclass(frozen=True)
class CountingNetwork(Network):
    """A network whose trunk counts the images that it runs on, whenever it runs."""

    passes: Passes = dataclasses.field(default_factory=Passes)

    def trunk(self, params: Params, images: jax.Array, cut: str) -> jax.Array:
        """Computes the trunk's output, and counts the images."""
        jax.debug.callback(self.passes.add, jnp.int32(len(images)))
        return super().trunk(params, images, cut)


def counting(network: Network) -> CountingNetwork:
    """Returns the same network with a counter of its own."""
    return CountingNetwork(network.backbone, network.head, network.input_range, preparation=network.preparation)


def trunk_passes(network: CountingNetwork) -> int:
    """Returns the number of images so far, including the padding of last batches."""
    jax.effects_barrier()
    return network.passes.images


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the time of selection from nothing (caching, base classes, every increment), and again with the cache."""
    few = bench.few_subjects(bench.large) if bench.quick else None
    fold = fold_of(bench.large, noise(bench.large, few))
    fold = dataclasses.replace(fold, network=counting(fold.network))
    # The counter starts after the measuring of batch statistics, which uses no trunk.
    with compilations() as compiled:
        began = time.perf_counter()
        phase = Phase(fold)
        first = jax.block_until_ready(phase.select())
        all_seconds = time.perf_counter() - began
    passes, n = trunk_passes(fold.network), len(fold.images)
    _, tail = arithmetic.forward(fold.network, fold.images.shape[1], fold.config.continual.cut)
    warm = Warm(compiled.seconds, *peak_memory())
    again = []
    for _ in range(bench.rounds(3)):
        began = time.perf_counter()
        second = jax.block_until_ready(phase.select())
        again.append(time.perf_counter() - began)
    trained = len(fold.split.train)
    settings = {
        "increments": phase.n_increments, "exemplars_a_class": fold.exemplars(phase.n_increments - 1),
        "training_images": trained, "all_images": n, **described(fold, BATCH),
    }  # fmt: skip
    more = {
        "trunk_passes": passes,
        "trunk_passes_an_image": passes / n,
        "trunk_passes_after_the_first_time": trunk_passes(fold.network) - passes,
        "same_again": bool((first.index == second.index).all()),
        "stored": int(first.count.sum()),
        "first_time_seconds": all_seconds - compiled.seconds,  # with batch statistics, and the trunk on all images
    }
    # Both logits and features of every training image are asked for; one tail is computed.
    _, by_xla = arithmetic.forward_by_xla(fold.network, fold.images.shape[1], fold.config.continual.cut, BATCH)
    yield bench.record(
        "selection",
        settings,
        trained,
        again,
        warm,
        arithmetic.Work(trained * tail, arithmetic.times(trained / BATCH, by_xla)),
        **more,
    )
    fold.cache.clear()
