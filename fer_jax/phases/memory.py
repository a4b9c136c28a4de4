"""What is kept after an increment: exemplars and their logits, statistics, the anchor of a regularizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import methods, replay, rng
from fer_jax.phases import pools as reading
from fer_jax.phases.fold import Encoded, Params, Setup
from fer_jax.phases.part import Learned, Part
from fer_jax.training import importance

FISHER_IMAGES = 256


def kept(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """With what the method keeps of the classes `new` bool[C]: exemplars, their logits, statistics."""
    setup = part.setup
    if learned.statistics is not None:
        statistics = learned.statistics
        for c in np.flatnonzero(new):
            padded = _of_class(part, c)
            encoded = Encoded.cached(setup, part.base, np.maximum(padded, 0), part.recipe.cut)
            features = encoded.features(setup, part.base, part.recipe.cut)
            statistics = statistics.add(c, features, jnp.asarray(padded >= 0))
        return learned._replace(statistics=statistics)
    if not part.method.replays:
        return learned
    memory = learned.memory
    for c in np.flatnonzero(new):
        memory = replay.remember(memory, c, ranked(part, learned.params, c, known, memory.index.shape[1]))
    # As many of each class as the next increment allows, or in all as many.
    m = setup.exemplars(int(part.steps[known].max()))
    if part.rule.balanced:
        memory = replay.truncate(memory, m)
    else:
        memory = replay.trim(memory, part.draws[jnp.maximum(memory.index, 0)], m * int(known.sum()))
    learned = learned._replace(memory=memory)
    if learned.recorded is None:
        return learned
    rows = np.asarray(memory.index)[new].reshape(-1)
    encoded = Encoded.cached(setup, part.base, np.maximum(rows, 0), part.recipe.cut)
    logits = encoded.logits(setup, learned.params, part.recipe.cut)
    # An empty slot is no image: what would be written for it is dropped.
    places = np.where(rows >= 0, rows, len(learned.recorded))
    recorded = learned.recorded.at[places].set(jnp.where(known, logits, jnp.nan), mode="drop")
    return learned._replace(recorded=recorded)


def ranked(part: Part, params: Params, class_index: int, known: np.ndarray, capacity: int) -> jax.Array:
    """A class's training images in the order of the memory rule, i32[capacity], -1 padded."""
    setup, padded = part.setup, _of_class(part, class_index)
    cut = part.recipe.cut
    encoded = Encoded.cached(setup, part.base, np.maximum(padded, 0), cut)
    logits, features = encoded.logits_and_features(setup, params, cut)
    return rank(
        logits, features, jnp.asarray(padded), part.draws, class_index, jnp.asarray(known), part.rule.score, capacity
    )


def _of_class(part: Part, class_index: int) -> np.ndarray:
    """A class's training images, -1 padded: the same number for all classes, so that one program serves them."""
    rows = part.setup.train_rows(np.arange(part.setup.n_classes) == class_index)
    return np.pad(rows, (0, part.longest - len(rows)), constant_values=-1)


def anchored(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """With the importance of the parameters for the classes `new`, and where they stand."""
    setup, cut = part.setup, part.recipe.cut
    if part.method.regularizer is None:
        return learned
    rows = setup.train_rows(new)
    key = rng.derive(setup.config.seed, "fisher", setup.fold, part.order_index, int(part.steps[known].max()))
    drawn = np.asarray(jax.random.uniform(key, part.train_mask.shape))
    rows = rows[np.argsort(drawn[rows])][:FISHER_IMAGES]
    rows = np.pad(rows, (0, FISHER_IMAGES - len(rows)), constant_values=-1)
    encoded = Encoded.cached(setup, part.base, np.maximum(rows, 0), cut)
    labels = jnp.where(rows >= 0, encoded.labels, -1)
    trainable, frozen = setup.network.split(learned.params, cut)
    found = importance.fisher(trainable, frozen, encoded.activations, labels, jnp.asarray(known), setup.network, cut)
    found = jax.tree.map(jnp.add, learned.anchor[0], found)
    return learned._replace(anchor=(found, jax.tree.map(jnp.copy, trainable)))


def corrected(
    part: Part, params: Params, reserved: jax.Array | None, context: methods.Context
) -> tuple[Params, dict[str, float]]:
    """The parameters after the method's correction, on the images that were reserved, and what it changed by."""
    if reserved is None:
        head, numbers = part.method.correct(params["head"], None, None, context)
        return {**params, "head": head}, numbers
    rows = np.flatnonzero(np.asarray(reserved))
    # As many as there ever are, for one program.
    most = part.setup.n_classes * reading.reserved_of_class(part.method, part.setup.capacity())
    padded = np.pad(rows, (0, most - len(rows)), constant_values=-1)
    encoded = Encoded.cached(part.setup, part.base, np.maximum(padded, 0), part.recipe.cut)
    logits = encoded.logits(part.setup, params, part.recipe.cut)
    labels = jnp.where(padded >= 0, encoded.labels, -1)
    head, numbers = part.method.correct(params["head"], logits, labels, context)
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
