"""The images that an epoch of an increment may read: the memory and the new classes' training images, as indices."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import replay
from fer_jax.methods import Method
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
    """Returns the images that one epoch may read, -1 where a slot is empty."""
    if part.method.reads == "all":
        rows = part.fold.train_rows(known)
        if reserved is not None:
            rows = rows[~np.asarray(reserved)[rows]]
        return jnp.asarray(np.pad(rows, (0, len(part.fold.split.train) - len(rows)), constant_values=-1))
    if reserved is not None:
        index = memory.index
        memory = memory._replace(index=jnp.where((index >= 0) & reserved[jnp.maximum(index, 0)], -1, index))
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


def reserved_of_class(method: Method, m: int) -> int:
    """Returns how many images of a class are reserved from training where it has m exemplars."""
    return max(1, int(method.reserved * m)) if method.reserved else 0


def reserve(part: Part, memory: replay.Memory, new_classes: list[int], m: int) -> jax.Array | None:
    """Returns the images that are not trained on, bool[N]: the same number of every known class (arXiv 1905.13260)."""
    if not part.method.reserved:
        return None
    each = reserved_of_class(part.method, m)
    index, count = np.asarray(memory.index), np.asarray(memory.count)
    old = [c for c in np.flatnonzero(count > each) if c not in new_classes]
    rows = [index[c, count[c] - each : count[c]] for c in old]
    for c in new_classes:
        of_class = part.fold.train_rows(np.arange(part.fold.n_classes) == c)
        rows.append(of_class[np.argsort(np.asarray(part.draws)[of_class])[:each]])
    return jnp.asarray(np.isin(np.arange(len(part.train_mask)), np.concatenate(rows)))
