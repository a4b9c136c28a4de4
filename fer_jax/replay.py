"""Which examples to keep: scores, labels and masks in, indices out.

A memory is indices into the one image array, never images, so the rule that nothing else of an old class may be
read is a property of the indices that `epoch_pool` emits.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Memory(NamedTuple):
    """Exemplars of every class, best first.

    index: i32[C, M] into the image array; -1 beyond `count`.
    count: i32[C], how many exemplars a class has.
    """

    index: jax.Array
    count: jax.Array


def empty_memory(n_classes: int, capacity: int) -> Memory:
    """A memory of C classes with room for `capacity` exemplars of each."""
    return Memory(jnp.full((n_classes, capacity), -1, jnp.int32), jnp.zeros(n_classes, jnp.int32))


def predictive_sort(own_class_logits: jax.Array, candidates: jax.Array, m: int) -> jax.Array:
    """Predictive Sorting (arXiv 2308.06197): the m candidates with the highest own-class logit.

    Args:
      own_class_logits: f32[N], each image's raw logit of its own class (not a probability).
      candidates: bool[N], the images to choose from, usually the training images of one class.
      m: how many; static.

    Returns:
      i32[m], best first, equal logits in index order; -1 where there are too few candidates.

    Raises:
      AssertionError: shapes that do not fit together.
    """
    chex.assert_rank([own_class_logits, candidates], 1)
    chex.assert_equal_shape([own_class_logits, candidates])
    scores = jnp.where(candidates, own_class_logits, -jnp.inf)
    order = jnp.argsort(scores, descending=True, stable=True)[:m].astype(jnp.int32)
    # A candidate whose logit is -inf or NaN sorts among the others: choose by position, not by score.
    ranked = jnp.argsort(~candidates[order], stable=True)
    order = order[ranked]
    chosen = jnp.where(candidates[order], order, -1)
    return jnp.pad(chosen, (0, m - chosen.shape[0]), constant_values=-1)


def remember(memory: Memory, class_index: jax.Array, ranked: jax.Array) -> Memory:
    """Stores a class's ranking i32[M] (-1 padded), replacing what the class had."""
    return Memory(
        memory.index.at[class_index].set(ranked),
        memory.count.at[class_index].set(jnp.sum(ranked >= 0, dtype=jnp.int32)),
    )


def truncate(memory: Memory, m: jax.Array) -> Memory:
    """Keeps the first m stored exemplars of every class, in stored order (never sorted again)."""
    count = jnp.minimum(memory.count, m)
    slots = jnp.arange(memory.index.shape[1])
    return Memory(jnp.where(slots < count[:, None], memory.index, -1), count)


def draw(key: jax.Array, candidates: jax.Array, m: jax.Array, capacity: int) -> jax.Array:
    """Draws min(m, candidates) images without replacement: i32[capacity], -1 padded.

    Args:
      key: a PRNG key.
      candidates: bool[N].
      m: how many, at most `capacity`; may be traced.
      capacity: static length of the result.
    """
    noise = jax.random.uniform(key, candidates.shape)
    order = jnp.argsort(jnp.where(candidates, noise, jnp.inf))[:capacity].astype(jnp.int32)
    keep = candidates[order] & (jnp.arange(order.shape[0]) < m)
    drawn = jnp.where(keep, order, -1)
    return jnp.pad(drawn, (0, capacity - drawn.shape[0]), constant_values=-1)


def epoch_pool(key: jax.Array, memory: Memory, new_class: jax.Array, m: jax.Array, fresh: int) -> jax.Array:
    """What one epoch may read: the memory and m fresh images of the current class.

    Args:
      key: a PRNG key; another one each epoch redraws the current class's images.
      memory: exemplars of the old classes.
      new_class: bool[N], the training images of the class being learned.
      m: how many images of it; at most `fresh`.
      fresh: static bound of m.

    Returns:
      i32[C * M + fresh], -1 where a slot is empty.
    """
    return jnp.concatenate([memory.index.reshape(-1), draw(key, new_class, m, fresh)])


def shuffle_pool(key: jax.Array, pool: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shuffles the filled slots of a pool i32[L] to its front; returns it and how many they are."""
    noise = jax.random.uniform(key, pool.shape)
    filled = pool >= 0
    order = jnp.argsort(jnp.where(filled, noise, jnp.inf))
    return pool[order], jnp.sum(filled, dtype=jnp.int32)


def exemplars_per_class(
    n_images: int, n_classes: int, n_base: int, increment: int, mode: str, protocol: str, share: float
) -> int:
    """m, the exemplars of each old class during 0-based increment i.

    With M = floor(share N): `grow` keeps m = floor(M / C). `limit` keeps the whole memory within M: with K_old
    known classes m = floor(M / K_old). The published code starts `limit` at floor(M / C) as well, although
    few classes are known, and the base classes then stay at that size (`protocol='published'`).

    Raises:
      ValueError: an unknown mode.
    """
    budget = int(share * n_images)
    if mode == "grow" or (mode == "limit" and protocol == "published" and increment == 0):
        return budget // n_classes
    if mode == "limit":
        return budget // (n_base + increment)
    raise ValueError(f"memory.mode is {mode!r}; it may be 'grow' or 'limit'")
