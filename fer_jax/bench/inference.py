"""Evaluation from cached activations and from pixels, and Grad-CAM."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import interleaved, times_as_fast, warm
from fer_jax.bench.world import fold_of, noise
from fer_jax.explain import maps as explain
from fer_jax.phases import base as base_task
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.encoding import BATCH

IMAGES = 256
MAPS = 16


class Evaluation:
    """Logits f32[N, C] of the same images, N = `n`, from pixels and from the trunk's cached output."""

    def __init__(self, fold: Fold, base: Params, n: int):
        self._fold, self._base = fold, base
        self._rows = np.arange(n) % len(fold.images)
        cut = fold.config.continual.cut
        self.cut = "head" if cut == "input" else cut
        self._cached = Encoded.of(fold, base, self._rows, self.cut)

    def from_cache(self) -> jax.Array:
        """Computes the logits from the cached activations."""
        return self._cached.logits(self._fold, self._base, self.cut)

    def from_pixels(self) -> jax.Array:
        """Computes the logits from the pixels."""
        seen = Encoded.of(self._fold, self._base, self._rows, self.cut)
        return seen.logits(self._fold, self._base, self.cut)


def measure_evaluation(bench: Bench) -> Iterator[dict]:
    """Yields the time of an evaluation from the cache and from pixels."""
    fold = fold_of(bench.large, noise(bench.large, bench.few_subjects(bench.large)))
    n = BATCH if bench.quick else IMAGES
    evaluation = Evaluation(fold, base_task.initial_params(fold), n)
    # In this order: the pixels' way goes through the cache's program, too.
    made = {"cache": evaluation.from_cache, "pixels": evaluation.from_pixels}
    warmed = {name: warm(function) for name, function in made.items()}
    seconds = interleaved(made, bench.rounds(12), bench.budget(60))
    trunk, tail = arithmetic.forward(fold.network, fold.images.shape[1], evaluation.cut, n)
    below, above = (
        arithmetic.times(n / BATCH, one)
        for one in arithmetic.forward_by_xla(fold.network, fold.images.shape[1], evaluation.cut, BATCH)
    )
    by_xla = {"cache": above, "pixels": None if below is None or above is None else below + above}
    for name, work in (("pixels", trunk + tail), ("cache", tail)):
        yield bench.record(
            "evaluation", {"from": name, "cut": evaluation.cut, **described(fold, BATCH)}, n, seconds[name],
            warmed[name], arithmetic.Work(work, by_xla[name]),
            times_pixels=times_as_fast(seconds["pixels"], seconds[name]),
        )  # fmt: skip


def measure_grad_cam(bench: Bench) -> Iterator[dict]:
    """Yields the time of Grad-CAM maps."""
    fold = fold_of(bench.large, noise(bench.large, bench.few_subjects(bench.large)))
    base, size = base_task.initial_params(fold), fold.images.shape[1]
    images = jnp.resize(fold.images, (MAPS, size, size, 3)).astype(jnp.float32) / 255.0
    classes = jnp.zeros(MAPS, jnp.int32)
    layer = explain.default_layer(fold.network, size)

    def maps() -> jax.Array:
        return explain.grad_cam(base, images, classes, fold.network, layer)

    warmed = warm(maps)
    seconds = interleaved({"maps": maps}, bench.rounds(10), bench.budget(30))["maps"]
    trunk, tail = arithmetic.forward(fold.network, size, layer, MAPS)
    # Forward, and the gradient of what lies above the layer by its input.
    settings = {"layer": layer, "variant": "guided", **described(fold, MAPS)}
    by_xla = arithmetic.by_xla(explain.grad_cam.lower(base, images, classes, fold.network, layer))
    yield bench.record("grad-cam", settings, MAPS, seconds, warmed, arithmetic.Work(trunk + 2 * tail, by_xla))
