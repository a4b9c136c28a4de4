"""Where the images are: whole on the device, or on the host, from which batches and chunks are streamed.

An array's kind tells where it is: a NumPy array is on the host, a JAX array on the device. Indices that do not depend
on it decide what is read and in which order, so both give the same results.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# "auto" takes the device where images need no more than this share of its memory; the rest is for training.
SHARE = 0.4
CHUNK = 512  # images that an encoding pass has on the device at a time
_THREADS, _AHEAD = 2, 4  # that gather, and batches or chunks that are ready before they are asked for


def stays_on_host(choice: str, n_bytes: int) -> bool:
    """Returns True if images of so many bytes stay on the host, by `data.residency`."""
    if choice == "auto":
        return n_bytes > SHARE * _device_memory()
    return choice == "host"


def _device_memory() -> float:
    """Bytes of a device's memory; of the machine's where that is the device."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (device.memory_stats() or {}).get("bytes_limit", float("inf"))


def on_host(array: np.ndarray | jax.Array) -> bool:
    """Returns True for a NumPy array."""
    return isinstance(array, np.ndarray)


def take(array: np.ndarray | jax.Array, rows: np.ndarray | jax.Array) -> jax.Array:
    """Returns array[rows], on the device."""
    return jnp.asarray(array[np.asarray(rows)])


def stream(array: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields array[rows[0]], array[rows[1]], …, which threads gather ahead.

    Args:
      array: [N, ...].
      rows: i32[n, ...], indices of n batches.
    """
    import grain  # takes a second to import

    batches = grain.MapDataset.range(len(rows)).map(lambda number: np.take(array, rows[number], axis=0))
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)))


def in_chunks(function: Callable[[np.ndarray, np.ndarray], Any], array: np.ndarray, rows: np.ndarray) -> Any:
    """Calls `function` on the rows of a host array, CHUNK at a time; returns arrays [R, ...] on the host.

    Args:
      function: of array[some] and these rows some i32[n] to a tree of [n, ...], on the device; the last chunk is filled
        up, so that it is compiled once.
      array: [N, ...].
      rows: i32[R].
    """
    size = min(CHUNK, len(rows))
    chunks = np.pad(rows, (0, -len(rows) % size)).reshape(-1, size)
    found, before = None, None
    for number, chunk in enumerate(stream(array, chunks)):
        made = function(chunk, chunks[number])
        if found is None:
            found = jax.tree.map(lambda leaf: np.empty((chunks.size, *leaf.shape[1:]), leaf.dtype), made)
        else:  # fetched once the next one is on its way
            _fill(found, number - 1, size, before)
        before = made
    _fill(found, len(chunks) - 1, size, before)
    return jax.tree.map(lambda leaf: leaf[: len(rows)], found)


def _fill(found: Any, number: int, size: int, made: Any) -> None:
    for array, chunk in zip(jax.tree.leaves(found), jax.tree.leaves(made), strict=True):
        array[number * size : (number + 1) * size] = chunk
