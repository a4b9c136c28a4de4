"""Measures how cost grows with classes, memory and images, one varied at a time, on a small network."""

import math
import time
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import growth, warm
from fer_jax.bench.world import Epochs, Phase, fold_of, noise, with_small_network

# What is varied, and its values; the others stay as in USUAL. Pixels are those of a picture, side × side.
CURVES = {
    "classes": (6, 12, 25, 50, 100, 200),
    "memory share": (0.01, 0.03, 0.1, 0.3, 1.0),
    "images": (1_000, 3_000, 10_000, 30_000, 100_000),
    "pixels": (16**2, 24**2, 32**2, 48**2, 64**2),
}
QUICK = {"classes": (6, 25), "memory share": (0.1, 1.0), "images": (1_000, 3_000), "pixels": (16**2, 32**2)}
USUAL = {"classes": 21, "memory share": 0.3, "images": 10_000, "pixels": 16**2}
USUAL_QUICK = {**USUAL, "images": 1_000}


def config_for(config: ml_collections.ConfigDict, share: float, side: int) -> ml_collections.FrozenConfigDict:
    """Returns a config like `config` in protocol and continual phase, with a small network on images of side × side."""
    config = with_small_network(config, (16, 32))
    config.update_from_flattened_dict({
        "data.image_size": side, "data.n_base": 5, "memory.share": share, "continual.batch_size": 16,
        "protocol.classes_per_increment": 1, "protocol.name": "held_out", "protocol.n_folds": 10,
        "feature_cache.views": 0,
    })  # fmt: skip
    return configs.resolve(config)


class Point:
    """One size: seconds of a step, of an epoch as a run has it, with its draw and validation, and of the whole memory
    selection, each a median."""

    def __init__(self, config: ml_collections.ConfigDict, sizes: dict[str, float], repeats: int):
        own = config_for(config, sizes["memory share"], math.isqrt(sizes["pixels"]))
        self.fold = fold_of(own, noise(own, sizes["images"] // sizes["classes"], sizes["classes"]))
        phase = Phase(self.fold)
        phase.select()
        memory = phase.select()
        self.epochs, whole = Epochs(phase, memory), Epochs(phase, memory, as_a_run=True)
        self.warm = warm(self.epochs)
        warm(whole)
        self.training_seconds = [_seconds(self.epochs) for _ in range(repeats)]
        self.epoch_seconds = [_seconds(whole) for _ in range(repeats)]
        self.selection_seconds = [_seconds(phase.select) for _ in range(repeats)]
        self.by_xla = self.epochs.by_xla()
        self.fold.cache.clear()

    @property
    def medians(self) -> dict[str, float]:
        """The medians by name, in seconds."""
        return {
            "step": float(np.median(self.training_seconds)) / self.epochs.steps,
            "epoch": float(np.median(self.epoch_seconds)),
            "selection": float(np.median(self.selection_seconds)),
        }


def _seconds(function) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the times for every size, and the exponent by which they grow."""
    usual = USUAL_QUICK if bench.quick else USUAL
    for over, sizes in (QUICK if bench.quick else CURVES).items():
        points = []
        for size in sizes:
            chosen = {**usual, over: size}
            point = Point(bench.small, chosen, 2 if bench.quick else 3)
            points.append(point.medians)
            recipe = point.epochs.recipe
            side = point.fold.images.shape[1]
            one = arithmetic.step(point.fold.network, side, recipe.cut, recipe.batch_size, "exact")
            yield bench.record(
                "scaling",
                {"over": over, "value": size, "memory_share": chosen["memory share"],
                 "all_images": len(point.fold.images), "steps": point.epochs.steps, "cut": recipe.cut,
                 **described(point.fold, recipe.batch_size)},
                point.epochs.images, point.training_seconds, point.warm,
                arithmetic.Work(one * point.epochs.steps, point.by_xla),
                median_seconds=point.medians,
            )  # fmt: skip
        exponents = {what: growth(list(sizes), [point[what] for point in points]) for what in points[0]}
        yield {"name": "growth", "settings": {"over": over, "values": list(sizes), "quick": bench.quick}, **exponents}
