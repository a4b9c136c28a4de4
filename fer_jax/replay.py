"""Selects which examples to store: scores, labels and masks in, indices out.

A memory is indices into the one image array, never images, so the rule that nothing else of an old class may be read is
a property of the indices that `epoch_pool` returns.
"""

import dataclasses
from collections.abc import Callable
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
    """Returns a memory of C classes with room for `capacity` exemplars of each.

    >>> empty_memory(2, 3).index.tolist()
    [[-1, -1, -1], [-1, -1, -1]]
    """
    return Memory(jnp.full((n_classes, capacity), -1, jnp.int32), jnp.zeros(n_classes, jnp.int32))


def predictive_sort(own_class_logits: jax.Array, candidates: jax.Array, m: int) -> jax.Array:
    """Selects the m candidates with the highest own-class logit (Predictive Sorting, arXiv 2308.06197).

    Args:
      own_class_logits: f32[N], each image's raw logit of its own class (not a probability).
      candidates: bool[N], the images to choose from, usually the training images of one class.
      m: how many; static.

    Returns:
      i32[m], best first, equal logits in index order; -1 where there are too few candidates.

    Raises:
      AssertionError: shapes that do not fit together.

    >>> predictive_sort(jnp.array([0.1, 2.0, 9.0, 1.0]), jnp.array([True, True, False, True]), 4).tolist()
    [1, 3, 0, -1]
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


class Stored(NamedTuple):
    """The exemplars of the other classes as the ranking model sees them; rows of empty slots are masked.

    logits: f32[C * M, C]; features: f32[C * M, D]; labels: i32[C * M], -1 where a place is empty.
    """

    logits: jax.Array
    features: jax.Array
    labels: jax.Array


class Candidates(NamedTuple):
    """The images of one class, as a memory rule sees them.

    logits: f32[N, C] of the model that has just learned the class; of the base model for base classes.
    features: f32[N, D], its pooled backbone features.
    candidates: bool[N]; the other rows are padding.
    class_index: i32[], the class.
    class_mask: bool[C], the known classes.
    draws: f32[N] in [0, 1), independent of each other; an image's is the same whenever it is asked for.
    stored: what is stored of the other classes already; None unless the rule `sees_stored`.
    """

    logits: jax.Array
    features: jax.Array
    candidates: jax.Array
    class_index: jax.Array
    class_mask: jax.Array
    draws: jax.Array
    stored: Stored | None = None


# To a score f32[N]; the highest are stored.
Score = Callable[[Candidates], jax.Array]


def own_class_logit(c: Candidates) -> jax.Array:
    """Scores by the raw logit of the own class: Predictive Sorting (arXiv 2308.06197)."""
    return c.logits[:, c.class_index]


def random_score(c: Candidates) -> jax.Array:
    """Scores at random, which is a draw without replacement."""
    return c.draws


def entropy_score(c: Candidates) -> jax.Array:
    """Scores by the entropy of the prediction, so the most uncertain images first (RWalk, arXiv 1801.10112, section
    4.2).
    """
    log = jax.nn.log_softmax(jnp.where(c.class_mask, c.logits, -jnp.inf))
    return -jnp.sum(jnp.where(c.class_mask, jnp.exp(log) * log, 0.0), -1)


def closeness_score(c: Candidates) -> jax.Array:
    """Scores by minus the distance to the class mean of the features, so the most typical images first."""
    mean = jnp.mean(c.features, 0, where=c.candidates[:, None])
    return -jnp.linalg.norm(c.features - mean, axis=-1)


def herding_score(c: Candidates) -> jax.Array:
    """Scores by herding: each image brings the mean of those selected nearest to the class mean (arXiv 1611.07725, alg.
    4).

    On features of length 1, as there; the score of an image is minus its place in that order.
    """
    features = c.features / jnp.maximum(jnp.linalg.norm(c.features, axis=-1, keepdims=True), 1e-12)
    mean = jnp.mean(features, 0, where=c.candidates[:, None])

    def take(k, carry):
        score, left, total = carry
        distance = jnp.linalg.norm(mean - (total + features) / (k + 1), axis=-1)
        nearest = jnp.argmin(jnp.where(left, distance, jnp.inf))
        return score.at[nearest].set(-k), left.at[nearest].set(False), total + features[nearest]

    n = len(features)
    score = jnp.full(n, -jnp.inf)
    return jax.lax.fori_loop(0, jnp.sum(c.candidates), take, (score, c.candidates, jnp.zeros_like(mean)))[0]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A memory rule.

    score: which images of a class are stored, highest first.
    balanced: whether every class has the same number of exemplars; otherwise all classes share the budget, and the
      exemplars with the highest scores of all stay.
    needs_model: whether the score looks at logits or features.
    sees_stored: whether the score looks at what is stored of other classes (`Candidates.stored`).
    """

    score: Score
    balanced: bool = True
    needs_model: bool = True
    sees_stored: bool = False


RULES = {
    "predictive_sort": Rule(own_class_logit),
    "random": Rule(random_score, needs_model=False),
    # The images with the highest of independent draws: of a budget that stays the same a uniform sample of all that was
    # seen, as Vitter's algorithm R stores (ACM TOMS 1985). One that grows with the classes has a few more of the last
    # ones, since what was given up does not come back.
    "reservoir": Rule(random_score, balanced=False, needs_model=False),
    "herding": Rule(herding_score),
    "entropy": Rule(entropy_score),
    "distance_to_mean": Rule(closeness_score),
}


