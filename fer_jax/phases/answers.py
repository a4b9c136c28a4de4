"""Evaluates how a method answers, by its network or by a classifier of features, on the test images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.classifiers import Classifier, Exemplars
from fer_jax.data.classes import compositions
from fer_jax.models.head import masked_probabilities
from fer_jax.phases.part import Learned, Part
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.scores import confusion, score


def confusions(
    part: Part, learned: Learned, known: np.ndarray, penalties: dict[str, float] | None = None
) -> dict[str, list]:
    """Counts answers on the test images, [C, C], by every classifier of the method.

    penalties: what `choose_penalties` returned; chosen here if they are not given.
    """
    penalties = choose_penalties(part, learned, known) if penalties is None else penalties
    counts = {}
    for classifier in part.method.answers_by:
        name = "network" if classifier is None else classifier.name
        scores = _scores(part, classifier, learned, part.test, penalties.get(name))
        counts[name] = np.asarray(confusion(scores, part.test.labels, jnp.asarray(known))).tolist()
    return counts


def choose_penalties(part: Part, learned: Learned, known: np.ndarray) -> dict[str, float]:
    """Chooses the penalty of each classifier that has several, by accuracy on validation images of the known classes.

    Of equal ones the largest. No test image takes part, unless the protocol validates on those.
    """
    with_penalties = [one for one in part.method.answers_by if one is not None and one.penalties]
    mask = jnp.asarray(known)
    include = mask[part.validation.labels]
    return {one.name: _best(part, one, learned, include, mask)[0] for one in with_penalties}


def validated(part: Part, learned: Learned, include: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    """Measures validation images, `include` bool[R]: the network's loss, and the accuracy of the method's own answer.

    The method's own answer is that of the first of its classifiers, with its best penalty; both figures are f32[].
    """
    images, own = part.validation, part.method.answers_by[0]
    loss, accuracy = score(_scores(part, None, learned, images), images.labels, include, known)
    if own is not None and own.penalties:
        _, scores = _best(part, own, learned, known[images.labels], known)
        _, accuracy = score(scores, images.labels, include, known)
    elif own is not None:
        _, accuracy = score(_scores(part, own, learned, images), images.labels, include, known)
    return {"val_loss": loss, "val_accuracy": accuracy}


def _best(
    part: Part, classifier: Classifier, learned: Learned, include: jax.Array, known: jax.Array
) -> tuple[float, jax.Array]:
    """Returns the penalty of the highest accuracy on the validation images `include` bool[R], and its scores."""
    read, seen = _read(part, classifier, learned), _seen(part, classifier, learned, part.validation)
    scores = [classifier.scores(read, seen, jnp.float32(penalty)) for penalty in classifier.penalties]
    accuracies = [float(score(one, part.validation.labels, include, known)[1]) for one in scores]
    best = max(range(len(scores)), key=lambda i: (accuracies[i], classifier.penalties[i]))
    return classifier.penalties[best], scores[best]


def _scores(
    part: Part, classifier: Classifier | None, learned: Learned, images: Encoded, penalty: float | None = None
) -> jax.Array:
    """Returns one number an image and class, f32[R, C]; the highest of the known ones is the answer."""
    if classifier is None:
        return images.logits(part.fold, learned.params, part.recipe.cut)
    given = () if penalty is None else (jnp.float32(penalty),)
    return classifier.scores(_read(part, classifier, learned), _seen(part, classifier, learned, images), *given)


def _seen(part: Part, classifier: Classifier, learned: Learned, images: Encoded) -> jax.Array:
    """Returns what a classifier sees of images: features f32[R, D], or the base model's probabilities f32[R, C]."""
    fold, cut = part.fold, part.recipe.cut
    if classifier.reads == "parts":
        return masked_probabilities(images.logits(fold, part.base, cut), jnp.asarray(fold.base_mask()))
    return images.features(fold, learned.params if classifier.empty is None else part.base, cut)


def _read(part: Part, classifier: Classifier, learned: Learned) -> Any:
    """Returns what a classifier reads beside the images: statistics, exemplars or what it fits to them, or parts."""
    fold, cut = part.fold, part.recipe.cut
    if classifier.reads == "parts":
        return jnp.asarray(compositions(fold.data.class_names, fold.n_base))
    if classifier.empty is not None:
        return learned.statistics
    index = learned.memory.index
    encoded = Encoded.cached(fold, part.base, np.maximum(np.asarray(index), 0).reshape(-1), cut)
    exemplars = Exemplars(encoded.features(fold, learned.params, cut).reshape(*index.shape, -1), index >= 0)
    return classifier.fit(exemplars) if classifier.fit else exemplars
