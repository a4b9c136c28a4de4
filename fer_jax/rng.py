"""Derived randomness, never carried: a key is a function of the seed and of where in a run it is used."""

import functools
import zlib

import jax
import numpy as np


def derive(seed: int, *path: str | int) -> jax.Array:
    """Derives the key of a place in a run, such as `derive(0, "continual", fold, order, increment)`.

    Names are hashed (CRC-32, the same everywhere); any point can be reached without replaying what came before.
    """
    parts = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    return _folded(jax.random.key(seed), np.asarray(parts, np.uint32))


@jax.jit
def _folded(key: jax.Array, parts: jax.Array) -> jax.Array:
    return functools.reduce(jax.random.fold_in, parts, key)
