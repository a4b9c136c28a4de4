"""What is kept after an increment: exemplars and their logits, statistics, the anchor of a regularizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import importance, methods, protocol, replay, rng
from fer_jax.phases.part import Learned, Part
from fer_jax.phases.setup import Encoded, Params, Setup

FISHER_IMAGES = 256


def kept(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """With what the method keeps of the classes `new` bool[C]: exemplars, their logits, statistics."""
    setup = part.setup
    if learned.statistics is not None:
        statistics = learned.statistics
        for c in np.flatnonzero(new):
            rows = setup.train_rows(np.arange(setup.n_classes) == c)
            encoded = Encoded.cached(setup, part.base, rows, part.recipe.cut)
            statistics = statistics.add(c, encoded.features(setup, part.base, part.recipe.cut))
        return learned._replace(statistics=statistics)
    if not part.method.replays:
        return learned
    memory = learned.memory
    for c in np.flatnonzero(new):
        memory = replay.remember(memory, c, ranked(part, learned.params, c, known, memory.index.shape[1]))
    if not part.rule.balanced:
        # As large as a balanced memory of the classes known now.
        step = int(part.steps[known].max())
        m = setup.exemplars(min(step, protocol.n_increments(len(part.order), setup.per_increment) - 1))
        memory = replay.trim(memory, part.draws[jnp.maximum(memory.index, 0)], m * int(known.sum()))
    learned = learned._replace(memory=memory)
    if learned.recorded is None:
        return learned
    rows = np.asarray(memory.index)[new]
    rows = rows[rows >= 0]
    encoded = Encoded.cached(setup, part.base, rows, part.recipe.cut)
    logits = encoded.logits(setup, learned.params, part.recipe.cut)
    return learned._replace(recorded=learned.recorded.at[rows].set(jnp.where(known, logits, jnp.nan)))


def ranked(part: Part, params: Params, class_index: int, known: np.ndarray, capacity: int) -> jax.Array:
    """A class's training images in the order of the memory rule, i32[capacity], -1 padded."""
    setup = part.setup
    rows = setup.train_rows(np.arange(setup.n_classes) == class_index)
    padded = np.pad(rows, (0, part.longest - len(rows)), constant_values=-1)
    cut = part.recipe.cut
    encoded = Encoded.cached(setup, part.base, np.maximum(padded, 0), cut)
    logits, features = encoded.logits_and_features(setup, params, cut)
    return rank(
        logits, features, jnp.asarray(padded), part.draws, class_index, jnp.asarray(known), part.rule.score, capacity
    )


def anchored(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """With the importance of the parameters for the classes `new`, and where they stand."""
    setup, cut = part.setup, part.recipe.cut
    if part.method.regularizer is None:
        return learned
    rows = setup.train_rows(new)
    key = rng.derive(setup.config.seed, "fisher", setup.fold, part.order_index, int(part.steps[known].max()))
    rows = np.asarray(jax.random.permutation(key, jnp.asarray(rows)))[:FISHER_IMAGES]
    encoded = Encoded.cached(setup, part.base, rows, cut)
    trainable, frozen = setup.network.split(learned.params, cut)
    found = importance.fisher(
        trainable, frozen, encoded.activations, encoded.labels, jnp.asarray(known), setup.network, cut
    )
    found = jax.tree.map(jnp.add, learned.anchor[0], found)
    return learned._replace(anchor=(found, jax.tree.map(jnp.copy, trainable)))


def corrected(
    part: Part, params: Params, reserved: jax.Array | None, context: methods.Context
) -> tuple[Params, dict[str, float]]:
    """The parameters after the method's correction, on the images that were reserved, and what it changed by."""
    rows = part.setup.split.train[:1] if reserved is None else np.flatnonzero(np.asarray(reserved))
    encoded = Encoded.cached(part.setup, part.base, rows, part.recipe.cut)
    logits = encoded.logits(part.setup, params, part.recipe.cut)
    head, numbers = part.method.correct(params["head"], logits, encoded.labels, context)
    return {**params, "head": head}, numbers


def base_memory(setup: Setup, base: Params, capacity: int) -> replay.Memory:
    """The base classes' exemplars by Predictive Sorting, ranked once by the base model."""
    method = methods.METHODS["kd_psmr"]
    part = Part(setup, base, method, 0, np.arange(setup.n_classes - setup.n_base))
    memory = replay.empty_memory(setup.n_classes, capacity)
    for c in range(setup.n_base):
        memory = replay.remember(memory, c, ranked(part, base, c, setup.base_mask(), capacity))
    return memory


@functools.partial(jax.jit, static_argnames=("score", "capacity"))
def rank(logits, features, rows, draws, class_index, known, score, capacity):
    """One class's images in the order of a memory rule's score, i32[capacity] image indices, -1 padded.

    Args:
      logits, features: f32[R, C] and f32[R, D] of images[rows].
      rows: i32[R], -1 padded, so that classes of different size share one compilation.
      draws: f32[N].
    """
    filled = rows >= 0
    seen = replay.Candidates(logits, features, filled, class_index, known, draws[jnp.maximum(rows, 0)])
    # The best candidates of any score.
    chosen = replay.predictive_sort(score(seen), filled, capacity)
    return jnp.where(chosen >= 0, rows[chosen], -1)
