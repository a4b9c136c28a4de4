"""An epoch over four devices by pmap and by shard_map, and what they share and sum."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training import devices as parallel
from tests.support.worlds import Views, World, epoch, equal

# Of a batch of 10 a device has 3, the last one 1 and two places without weight.
SHARES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 9, 9]]


def epochs() -> None:
    """By pmap as by shard_map, bit for bit, and within rounding as on one device."""
    for kind in (World, Views):
        one, four = kind(devices=1), kind(devices=4)
        for world in (one, four):
            world.recipe = dataclasses.replace(world.recipe, batch_size=10)
        for loop in ("host", "device"):
            found = epoch(four, four.images, loop, "pmap")
            equal(found, epoch(four, four.images, loop, "shard_map"))
            wanted = epoch(one, one.images, loop)
            jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), found, wanted)
            assert found[1]["accuracy"] == wanted[1]["accuracy"]


def shares() -> None:
    """Every image of a batch has a place with weight once, and the host sends what the devices take."""
    for batch_size in (1, 3, 5, 8, 10):
        positions, weights = jax.pmap(lambda _, n=batch_size: parallel.share(n, 4), parallel.AXIS)(np.arange(4))
        np.testing.assert_array_equal(positions, parallel.local_shares(batch_size, 4))
        np.testing.assert_array_equal(np.asarray(positions)[np.asarray(weights) == 1], np.arange(batch_size))
        assert weights.sum() == batch_size
    np.testing.assert_array_equal(positions, SHARES)


def totals() -> None:
    """Sums by hand, each with the kind of number it had; of counts exact below 2²⁴."""
    given = {"loss": np.float32([0.5, 1, 2, 4]), "count": 2**22 - 2 + np.arange(4, dtype=np.int32)}
    given["gradient"] = np.float32(np.arange(24).reshape(4, 2, 3))
    found = jax.pmap(lambda one: parallel.total(one, 4), parallel.AXIS)(given)
    for name, wanted in {"loss": 7.5, "count": 2**24 - 2, "gradient": [[36, 40, 44], [48, 52, 56]]}.items():
        assert found[name].dtype == given[name].dtype
        for device in range(4):
            np.testing.assert_array_equal(found[name][device], wanted)


def runs() -> None:
    """A device has two of eight runs, in order; joined, each has all of them."""
    given = {"a": jnp.arange(24.0).reshape(8, 3), "b": jnp.arange(8)}
    cut = parallel.cut_runs(given, 4)
    for name, whole in given.items():
        for part in cut[name].addressable_shards:
            number = jax.devices().index(part.device)
            np.testing.assert_array_equal(part.data[0], whole[2 * number : 2 * number + 2])
    joined = parallel.join_runs(cut, 4)
    equal(joined, given)
    assert all(one.sharding.is_fully_replicated and len(one.devices()) == 4 for one in joined.values())


def test_four_devices_are_one():
    program = (
        "from fer_jax.runs.environment import prepare_environment; prepare_environment(); "
        "from tests.training import test_devices as t; t.shares(); t.totals(); t.runs(); t.epochs()"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **flags}, check=True)


def test_processes_have_the_shares_of_their_own_devices(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        np.testing.assert_array_equal(parallel.local_shares(10, 4), SHARES[2 * process : 2 * process + 2])


def test_one_device_has_all():
    positions, weights = parallel.share(3, 1)
    np.testing.assert_array_equal([positions, weights, parallel.local_shares(3, 1)], [[0, 1, 2], [1, 1, 1], [0, 1, 2]])
    tree = {"a": jnp.arange(4.0)}
    assert parallel.total(tree, 1) is parallel.cut_runs(tree, 1) is parallel.join_runs(tree, 1) is tree


def test_several_processes_are_reached_by_pmap(monkeypatch):
    monkeypatch.setattr(parallel.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="by is 'shard_map'; over several processes it may be 'pmap'"):
        parallel.spread(lambda x: x, (), by="shard_map")
