"""What must hold on four virtual devices, checked in one process: python -m tests.support.four_devices OUT.json."""

import dataclasses
import functools
import itertools
import json
import pathlib
import sys
import tempfile
import traceback
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import experiment, objectives
from fer_jax.bench import timing
from fer_jax.runs.environment import prepare_environment
from fer_jax.training import devices
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import run_epoch
from studies.related import learning
from studies.related.common import Work
from tests.support.worlds import PATIENT, RUNS, Views, World, epoch, equal, same

# Of a batch of 10 a device has 3, the last one 1 and two places without weight.
SHARES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 9, 9]]


def shares() -> None:
    """Every image of a batch has a place with weight once, and the host sends what the devices take."""
    for batch_size in (1, 3, 5, 8, 10):
        positions, weights = jax.pmap(lambda _, n=batch_size: devices.share(n, 4), devices.AXIS)(np.arange(4))
        np.testing.assert_array_equal(positions, devices.local_shares(batch_size, 4))
        np.testing.assert_array_equal(np.asarray(positions)[np.asarray(weights) == 1], np.arange(batch_size))
        assert weights.sum() == batch_size
    np.testing.assert_array_equal(positions, SHARES)


def totals() -> None:
    """Sums by hand, each with the kind of number it had; of counts exact below 2²⁴."""
    given = {"loss": np.float32([0.5, 1, 2, 4]), "count": 2**22 - 2 + np.arange(4, dtype=np.int32)}
    given["gradient"] = np.float32(np.arange(24).reshape(4, 2, 3))
    found = jax.pmap(lambda one: devices.total(one, 4), devices.AXIS)(given)
    for name, wanted in {"loss": 7.5, "count": 2**24 - 2, "gradient": [[36, 40, 44], [48, 52, 56]]}.items():
        assert found[name].dtype == given[name].dtype
        for device in range(4):
            np.testing.assert_array_equal(found[name][device], wanted)


def runs() -> None:
    """A device has two of eight runs, in order; joined, each has all of them."""
    given = {"a": jnp.arange(24.0).reshape(8, 3), "b": jnp.arange(8)}
    cut = devices.cut_runs(given, 4)
    for name, whole in given.items():
        for part in cut[name].addressable_shards:
            number = jax.devices().index(part.device)
            np.testing.assert_array_equal(part.data[0], whole[2 * number : 2 * number + 2])
    joined = devices.join_runs(cut, 4)
    equal(joined, given)
    assert all(one.sharding.is_fully_replicated and len(one.devices()) == 4 for one in joined.values())


def epochs() -> None:
    """By pmap as by shard_map and of images on the host, bit for bit, and within rounding as on one device."""
    for kind in (World, Views):
        one, four = kind(devices=1), kind(devices=4)
        for world in (one, four):
            world.recipe = dataclasses.replace(world.recipe, batch_size=10)
        # Both loops on images; of cached views the one that a run takes.
        for loop in ("host", "device") if kind is World else ("device",):
            found = epoch(four, four.images, loop, "pmap")
            equal(found, epoch(four, four.images, loop, "shard_map"))
            equal(found, epoch(four, np.asarray(four.images), loop, "pmap" if loop == "host" else "shard_map"))
            wanted = epoch(one, one.images, loop)
            jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), found, wanted)
            assert found[1]["accuracy"] == wanted[1]["accuracy"]


