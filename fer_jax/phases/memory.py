"""The results of an increment that later ones need: exemplars and their logits, statistics, the anchor of a penalty."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import corrections, methods, replay, rng
from fer_jax.objectives import Context
from fer_jax.phases import trunk_cache
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.part import Learned, Part, cached, reserved_of_class, statistics_of
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training import devices, encoding, importance


def prepared(part: Part, learned: Learned, base: np.ndarray) -> Learned:
    """Prepares statistics of no class yet by the training images of the base classes bool[C]."""
    accumulating = statistics_of(part.method)
    if accumulating is None or accumulating.prepare is None:
        return learned
    encoded = part.encoded(part.fold.train_rows(base))
    features = encoded.read(part.fold, part.base, part.recipe.cut, accumulating.reads)
    return learned._replace(statistics=accumulating.prepare(learned.statistics, features))


def settled(part: Part, learned: Learned) -> Learned:
    """Prepares statistics of all base classes for later ones, if these are treated in another way."""
    accumulating = statistics_of(part.method)
    if accumulating is None or accumulating.settle is None:
        return learned
    return learned._replace(statistics=accumulating.settle(learned.statistics))


def set_aside(part: Part, learned: Learned, known: np.ndarray, m: int) -> Learned:
    """Draws the reserved images of the known classes bool[C] that have none yet, before anything trains on them.

    They take the share `Method.reserved` of the m places that a class has in the memory, and are drawn at random (BiC,
    arXiv 1905.13260, section 4.1). No increment trains on them as long as they are reserved. A class that has more than
    that share of m gives some up for good. Of base classes they are drawn here, too: the base model, which all methods
    share, was trained on them.
    """
    if learned.reserved is None:
        return learned
    each = reserved_of_class(part.method, m)
    reserved = replay.truncate(learned.reserved, each)
    for c in np.flatnonzero(known & (np.asarray(reserved.count) == 0)):
        rows = part.fold.train_rows(np.arange(part.fold.n_classes) == c)
        # One is left to train on, whatever the class.
        drawn = rows[np.argsort(np.asarray(part.draws)[rows])][: min(each, len(rows) - 1)]
        padded = np.pad(drawn, (0, reserved.index.shape[1] - len(drawn)), constant_values=-1)
        reserved = replay.remember(reserved, c, jnp.asarray(padded, jnp.int32))
    return learned._replace(reserved=reserved)


def everything(learned: Learned) -> np.ndarray:
    """Returns all exemplars of every class, i32[C, M], -1 in empty places: those trained on, then those reserved."""
    both = [one.index for one in (learned.memory, learned.reserved) if one is not None]
    return np.concatenate(both, axis=1)


def stored(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """Stores what the method retains of the classes `new` bool[C]: exemplars, their logits, statistics."""
    learned = _with_statistics(part, learned, new)
    if not part.method.stores:
        return learned
    memory, stores_all = learned.memory, part.method.stores_all
    for c in np.flatnonzero(known if stores_all else new):
        memory = replay.remember(memory, c, _to_store(part, learned._replace(memory=memory), c, known))
    # As many of each class as the next increment allows, or in all as many.
    m = part.fold.exemplars(int(part.steps[known].max()))
    if learned.reserved is not None:
        each = reserved_of_class(part.method, m)
        learned, m = learned._replace(reserved=replay.truncate(learned.reserved, each)), m - each
    if part.rule.balanced and not stores_all:
        memory = replay.truncate(memory, m)
    elif not stores_all:
        memory = replay.trim(memory, _scores(part, learned.params, memory, known), m * int(known.sum()))
    # Processors that round differently may rank two images differently.
    learned = learned._replace(memory=jax.tree.map(jnp.asarray, devices.agreed(memory)))
    if learned.recorded is None:
        return learned
    rows = np.asarray(memory.index)[new].reshape(-1)
    logits = _recorded(part, learned.params, np.maximum(rows, 0), int(part.steps[known].max()))
    # An empty slot is no image: what would be written for it is dropped.
    places = np.where(rows >= 0, rows, len(learned.recorded))
    recorded = learned.recorded.at[places].set(jnp.where(known, logits, jnp.nan), mode="drop")
    return learned._replace(recorded=recorded)


def _recorded(part: Part, params: Params, rows: np.ndarray, step: int) -> jax.Array:
    """Returns the logits to record of images[rows], f32[R, C]: of one view as training sees it, augmented if it is."""
    fold, network, cut = part.fold, part.fold.network, part.recipe.cut
    augmentation = part.recipe.objective.augmentation or part.recipe.augmentation
    if augmentation is None:
        return part.encoded(rows).logits(fold, params, cut)
    if cached(fold.config, part.method):
        activations = trunk_cache.views(fold, part.base, cut)[rows, 0]
    else:
        key = rng.derive(fold.config.seed, "recorded", fold.number, part.order_index, step)
        activations = encoding.encode_view(part.base, fold.images[rows], key, network, cut, augmentation)
    return encoding.logits_from(params, activations, network, cut)


def stored_bytes(part: Part, learned: Learned) -> dict[str, int]:
    """Counts the bytes that a method retains for the next increment, by kind, beside the model itself.

    exemplars are images of 8 bits; a teacher is a second copy of what is trained.
    """

    def size(tree) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))

    method, count = part.method, int((everything(learned) >= 0).sum())
    trainable, _ = part.fold.network.split(learned.params, part.recipe.cut)
    return {
        "exemplars": count * int(np.prod(part.fold.images.shape[1:])),
        "recorded": 0 if learned.recorded is None else count * part.fold.n_classes * learned.recorded.itemsize,
        "statistics": size(learned.statistics),
        "anchor": size(learned.anchor),
        "teacher": size(trainable) if method.teacher != "none" else 0,
    }


def _with_statistics(part: Part, learned: Learned, new: np.ndarray) -> Learned:
    accumulating = statistics_of(part.method)
    if accumulating is None:
        return learned
    statistics = learned.statistics
    for c in np.flatnonzero(new):
        padded = _of_class(part, c)
        features = part.encoded(padded).read(part.fold, part.base, part.recipe.cut, accumulating.reads)
        statistics = accumulating.add(statistics, c, features, jnp.asarray(padded >= 0))
    return learned._replace(statistics=statistics)


def _to_store(part: Part, learned: Learned, class_index: int, known: np.ndarray) -> jax.Array:
    """Returns a class's images in the order of the memory rule, or as they come if all are stored, -1 padded."""
    if part.method.stores_all:
        return jnp.asarray(_of_class(part, class_index))
    return ranked(part, learned, class_index, known, learned.memory.index.shape[1])


