"""Work over devices and processes: one global batch and one memory, the same draws whatever the number of devices.

This is the only file that names pmap. Every device receives all arguments and takes its share of the batch by its
number, so the host never splits or joins arrays.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "devices"
RUNS = "runs"


def share(batch_size: int, devices: int) -> tuple[jax.Array, jax.Array]:
    """Returns this device's part of a batch.

    Returns:
      positions in the batch i32[S], S = ceil(batch_size / devices), and weights f32[S]: 0 for the places of the last
      devices that a batch which does not divide leaves over.
    """
    if devices == 1:
        return jnp.arange(batch_size), jnp.ones(batch_size)
    size = -(-batch_size // devices)
    positions = jax.lax.axis_index(AXIS) * size + jnp.arange(size)
    return jnp.minimum(positions, batch_size - 1), jnp.float32(positions < batch_size)


def local_shares(batch_size: int, devices: int) -> np.ndarray:
    """Returns the positions of `share` for the devices of this process, i32[D, S]; for one device all, i32[B]."""
    if devices == 1:
        return np.arange(batch_size)
    size, here = -(-batch_size // devices), jax.local_device_count()
    numbers = jax.process_index() * here + np.arange(here)
    return np.minimum(numbers[:, None] * size + np.arange(size), batch_size - 1)


def total(tree: Any, devices: int) -> Any:
    """Sums over the devices arrays of float32 and counts below 2²⁴.

    In one collective, whatever the number of arrays: a device waits for the others once a step.
    """
    if devices == 1:
        return tree
    flat, restored = ravel_pytree(tree)
    return restored(jax.lax.psum(flat, AXIS))


def gathered(array: jax.Array, axis: int = 0) -> jax.Array:
    """Joins the devices' shares of an array along an axis, in their order; gradients flow back to each share."""
    return jax.lax.all_gather(array, AXIS, axis=axis, tiled=True)


def everywhere(tree: Any) -> Any:
    """Puts the arrays on every device of this process, so that calls of what `spread` made need not send them again.

    Those that are there already stay as they are.
    """
    return jax.device_put(tree, _on_all(AXIS, PartitionSpec()))


def placed(tree: Any, devices: int | None = None) -> Any:
    """Puts arrays that many epochs read on every device of this process, once; for one device returns them unchanged.

    devices: of all processes, those that are there unless given.
    """
    return everywhere(tree) if (devices or jax.device_count()) > 1 else tree


def _on_all(axis: str, part: PartitionSpec) -> NamedSharding:
    """Over the devices of this process."""
    return NamedSharding(_mesh(jax.local_devices(), axis), part)


def _mesh(devices: list[jax.Device], axis: str) -> Mesh:
    """A mesh of the devices in this order, which pmap and `local_shares` count in; `make_mesh` reorders TPUs."""
    return Mesh(np.asarray(devices), (axis,), axis_types=(AxisType.Auto,))


@functools.lru_cache(maxsize=64)
def spread(
    function: Callable,
    static: tuple[tuple[str, Any], ...],
    donate: tuple[int, ...] = (),
    by: str = "pmap",
    cut: tuple[int, ...] = (),
):
    """Maps `function(*arguments, **static)` over all devices of all processes, jitted.

    Args:
      static: named arguments that are compiled in.
      donate: positions of arguments whose memory the results take over.
      by: "pmap" or "shard_map"; both give the same.
      cut: positions of arguments that have a part [D, ...] for each device of this process.

    Returns:
      a function of the arguments alone. The others, and what it returns, are the same on every device; inside,
      `share` and `total` tell the devices apart.
    """
    bound = functools.partial(function, **dict(static))
    if by == "shard_map":
        return _spread_by_shard_map(bound, donate, cut)

    def numbered(number, *arguments):
        del number  # pmap wants one argument that differs
        return bound(*arguments)

    @functools.cache
    def mapped(n_arguments: int) -> Callable:
        given = tuple(1 + i for i in donate)
        axes = (0, *(0 if i in cut else None for i in range(n_arguments)))
        return jax.pmap(numbered, AXIS, in_axes=axes, out_axes=None, donate_argnums=given)

    def run(*arguments):
        return mapped(len(arguments))(np.arange(jax.local_device_count()), *arguments)

    return run


