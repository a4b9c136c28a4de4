"""Runs side by side against the same runs one by one: states, early stopping, resume, and what a stopped run costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training import together
from fer_jax.training.fit import EarlyStopping
from tests.support.worlds import PATIENT, RUNS, World, same


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.slow
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
    for run, fitted in enumerate(world.together(stopping, 3)):
        same(world.alone(run, stopping, 3), fitted)


@pytest.mark.parametrize("by", ["threads", "vmap"])
def test_a_run_that_has_stopped_costs_nothing(world, monkeypatch, by):
    sizes, name = [], f"by_{by}"
    epoch = getattr(together, name)

    def counted(turns, recipe, how):
        sizes.append(how if by == "vmap" else len(turns))
        return epoch(turns, recipe, how)

    monkeypatch.setattr(together, name, counted)
    fitted = world.together(EarlyStopping("min", 1, min_delta=0.02), 12, by=by)
    lengths = sorted(len(one.history) for one in fitted)
    assert lengths[0] < lengths[-1], "runs that stop at different epochs are wanted here"
    going = [sum(length > epoch for length in lengths) for epoch in range(lengths[-1])]
    # Sizes are 3, 2 and 1, so that none is compiled that is not needed.
    assert sizes == going


def test_along_an_axis_at_most_twice_as_many_go_as_have_not_stopped():
    for n in (1, 3, 10, 17):
        sizes = {going: together.axis_size(going, n) for going in range(1, n + 1)}
        assert len(set(sizes.values())) <= 1 + n.bit_length()
        for going, size in sizes.items():
            assert going <= size <= 2 * going


@pytest.mark.parametrize("by", ["threads", "vmap"])
def test_a_fit_goes_on_from_any_epoch_bit_for_bit(world, by):
    points = []

    def save(point):  # the next epoch gives the states' memory away
        states, best = jax.tree.map(jnp.copy, (point.states, point.best))
        points.append(point._replace(states=states, best=best))

    whole = world.together(PATIENT, 6, save=save, by=by)
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
    trained = []
    for loop in ("host", "device"):
        runs = [world.run(run) for run in range(RUNS)]
        turns = [
            together.Turn(run.state, run.source, world.pools[i], run.context, jax.random.key(i), run.validate)
            for i, run in enumerate(runs)
        ]
        trained.append(together.by_vmap(turns, dataclasses.replace(world.recipe, loop=loop), RUNS))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *trained)


def test_class_weights_are_those_of_each_runs_own_epoch(world, monkeypatch):
    plain = world.alone(0, PATIENT, 2)
    weighted = dataclasses.replace(world.recipe, objective=world.recipe.objective.replace(weighted=True))
    monkeypatch.setattr(world, "recipe", weighted)
    for run, mapped in enumerate(world.together(PATIENT, 2, by="vmap")):
        same(world.alone(run, PATIENT, 2), mapped)
    assert world.alone(0, PATIENT, 2).history[0]["loss"] != plain.history[0]["loss"]
