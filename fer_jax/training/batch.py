"""Batches: their fields, and the order in which an epoch reads the images of a pool.

A pool is indices of images, so what an epoch may read is decided without the images themselves.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp

from fer_jax import replay


class Batch(NamedTuple):
    """B examples, and what is known of each; with N rows, the facts of all images of a data set.

    labels: i32[B].
    subjects: i32[B], who is on the image.
    targets: [B, ...] by name, extra targets such as action units.
    stored: bool[B], whether the example is read from the exemplar memory; None in the base task.
    recorded: f32[B, C], the logits recorded when an example was stored, NaN elsewhere; None where none are.
    images: u8[B, H, W, 3]; None where `activations` stand for them.
    activations: f32[B, ...], the frozen trunk's output for an augmented view of each image.
    teacher_logits: f32[B, C], the teacher's answers to these views; None where the step computes them.
    """

    labels: jax.Array
    subjects: jax.Array | None = None
    targets: Mapping[str, jax.Array] = flax.core.FrozenDict()
    stored: jax.Array | None = None
    recorded: jax.Array | None = None
    images: jax.Array | None = None
    activations: jax.Array | None = None
    teacher_logits: jax.Array | None = None


# i32[L] indices of images, -1 where a slot is empty; or two of them, of new images and of the memory.
Pool = jax.Array | tuple[jax.Array, jax.Array]


def take(batch: Batch, rows: jax.Array) -> Batch:
    """Returns the examples `rows` i32[R] of a batch."""
    return jax.tree.map(lambda leaf: leaf[rows], batch)


@functools.partial(jax.jit, static_argnames=("batch_size", "how"))
def ordered(
    key: jax.Array, pool: Pool, batch_size: int, how: str = "shuffled", facts: Batch | None = None
) -> tuple[jax.Array, jax.Array]:
    """Puts the filled slots of a pool into batches.

    Args:
      pool: of the epoch. Of two pools every batch has half of each: the new images are read once, and the memory's
        each once before any a second time.
      how: shuffled; balanced, the classes in turn; or subject_pairs, two images of a person side by side.
      facts: of all images; not needed for "shuffled".

    Returns:
      the epoch's order i32[L], repeated to at least one batch, and how many batches of it are read, i32[]: none of an
      empty pool.
    """
    if isinstance(pool, tuple):
        return _in_pairs(key, *pool, batch_size)
    order, filled = replay.shuffle_pool(key, pool)
    if how == "balanced":
        order = _balanced(order, filled, facts.labels)
    elif how == "subject_pairs":
        order, filled = _subject_pairs(jax.random.fold_in(key, 1), order, filled, facts.subjects)
    # At least one full batch: too few images repeat in order.
    repeats = max(1, math.ceil(batch_size / pool.shape[0]))
    order = jnp.tile(order, repeats)
    slots = jnp.arange(order.shape[0])
    n_steps = jnp.maximum(filled // batch_size, jnp.minimum(filled, 1))
    return jnp.where(slots < filled, order, order[slots % jnp.maximum(filled, 1)]), n_steps


@functools.partial(jax.jit, static_argnames="n_classes")
def class_weights(order: jax.Array, n_read: jax.Array, labels: jax.Array, n_classes: int) -> jax.Array:
    """Returns the weights f32[C] with which all classes that an epoch reads count the same, and 1 on average.

    Args:
      order: i32[L], as `ordered` returns it; its first `n_read` places are read.
      labels: i32[N] of all images.
    """
    read = jnp.arange(order.shape[0]) < n_read
    counts = jnp.zeros(n_classes).at[labels[order]].add(read)
    n_present = jnp.sum(counts > 0)
    return jnp.where(counts > 0, jnp.sum(counts) / (n_present * jnp.maximum(counts, 1)), 0.0)


def _in_pairs(key, new, memory, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns an order whose batches begin with new images: half of each, or all of it where there is no memory."""
    (new, n_new), (memory, n_memory) = (
        replay.shuffle_pool(jax.random.fold_in(key, i), one) for i, one in enumerate((new, memory))
    )
    half = jnp.where(n_memory > 0, batch_size // 2, batch_size)
    step, place = jnp.divmod(jnp.arange(max(1, new.shape[0] // (batch_size // 2)) * batch_size), batch_size)
    from_new = new[(step * half + place) % jnp.maximum(n_new, 1)]
    from_memory = memory[(step * (batch_size - half) + place - half) % jnp.maximum(n_memory, 1)]
    n_steps = jnp.maximum(n_new // half, jnp.minimum(n_new, 1))
    return jnp.where(place < half, from_new, from_memory), n_steps


def _balanced(order: jax.Array, filled: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns an order i32[L] in which the classes take turns; the images of a small class repeat.

    `order` has the shuffled images in its first `filled` places.
    """
    slots = jnp.arange(order.shape[0])
    n = len(labels)  # more than any class number
    own = jnp.where(slots < filled, labels[order], n)
    by_class = jnp.argsort(own, stable=True)  # shuffled within a class
    ordered, group = order[by_class], own[by_class]
    first = (slots == 0) | (group != jnp.roll(group, 1))
    begins = jnp.where(first & (group < n), slots, order.shape[0])
    begins = jnp.sort(begins)  # of every class that is there, then places of none
    n_classes = jnp.maximum(jnp.sum(first & (group < n)), 1)
    ends = jnp.where(jnp.arange(len(begins)) + 1 < n_classes, jnp.roll(begins, -1), filled)
    turn, which = slots // n_classes, slots % n_classes
    size = jnp.maximum(ends[which] - begins[which], 1)
    return ordered[jnp.minimum(begins[which] + turn % size, order.shape[0] - 1)]


def _subject_pairs(
    key: jax.Array, order: jax.Array, filled: jax.Array, subjects: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns an order i32[L] in which places 2k and 2k + 1 have images of one person, and how many places are filled.

    An odd image is paired with another of its person, or with itself if it is the only one. The pairs are shuffled;
    those that do not fit into L places wait for another epoch. `order` has the shuffled images in its first `filled`
    places.
    """
    length = order.shape[0]
    slots = jnp.arange(length)
    own = jnp.where(slots < filled, subjects[order], jnp.iinfo(jnp.int32).max)
    by_person = jnp.argsort(own, stable=True)  # shuffled within a person
    images, person = order[by_person], own[by_person]
    begin = jax.lax.cummax(jnp.where((slots == 0) | (person != jnp.roll(person, 1)), slots, 0))
    place = slots - begin
    followed = (slots + 1 < filled) & (jnp.roll(person, -1) == person)
    partner = jnp.where(followed, slots + 1, jnp.where(place > 0, slots - 1, slots))
    starts = (place % 2 == 0) & (slots < filled)
    shuffled = jnp.argsort(jnp.where(starts, jax.random.uniform(key, (length,)), jnp.inf))
    first = shuffled[slots // 2]
    pairs = jnp.where(slots % 2 == 0, images[first], images[partner[first]])
    return pairs, jnp.minimum(2 * jnp.sum(starts, dtype=jnp.int32), length - length % 2)