def trim(memory: Memory, scores: jax.Array, budget: jax.Array) -> Memory:
    """Retains the `budget` exemplars with the highest scores f32[C, M] of all classes, in stored order.

    >>> memory = Memory(jnp.array([[4, 5], [6, 7]]), jnp.array([2, 2]))
    >>> trim(memory, jnp.array([[0.1, 0.9], [0.8, 0.7]]), 3).index.tolist()
    [[5, -1], [6, 7]]
    """
    filled = memory.index >= 0
    # A score that is not a number is the lowest, and still above an empty place.
    lowest = jnp.finfo(scores.dtype).min
    values = jnp.where(filled, jnp.maximum(jnp.where(jnp.isnan(scores), lowest, scores), lowest), -jnp.inf)
    ranked = jnp.argsort(jnp.argsort(values.reshape(-1), descending=True, stable=True), stable=True)
    retained = filled & (ranked.reshape(values.shape) < budget)
    front = jnp.argsort(~retained, axis=1, stable=True)
    index = jnp.where(retained, memory.index, -1)
    return Memory(jnp.take_along_axis(index, front, 1), jnp.sum(retained, 1, dtype=jnp.int32))


def remember(memory: Memory, class_index: jax.Array, ranked: jax.Array) -> Memory:
    """Stores a class's ranking i32[M] (-1 padded), replacing what the class had.

    >>> remember(empty_memory(2, 3), 1, jnp.array([8, 5, -1])).count.tolist()
    [0, 2]
    """
    return Memory(
        memory.index.at[class_index].set(ranked),
        memory.count.at[class_index].set(jnp.sum(ranked >= 0, dtype=jnp.int32)),
    )


def truncate(memory: Memory, m: jax.Array) -> Memory:
    """Retains the first m stored exemplars of every class, in stored order (never sorted again).

    >>> truncate(Memory(jnp.array([[4, 5, 6], [7, -1, -1]]), jnp.array([3, 1])), 2).index.tolist()
    [[4, 5, -1], [7, -1, -1]]
    """
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

    >>> drawn = draw(jax.random.key(0), jnp.array([False, True, True]), m=1, capacity=2)
    >>> int(drawn[0]) in (1, 2), int(drawn[1])
    (True, -1)
    """
    noise = jax.random.uniform(key, candidates.shape)
    order = jnp.argsort(jnp.where(candidates, noise, jnp.inf))[:capacity].astype(jnp.int32)
    chosen = candidates[order] & (jnp.arange(order.shape[0]) < m)
    drawn = jnp.where(chosen, order, -1)
    return jnp.pad(drawn, (0, capacity - drawn.shape[0]), constant_values=-1)


def epoch_pool(key: jax.Array, memory: Memory, new: jax.Array, m: jax.Array, fresh: int) -> jax.Array:
    """Returns what one epoch may read: the memory and m fresh images of every class being learned.

    Args:
      key: a PRNG key; another one each epoch redraws the new classes' images.
      memory: exemplars.
      new: bool[N], the training images of a class being learned, or bool[K, N] of several.
      m: how many images of each; at most `fresh`.
      fresh: static bound of m.

    Returns:
      i32[C * M + K * fresh], -1 where a slot is empty.

    >>> memory = remember(empty_memory(1, 2), 0, jnp.array([3, -1]))
    >>> epoch_pool(jax.random.key(0), memory, jnp.array([True, False, False, False]), m=1, fresh=1).tolist()
    [3, -1, 0]
    """
    drawn = [draw(jax.random.fold_in(key, k) if k else key, one, m, fresh) for k, one in enumerate(jnp.atleast_2d(new))]
    return jnp.concatenate([memory.index.reshape(-1), *drawn])


def shuffle_pool(key: jax.Array, pool: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shuffles the filled slots of a pool i32[L] to its front; returns it and how many they are.

    >>> pool, count = shuffle_pool(jax.random.key(0), jnp.array([-1, 7, -1, 4]))
    >>> sorted(pool[:2].tolist()), int(count)
    ([4, 7], 2)
    """
    noise = jax.random.uniform(key, pool.shape)
    filled = pool >= 0
    order = jnp.argsort(jnp.where(filled, noise, jnp.inf))
    return pool[order], jnp.sum(filled, dtype=jnp.int32)


def exemplars_per_class(
    n_images: int,
    n_classes: int,
    n_base: int,
    increment: int,
    mode: str,
    protocol: str,
    share: float,
    per_increment: int = 1,
) -> int:
    """Computes m, the exemplars of each old class during 0-based increment i.

    With M = floor(share N): `grow` has m = floor(M / C) throughout. `limit` holds the whole memory within M: with K_old
    known classes m = floor(M / K_old). The published code starts `limit` at floor(M / C) as well, although
    few classes are known, and the base classes then stay at that size (`protocol='published'`).

    Raises:
      ValueError: an unknown mode.

    >>> exemplars_per_class(3000, 21, 6, increment=0, mode='grow', protocol='held_out', share=0.3)
    42
    >>> exemplars_per_class(3000, 21, 6, increment=0, mode='limit', protocol='held_out', share=0.3)
    150
    """
    budget = int(share * n_images)
    if mode == "grow" or (mode == "limit" and protocol == "published" and increment == 0):
        return budget // n_classes
    if mode == "limit":
        return budget // (n_base + per_increment * increment)
    raise ValueError(f"memory.mode is {mode!r}; it may be 'grow' or 'limit'")