def ranked(part: Part, learned: Learned, class_index: int, known: np.ndarray, capacity: int) -> jax.Array:
    """Returns a class's training images in the order of the memory rule, i32[capacity], -1 padded; none is reserved."""
    padded = _of_class(part, class_index)
    if learned.reserved is not None:
        padded = np.where(np.isin(padded, np.asarray(learned.reserved.index)), -1, padded)
    logits, features = part.encoded(padded).logits_and_features(part.fold, learned.params, part.recipe.cut)
    rows = jnp.asarray(padded)
    seen = replay.Candidates(
        logits, features, rows >= 0, class_index, jnp.asarray(known), part.draws[jnp.maximum(rows, 0)],
        _others(part, learned, class_index) if part.rule.sees_stored else None,
    )  # fmt: skip
    return rank(seen, rows, part.rule.score, capacity)


def _others(part: Part, learned: Learned, class_index: int) -> replay.Stored:
    """Returns what is stored of the other classes, as the model sees it."""
    index = np.asarray(learned.memory.index).reshape(-1)
    logits, features = part.encoded(index).logits_and_features(part.fold, learned.params, part.recipe.cut)
    labels = np.repeat(np.arange(part.fold.n_classes), learned.memory.index.shape[1])
    return replay.Stored(logits, features, jnp.asarray(np.where((index >= 0) & (labels != class_index), labels, -1)))


def _scores(part: Part, params: Params, memory: replay.Memory, known: np.ndarray) -> jax.Array:
    """Returns the memory rule's score of every exemplar now, f32[C, M]; of empty places any number."""
    n_classes, width = memory.index.shape
    draws, filled = part.draws[jnp.maximum(memory.index, 0)], memory.index >= 0
    logits, features = jnp.zeros((n_classes, width, n_classes)), jnp.zeros((n_classes, width, 0))
    if part.rule.needs_model or part.rule.sees_stored:
        encoded = part.encoded(np.asarray(memory.index).reshape(-1))
        seen = encoded.logits_and_features(part.fold, params, part.recipe.cut)
        logits, features = (one.reshape(n_classes, width, -1) for one in seen)
    mask, others = jnp.asarray(known), None
    if part.rule.sees_stored:
        labels = jnp.where(filled, jnp.arange(n_classes)[:, None], -1).reshape(-1)
        others = replay.Stored(*(one.reshape(-1, one.shape[-1]) for one in (logits, features)), labels)

    def of_class(logits, features, filled, class_index, draws):
        stored = others and others._replace(labels=jnp.where(others.labels == class_index, -1, others.labels))
        return part.rule.score(replay.Candidates(logits, features, filled, class_index, mask, draws, stored))

    return jax.vmap(of_class)(logits, features, filled, jnp.arange(n_classes), draws)


