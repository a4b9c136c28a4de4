"""An epoch over four devices by pmap and by shard_map, and what they share and sum."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training import devices
from tests.support import four_devices
from tests.support.four_devices import SHARES

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, str]:
    """How every check of `four_devices` ended in one process of four devices: "" or what it said."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4".strip()
    out = tmp_path_factory.mktemp("four") / "ended.json"
    command = [sys.executable, "-m", "tests.support.four_devices", str(out)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": flags}, check=True)
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", [check.__name__ for check in four_devices.CHECKS])
def test_four_devices_are_one(ended, name):
    assert ended[name] == "", ended[name]


def test_processes_have_the_shares_of_their_own_devices(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        np.testing.assert_array_equal(devices.local_shares(10, 4), SHARES[2 * process : 2 * process + 2])


def test_a_mesh_has_the_order_of_pmap(monkeypatch):
    """JAX's own meshes reorder the devices of a TPU."""
    four = [object() for _ in range(4)]
    monkeypatch.setattr(devices, "Mesh", lambda grid, axes, axis_types: list(grid))
    assert devices._mesh(four, "devices") == four


def test_one_device_has_all():
    positions, weights = devices.share(3, 1)
    np.testing.assert_array_equal([positions, weights, devices.local_shares(3, 1)], [[0, 1, 2], [1, 1, 1], [0, 1, 2]])
    tree = {"a": jnp.arange(4.0)}
    assert devices.total(tree, 1) is devices.cut_runs(tree, 1) is devices.join_runs(tree, 1) is tree