def _spread_by_shard_map(bound: Callable, donate: tuple[int, ...], cut: tuple[int, ...]) -> Callable:
    # In the order of pmap: the devices of the first process come first.
    mesh = _mesh([one for number in range(jax.process_count()) for one in jax.local_devices(number)], AXIS)
    everywhere = PartitionSpec()

    def own(*arguments):
        return bound(*(jax.tree.map(lambda x: x[0], a) if i in cut else a for i, a in enumerate(arguments)))

    @functools.cache
    def mapped(n_arguments: int) -> Callable:
        specs = tuple(PartitionSpec(AXIS) if i in cut else everywhere for i in range(n_arguments))
        # With check_vma a psum of gradients would be one too many: the transpose of a replicated argument sums, too.
        spread = jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=everywhere, check_vma=False)
        return jax.jit(spread, donate_argnums=donate)

    def run(*arguments):
        given = (_of_all(a, mesh, i in cut) for i, a in enumerate(arguments))
        return mapped(len(arguments))(*given)

    return run


def _of_all(tree: Any, mesh: jax.sharding.Mesh, cut: bool) -> Any:
    """Makes arrays that each process has whole, or of which it has its own part, arrays of the mesh of all."""
    part = PartitionSpec(AXIS) if cut else PartitionSpec()
    if jax.process_count() == 1:
        return jax.device_put(tree, NamedSharding(mesh, part)) if cut else tree

    def joined(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x  # what the step before returned
        parts = {shard.device: shard.data for shard in jax.device_put(x, _on_all(AXIS, part)).addressable_shards}
        shape = (mesh.size, *jnp.shape(x)[1:]) if cut else jnp.shape(x)
        data = [parts[device] for device in jax.local_devices()]
        return jax.make_array_from_single_device_arrays(shape, NamedSharding(mesh, part), data)

    return jax.tree.map(joined, tree)


@functools.lru_cache(maxsize=64)
def spread_runs(
    function: Callable,
    static: tuple[tuple[str, Any], ...],
    axes: tuple[int | None, ...],
    donate: tuple[int, ...],
    devices: int,
):
    """Maps `function(*arguments, **static)` over parts of the runs, one part for every device of this process, jitted.

    Args:
      axes: 0 for an argument that `cut_runs` has cut, None for one that is the same for all runs.
      donate: positions of arguments whose memory the results take over.
    """
    bound = functools.partial(function, **dict(static))
    if devices == 1:
        return jax.jit(bound, donate_argnums=donate)
    return jax.pmap(bound, RUNS, in_axes=axes, donate_argnums=donate)


def cut_runs(tree: Any, devices: int) -> Any:
    """Splits arrays [n, ...] of n runs into [devices, n / devices, ...] for `spread_runs`; unchanged for one device."""
    if devices == 1:
        return tree
    where = _on_all(RUNS, PartitionSpec(RUNS))
    return jax.tree.map(lambda x: jax.device_put(x.reshape(devices, -1, *x.shape[1:]), where), tree)


def join_runs(tree: Any, devices: int) -> Any:
    """Joins what `cut_runs` split, on every device of this process."""
    if devices == 1:
        return tree
    return everywhere(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree))


def local(tree: Any) -> Any:
    """Returns results of `spread` as arrays of this process alone, on each of its devices, for use outside `spread`."""
    if jax.process_count() == 1:
        return tree
    where = _on_all(AXIS, PartitionSpec())

    def here(x):
        parts = {shard.device: shard.data for shard in x.addressable_shards}
        return jax.make_array_from_single_device_arrays(x.shape, where, [parts[d] for d in where.mesh.devices.flat])

    return jax.tree.map(here, tree)


def agreed(values: Any) -> Any:
    """Broadcasts process 0's tree of numbers and arrays; every process must call it, with the same shapes."""
    if jax.process_count() == 1:
        return values
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(values))
