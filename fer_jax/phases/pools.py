"""The images that an epoch of an increment may read: the memory and the new classes' training images, as indices."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import replay
from fer_jax.phases.part import Part
from fer_jax.training.batch import Pool

_epoch_pool = jax.jit(replay.epoch_pool, static_argnames="fresh")


def pool(
    part: Part,
    key: jax.Array,
    memory: replay.Memory,
    known: np.ndarray,
    new_classes: list[int],
    m: int,
    reserved: jax.Array | None,
) -> Pool:
    """Returns the images that one epoch may read, -1 where a slot is empty.

    Reserved images bool[N] are none of them; the memory holds none.
    """
    if part.method.reads == "all":
        rows = part.fold.train_rows(known)
        if reserved is not None:
            rows = rows[~np.asarray(reserved)[rows]]
        return jnp.asarray(np.pad(rows, (0, len(part.fold.split.train) - len(rows)), constant_values=-1))
    if part.method.reads == "exemplars":
        return memory.index.reshape(-1)
    new = jnp.stack([part.train_mask & (part.fold.labels == c) for c in new_classes])
    if reserved is not None:
        new &= ~reserved
    if part.method.reads == "paired":
        return jnp.where(new.any(0), jnp.arange(new.shape[1], dtype=jnp.int32), -1), memory.index.reshape(-1)
    if part.method.reads == "replay":
        m = part.longest
        new &= ~in_memory(part, memory)
    return _epoch_pool(key, memory, new, jnp.int32(m), part.longest)


def in_memory(part: Part, memory: replay.Memory) -> jax.Array:
    """Returns which images are in the memory, bool[N]."""
    index = memory.index.reshape(-1)
    return jnp.zeros(len(part.train_mask), bool).at[jnp.maximum(index, 0)].max(index >= 0)