def _of_class(part: Part, class_index: int) -> np.ndarray:
    """Returns a class's training images, -1 padded to the same length for all, so that one program serves them."""
    rows = part.fold.train_rows(np.arange(part.fold.n_classes) == class_index)
    return np.pad(rows, (0, part.longest - len(rows)), constant_values=-1)


def anchored(part: Part, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
    """Adds the importance of the parameters for the classes `new`, of all their images, and records their values."""
    fold, cut = part.fold, part.recipe.cut
    if not part.method.anchors:
        return learned
    # Padded, so that one program serves all increments.
    encoded, labels = _looked_at(part, np.concatenate([_of_class(part, c) for c in np.flatnonzero(new)]))
    trainable, frozen = fold.network.split(learned.params, cut)
    found = importance.fisher(trainable, frozen, encoded.activations, labels, jnp.asarray(known), fold.network, cut)
    found = jax.tree.map(jnp.add, learned.anchor[0], found)
    return learned._replace(anchor=(found, jax.tree.map(jnp.copy, trainable)))


def corrected(part: Part, params: Params, learned: Learned, context: Context) -> tuple[Params, dict[str, float]]:
    """Returns the parameters after the method's correction, and its numbers.

    learned: before the increment, or with the new classes in the memory if it takes them in before.
    """
    correct, logits, labels = part.method.correct, None, None
    if learned.reserved is not None:
        encoded, labels = _looked_at(part, np.asarray(learned.reserved.index).reshape(-1))
        logits = encoded.logits(part.fold, params, part.recipe.cut)
    further = (_features(part, params, learned, context),) if getattr(correct, "reads_features", False) else ()
    head, numbers = correct(params["head"], logits, labels, context, *further)
    return {**params, "head": head}, numbers


def _looked_at(part: Part, padded: np.ndarray) -> tuple[Encoded, jax.Array]:
    """Returns images behind the frozen trunk and their labels, which are -1 in rows of -1."""
    encoded = part.encoded(padded)
    return encoded, jnp.where(padded >= 0, encoded.labels, -1)


def _features(part: Part, params: Params, learned: Learned, context: Context) -> corrections.Features:
    """Returns the features of the exemplars, and of all training images of classes that are not among them yet.

    Reserved images are none of them.
    """
    rows = [np.asarray(learned.memory.index).reshape(-1)]
    if part.method.fills == "after":
        rows += [_of_class(part, c) for c in np.flatnonzero(np.asarray(context.new_mask))]
    rows = np.concatenate(rows)
    if learned.reserved is not None:
        rows = np.where(np.isin(rows, np.asarray(learned.reserved.index)), -1, rows)
    encoded, labels = _looked_at(part, rows)
    features = encoded.features(part.fold, params, part.recipe.cut)
    return corrections.Features(features, labels, part.fold.network.head_logits)


def base_memory(fold: Fold, base: Params, capacity: int) -> replay.Memory:
    """Returns the base classes' exemplars by Predictive Sorting, ranked once by the base model."""
    part = Part(fold, base, methods.METHODS["kd_psmr"], 0, np.arange(fold.n_classes - fold.n_base))
    learned = Learned(base, replay.empty_memory(fold.n_classes, capacity))
    memory = learned.memory
    for c in range(fold.n_base):
        memory = replay.remember(memory, c, ranked(part, learned, c, fold.base_mask(), capacity))
    return memory


@functools.partial(jax.jit, static_argnames=("score", "capacity"))
def rank(seen: replay.Candidates, rows: jax.Array, score: replay.Score, capacity: int) -> jax.Array:
    """Puts one class's images in the order of a memory rule's score, i32[capacity] image indices, -1 padded.

    Args:
      seen: of images[rows].
      rows: i32[R], -1 padded, so that classes of different size share one compilation.
    """
    # The best candidates of any score.
    chosen = replay.predictive_sort(score(seen), seen.candidates, capacity)
    return jnp.where(chosen >= 0, rows[chosen], -1)
