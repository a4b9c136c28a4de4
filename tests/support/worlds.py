"""Runs of a network small enough to check, one by one and side by side, and what compares how they end."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.small import ConvNet
from fer_jax.training import encoding
from fer_jax.training import epoch as training
from fer_jax.training import fit as fitting
from fer_jax.training import together as side_by_side

N, C, RUNS = 48, 5, 3


class World:
    """Three runs of a small convolutional network: other starts, classes, pools and validation images."""

    def __init__(self, devices: int = 1):
        self.network = Network(ConvNet((3, 4)), ExpressionHead((6,), C, 0.1))
        rng = np.random.default_rng(0)
        self.images = jnp.asarray(rng.integers(0, 256, (N, 8, 8, 3)).astype(np.uint8))
        self.labels = jnp.asarray((np.arange(N) % 4).astype(np.int32))
        self.recipe = training.Recipe(
            self.network, "conv1", methods.distilled_cross_entropy, 8, 1e-2, uses_teacher=True,
            augmentation=(0.5, 0.01, 0.02, 0.02), devices=devices,
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
        self.contexts = [
            methods.Context(known, known, known, jnp.float32(0.1 * run), jnp.float32(3.0)) for run in range(RUNS)
        ]
        self.include = [jnp.arange(16) % RUNS == run for run in range(RUNS)]
        self.notes = [(jnp.arange(N) % (run + 2) == 0,) for run in range(RUNS)]

    def draw(self, run: int, epoch: int):
        return self.pools[run], jax.random.fold_in(jax.random.key(run), epoch)

    def alone(self, run: int, stopping, epochs: int) -> fitting.Fitted:
        state, frozen = self.starts[run]

        def train_epoch(state, epoch):
            pool, key = self.draw(run, epoch)
            arrays = (self.images, self.labels, *self.notes[run])
            return training.run_epoch(
                state, frozen, self.base, arrays, pool, self.contexts[run], key, self.recipe,
                validate=functools.partial(self.validate, run),
            )  # fmt: skip

        return fitting.fit(jax.tree.map(jnp.copy, state), train_epoch, stopping, epochs)

    def validate(self, run: int, trainable):
        params = merge(trainable, self.starts[run][1])
        logits = encoding.logits_from(params, self.validation, self.network, self.recipe.cut)
        mask = self.contexts[run].class_mask
        return training.score(logits, self.validation_labels, self.include[run], mask)

    @property
    def program(self) -> side_by_side.Program:
        return side_by_side.Program(self.recipe, self.starts[0][1], self.base, self.images, self.labels)

    @property
    def runs(self) -> side_by_side.Runs:
        return side_by_side.Runs(None, side_by_side.stack(self.notes), side_by_side.stack(self.contexts))

    def together(self, stopping, epochs: int, **more) -> list[fitting.Fitted]:
        states = side_by_side.stack([state for state, _ in self.starts])
        return side_by_side.fit(self.program, states, self.runs, self.draw, self.validate, stopping, epochs, **more)


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
        self.images, self.notes = jnp.stack(views, 1), [(*notes, jnp.stack(taught, 1)) for notes in self.notes]
        self.recipe = dataclasses.replace(self.recipe, cached=True, taught=True)


def epoch(world: World, images, loop: str | None = None, spread_by: str = "pmap"):
    state, frozen = world.starts[0]
    return training.run_epoch(
        jax.tree.map(jnp.copy, state), frozen, world.base, (images, world.labels, *world.notes[0]), world.pools[2],
        world.contexts[1], jax.random.key(3), world.recipe, loop, spread_by,
    )  # fmt: skip


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def same(one: fitting.Fitted, other: fitting.Fitted) -> None:
    assert (one.epoch, one.stopped, len(one.history)) == (other.epoch, other.stopped, len(other.history))
    for row, other_row in zip(one.history, other.history, strict=True):
        assert row == pytest.approx(other_row, abs=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.state, other.state)


# Of the loss, which is another number every epoch, so that two epochs never tie.
PATIENT = fitting.EarlyStopping("min", 2)
