"""Runs of a network small enough to check, one by one and side by side, and what compares how they end."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import objectives
from fer_jax.augment import Augmentation
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.small import ConvNet
from fer_jax.training import encoding
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import run_epoch
from fer_jax.training.fit import EarlyStopping, Fitted, Job, Run, fit
from fer_jax.training.scores import score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe

N, C, RUNS = 48, 5, 3


class World:
    """Three runs of a small convolutional network: other starts, classes, pools and validation images."""

    def __init__(self, devices: int = 1):
        self.network = Network(ConvNet((3, 4)), ExpressionHead((6,), C, 0.1))
        rng = np.random.default_rng(0)
        self.images = jnp.asarray(rng.integers(0, 256, (N, 8, 8, 3)).astype(np.uint8))
        self.labels = jnp.asarray((np.arange(N) % 4).astype(np.int32))
        self.recipe = Recipe(
            self.network, "conv1", objectives.distilled_cross_entropy, 8, 1e-2, uses_teacher=True,
            augmentation=Augmentation(0.5, 0.01, 0.02, 0.02), n_devices=devices,
        )  # fmt: skip
        self.base = self.network.init(jax.random.key(0), 8)
        trunk = self.network.trunk(self.base, self.images / 255.0, "conv1")
        self.validation, self.validation_labels = trunk[:16], self.labels[:16]
        self.starts = []
        for run in range(RUNS):
            head = self.network.init(jax.random.key(run + 1), 8)["head"]
            self.starts.append(self.recipe.init({**self.base, "head": head}))
        # Pools of 20, 30 and 40 images: 2, 3 and 5 steps an epoch.
        pools = [rng.permutation(N)[: 20 + 10 * run] for run in range(RUNS)]
        self.pools = [jnp.asarray(np.pad(p, (0, N - len(p)), constant_values=-1), jnp.int32) for p in pools]
        known = jnp.arange(C) < 4
        frozen = self.starts[0][1]
        self.contexts = [
            objectives.Context(known, known, known, jnp.float32(0.1 * run), jnp.float32(3.0))._replace(
                frozen=frozen, teacher=self.base
            )
            for run in range(RUNS)
        ]
        self.include = [jnp.arange(16) % RUNS == run for run in range(RUNS)]
        self.stored = [jnp.arange(N) % (run + 2) == 0 for run in range(RUNS)]

    def source(self, run: int, pictures=None) -> Source:
        facts = Batch(self.labels, stored=self.stored[run])
        return Source(facts, self.images if pictures is None else pictures)

    def run(self, run: int) -> Run:
        state = jax.tree.map(jnp.copy, self.starts[run][0])
        draw, validate = (functools.partial(one, run) for one in (self.draw, self.validate))
        return Run(state, self.source(run), self.contexts[run], draw, validate)

    def draw(self, run: int, epoch: int):
        return self.pools[run], jax.random.fold_in(jax.random.key(run), epoch)

    def validate(self, run: int, trainable):
        params = merge(trainable, self.starts[run][1])
        logits = encoding.logits_from(params, self.validation, self.network, self.recipe.cut)
        mask = self.contexts[run].class_mask
        loss, accuracy = score(logits, self.validation_labels, self.include[run], mask)
        return {"val_loss": loss, "val_accuracy": accuracy}

    def alone(self, run: int, stopping, epochs: int) -> Fitted:
        return fit(Job((self.run(run),), self.recipe, stopping, epochs))[0]

    def together(self, stopping, epochs: int, by: str | None = None, **more) -> list[Fitted]:
        return fit(Job(tuple(map(self.run, range(RUNS))), self.recipe, stopping, epochs, by), **more)


class Views(World):
    """The same runs on three cached views of every image and the teacher's answers, as `feature_cache` has them."""

    def __init__(self, devices: int = 1):
        super().__init__(devices)
        views = [
            encoding.encode_view(
                self.base, self.images, jax.random.key(v), self.network, self.recipe.cut, self.recipe.augmentation
            )
            for v in range(3)
        ]
        taught = [encoding.logits_from(self.base, view, self.network, self.recipe.cut) for view in views]
        self.images, self.taught = jnp.stack(views, 1), jnp.stack(taught, 1)

    def source(self, run: int, pictures=None) -> Source:
        return super().source(run, pictures).replace(taught=self.taught, cached=True)


def epoch(world: World, images, loop: str = "auto", spread_by: str = "pmap"):
    recipe = dataclasses.replace(world.recipe, loop=loop, spread_by=spread_by)
    state = jax.tree.map(jnp.copy, world.starts[0][0])
    context = world.contexts[1]._replace(frozen=world.starts[0][1])
    return run_epoch(state, world.source(0, images), world.pools[2], context, jax.random.key(3), recipe)


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def same(one: Fitted, other: Fitted) -> None:
    assert (one.epoch, one.stopped, len(one.history)) == (other.epoch, other.stopped, len(other.history))
    for row, other_row in zip(one.history, other.history, strict=True):
        assert row == pytest.approx(other_row, abs=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.state, other.state)


# Of the loss, which is another number every epoch, so that two epochs never tie.
PATIENT = EarlyStopping("min", 2)
