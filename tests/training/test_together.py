"""Runs side by side against the same runs one by one: states, early stopping, resume, and what a stopped run costs."""

import dataclasses
import functools
import os
import subprocess
import sys

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


def same(one: fitting.Fitted, other: fitting.Fitted) -> None:
    assert (one.epoch, one.stopped, len(one.history)) == (other.epoch, other.stopped, len(other.history))
    for row, other_row in zip(one.history, other.history, strict=True):
        assert row == pytest.approx(other_row, abs=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.state, other.state)


# Of the loss, which is another number every epoch, so that two epochs never tie.
PATIENT = fitting.EarlyStopping("min", 2)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_runs_side_by_side_end_as_they_do_alone(world):
    alone = [world.alone(run, PATIENT, 8) for run in range(RUNS)]
    for one, threaded, mapped in zip(
        alone, world.together(PATIENT, 8, by="threads"), world.together(PATIENT, 8, by="vmap"), strict=True
    ):
        same(one, mapped)
        assert one[1:] == threaded[1:]
        jax.tree.map(np.testing.assert_array_equal, one.state, threaded.state)


@pytest.mark.parametrize("restore", ["always", "on_stop"])
def test_the_weights_that_a_fit_ends_with_are_those_of_the_rule(world, restore):
    stopping = dataclasses.replace(PATIENT, restore=restore)
    for run, together in enumerate(world.together(stopping, 3)):
        same(world.alone(run, stopping, 3), together)


@pytest.mark.parametrize("by", ["threads", "vmap"])
def test_a_run_that_has_stopped_costs_nothing(world, monkeypatch, by):
    sizes, run_epochs = [], side_by_side.run_epochs

    def counted(states, *arguments, **named):
        sizes.append(len(jax.tree.leaves(states)[0]))
        return run_epochs(states, *arguments, **named)

    monkeypatch.setattr(side_by_side, "run_epochs", counted)
    fitted = world.together(fitting.EarlyStopping("min", 1, min_delta=0.02), 12, by=by)
    lengths = sorted(len(one.history) for one in fitted)
    assert lengths[0] < lengths[-1], "runs that stop at different epochs are wanted here"
    going = [sum(length > epoch for length in lengths) for epoch in range(lengths[-1])]
    # Sizes are 3, 2 and 1, so that none is compiled that is not needed.
    assert sizes == going


def test_along_an_axis_at_most_twice_as_many_go_as_have_not_stopped():
    for n in (1, 3, 10, 17):
        sizes = {len(side_by_side._padded(np.arange(going), n)) for going in range(1, n + 1)}
        assert len(sizes) <= 1 + n.bit_length()
        for going in range(1, n + 1):
            padded = side_by_side._padded(np.arange(going), n)
            assert set(padded) == set(range(going))
            assert going <= len(padded) <= 2 * going


@pytest.mark.parametrize("by", ["threads", "vmap"])
def test_a_fit_goes_on_from_any_epoch_bit_for_bit(world, by):
    points = []
    whole = world.together(PATIENT, 6, keep=points.append, by=by)
    assert points
    for point in points:
        for one, again in zip(whole, world.together(PATIENT, 6, resume=point, by=by), strict=True):
            jax.tree.map(np.testing.assert_array_equal, one.state, again.state)
            assert one[1:] == again[1:]


@pytest.mark.parametrize("by", ["threads", "vmap"])
def test_a_loss_that_is_not_finite_is_told(by):
    broken = World()
    state, frozen = broken.starts[1]
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, state.trainable)
    broken.starts[1] = (state._replace(trainable=bad), frozen)
    with pytest.raises(FloatingPointError, match=r"epoch 1: the loss is not finite at step 0 of 3, on images \["):
        broken.together(PATIENT, 2, by=by)


def test_the_device_loop_does_what_the_host_loop_does(world):
    validate = [functools.partial(world.validate, run) for run in range(RUNS)]
    found = []
    for loop in ("host", "device"):
        states = side_by_side.stack([state for state, _ in world.starts])
        keys = jnp.stack([jax.random.key(run) for run in range(RUNS)])
        found.append(
            side_by_side.run_epochs(
                states, world.program, world.runs, jnp.stack(world.pools), keys, validate, "vmap", loop
            )
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)


def test_runs_spread_over_devices_end_as_they_do_on_one():
    """Three runs on two devices: one place is filled up."""
    program = (
        "from fer_jax.runs.environment import prepare_environment; prepare_environment(); "
        "from tests.training.test_together import PATIENT, RUNS, World, same; import jax; "
        "assert jax.device_count() == 2; "
        "world = World(); found = world.together(PATIENT, 4, by='vmap'); "
        "[same(world.alone(run, PATIENT, 4), found[run]) for run in range(RUNS)]"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **flags}, check=True)
