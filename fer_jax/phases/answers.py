"""Evaluates how a method answers, by its network or by a classifier of features, on the test images."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.classifiers import Classifier, Exemplars
from fer_jax.phases.part import Learned, Part
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.scores import confusion, score


def confusions(part: Part, learned: Learned, known: np.ndarray) -> dict[str, list]:
    """Counts answers on the test images, [C, C], by every classifier of the method."""
    counts = {}
    for classifier in part.method.answers_by:
        scores = _scores(part, classifier, learned, part.test)
        name = "network" if classifier is None else classifier.name
        counts[name] = np.asarray(confusion(scores, part.test.labels, jnp.asarray(known))).tolist()
    return counts


def validated(part: Part, learned: Learned, include: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    """Measures validation images, `include` bool[R]: the network's loss, and the accuracy of the method's own answer.

    The method's own answer is that of the first of its classifiers; both figures are f32[].
    """
    images, own = part.validation, part.method.answers_by[0]
    loss, accuracy = score(_scores(part, None, learned, images), images.labels, include, known)
    if own is not None:
        _, accuracy = score(_scores(part, own, learned, images), images.labels, include, known)
    return {"val_loss": loss, "val_accuracy": accuracy}


def _scores(part: Part, classifier: Classifier | None, learned: Learned, images: Encoded) -> jax.Array:
    """Returns one number an image and class, f32[R, C]; the highest of the known ones is the answer."""
    fold, cut = part.fold, part.recipe.cut
    if classifier is None:
        return images.logits(fold, learned.params, cut)
    features = images.features(fold, learned.params if classifier.empty is None else part.base, cut)
    if classifier.empty is not None:
        return classifier.scores(learned.statistics, features)
    index = learned.memory.index
    encoded = Encoded.cached(fold, part.base, np.maximum(np.asarray(index), 0).reshape(-1), cut)
    exemplars = encoded.features(fold, learned.params, cut).reshape(*index.shape, -1)
    return classifier.scores(Exemplars(exemplars, index >= 0), features)