def contrastive() -> None:
    """Terms that compare all examples of a batch, or read a target, give the same on any number of devices.

    So they do of images on the host. The images are mixed with others of the whole batch.
    """

    def height(outputs, _):
        return jnp.square(outputs.heads["height"][:, 0] - outputs.targets["height"])

    plain = objectives.OBJECTIVES["contrastive_mixup"]
    objective = plain.replace(
        terms={**plain.terms, "height": height}, heads={**plain.heads, "height": (1,)}, targets=("height",)
    )
    results = []
    for n_devices, by in ((1, "pmap"), (4, "pmap"), (4, "shard_map")):
        world = World(devices=n_devices)
        recipe = dataclasses.replace(
            world.recipe, objective=objective, batch_size=10, uses_teacher=False, cut="input", spread_by=by
        )
        state, frozen = recipe.init(world.base, jax.random.key(5))
        context = world.contexts[0]._replace(frozen=frozen)
        source = world.source(0)
        source = source.replace(facts=source.facts._replace(targets={"height": jnp.linspace(0, 1, len(world.labels))}))
        asked = (jnp.arange(10), context, jax.random.key(3), recipe)
        streamed = run_epoch(jax.tree.map(jnp.copy, state), source.replace(pictures=np.asarray(world.images)), *asked)
        state, row = run_epoch(state, source, *asked)
        equal((state, row), streamed)
        # After its first step Adam's first moment is a tenth of the gradient.
        results.append((row["loss"], jax.tree.map(lambda mu: np.asarray(mu) * 10, state.opt_state.mu)))
    (loss, gradients), *on_four = results
    for layers in gradients["heads"].values():
        assert any(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(layers))
    for by, (loss_of_four, gradients_of_four) in zip(("pmap", "shard_map"), on_four, strict=True):
        assert loss == pytest.approx(loss_of_four, abs=1e-5)
        differences = jax.tree.map(lambda one, four: np.abs(one - four).max(), gradients, gradients_of_four)
        largest = max(jax.tree.leaves(differences))
        assert largest <= 1e-5
        print(
            f"contrastive, 1 and 4 devices, {by}: losses {abs(loss - loss_of_four):.1e}, gradients {largest:.1e} apart"
        )


def placed_once() -> None:
    """Over several devices what many epochs read is sent once, and all epochs are one program."""
    world = World(devices=4)
    world.recipe = dataclasses.replace(world.recipe, batch_size=10)
    jax.clear_caches()
    images, base = devices.placed(world.images), devices.placed(world.base)
    start, frozen = world.starts[0]
    context = world.contexts[1]._replace(frozen=frozen, teacher=base)
    given = SimpleNamespace(data=SimpleNamespace(residency="device")), SimpleNamespace(image=np.asarray(images))
    for leaf in jax.tree.leaves((start, frozen, experiment._placed(*given))):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.devices()) == 4
    for loop, by in itertools.product(("host", "device"), ("pmap", "shard_map")):
        state = jax.tree.map(jnp.copy, start)
        for number in range(3):
            guard = jax.transfer_guard_device_to_device("disallow" if number else "allow")
            with guard, timing.compilations() as compiled:
                recipe = dataclasses.replace(world.recipe, loop=loop, spread_by=by)
                source = world.source(0, images)
                state, _ = run_epoch(state, source, world.pools[2], context, jax.random.key(number), recipe)
            assert (compiled.seconds > 0) == (number == 0), (loop, by, number)
    there, again = ([part.data.unsafe_buffer_pointer() for part in x.addressable_shards]
                    for x in (images, devices.everywhere(images)))  # fmt: skip
    assert there == again


def side_by_side() -> None:
    """Three runs on four devices: one place is filled up."""
    world = World()
    found = world.together(PATIENT, 4, by="vmap")
    for run in range(RUNS):
        same(world.alone(run, PATIENT, 4), found[run])


def related_studies() -> None:
    """What the studies of related systems train is the same on four devices and on one."""
    generator, found = np.random.default_rng(0), []
    features, labels = generator.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    examples = learning.Examples(features + labels[:, None], Batch(jnp.asarray(labels)), 3)
    for count in (1, 4):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(jax, "device_count", lambda count=count: count):
            work = Work(0, SimpleNamespace(), pathlib.Path(folder))
            found.append(learning.probe(work, "probe", examples, np.tile(np.arange(60), 8), 4))
    np.testing.assert_allclose(*found, atol=1e-3)


CHECKS = (shares, totals, runs, epochs, contrastive, placed_once, side_by_side, related_studies)


def main(out: pathlib.Path) -> None:
    """Writes of every check how it ended: "" or what it said."""
    assert jax.device_count() == 4
    ended = {}
    for check in CHECKS:
        ended[check.__name__] = ""
        try:
            check()
        except Exception:
            ended[check.__name__] = traceback.format_exc()
    out.write_text(json.dumps(ended))


if __name__ == "__main__":
    prepare_environment()
    main(pathlib.Path(sys.argv[1]))
