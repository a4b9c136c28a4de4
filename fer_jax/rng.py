"""Derived randomness, never carried: a key is a function of the seed and of where in a run it is used."""

import zlib

import jax


def derive(seed: int, *path: str | int) -> jax.Array:
    """Derives the key of a place in a run, such as `derive(0, "continual", fold, order, increment)`.

    Names are hashed (CRC-32, the same everywhere); any point can be reached without replaying what came before.
    """
    key = jax.random.key(seed)
    for part in path:
        key = jax.random.fold_in(key, zlib.crc32(part.encode()) if isinstance(part, str) else part)
    return key
