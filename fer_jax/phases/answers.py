"""How a method answers: by its network, or by means of features; counted on the test images."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import classifiers
from fer_jax.phases.fold import Encoded
from fer_jax.phases.part import Learned, Part
from fer_jax.training import epoch as training


def confusions(part: Part, learned: Learned, known: np.ndarray) -> dict[str, list]:
    """Counts [C, C] on the test images, by every classifier of the method."""
    found = {}
    for name in part.method.classifiers:
        scores = _scores(part, name, learned, part.test)
        counts = training.confusion(scores, part.test.labels, jnp.asarray(known))
        found[name] = np.asarray(counts).tolist()
    return found


def validated(part: Part, learned: Learned, include: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """On the validation images `include` bool[R] the network's loss f32[], and the accuracy f32[] of the method's own
    answer, the first of its classifiers."""
    images, own = part.validation, part.method.classifiers[0]
    loss, accuracy = training.score(_scores(part, "network", learned, images), images.labels, include, known)
    if own != "network":
        _, accuracy = training.score(_scores(part, own, learned, images), images.labels, include, known)
    return loss, accuracy


def _scores(part: Part, classifier: str, learned: Learned, images: Encoded) -> jax.Array:
    """One number an image and class, f32[R, C]; the highest of the known ones is the answer."""
    setup, cut = part.setup, part.recipe.cut
    if classifier == "network":
        return images.logits(setup, learned.params, cut)
    features = images.features(setup, learned.params, cut)
    if classifier == "exemplar_mean":
        index = learned.memory.index
        encoded = Encoded.cached(setup, part.base, np.maximum(np.asarray(index), 0).reshape(-1), cut)
        exemplars = encoded.features(setup, learned.params, cut).reshape(*index.shape, -1)
        return classifiers.exemplar_mean(exemplars, index >= 0, features)
    answer = {"class_mean": classifiers.class_mean, "discriminant": classifiers.discriminant}[classifier]
    return answer(learned.statistics, features)
