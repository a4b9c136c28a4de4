"""Evaluates how a method answers, by its network or by a classifier of features, on held-out images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.classifiers import Classifier, Exemplars
from fer_jax.phases.part import Learned, Part
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.scores import confusion, score

# None is the network.
Answer = Classifier | None


def confusions(part: Part, learned: Learned, known: np.ndarray) -> tuple[dict[str, list], dict[str, float]]:
    """Counts answers on the test images, [C, C], by every classifier of the method.

    Returns:
      the counts, and the penalties of those classifiers that choose one on validation images, both by name.
    """
    seen, mask, counts, penalties = _Seen(part, learned), jnp.asarray(known), {}, {}
    for classifier in part.method.answers_by:
        name, penalty = _name(classifier), None
        if classifier is not None and classifier.penalties:
            penalty, _ = _chosen(seen, classifier, mask[part.validation.labels], mask)
            penalties[name] = penalty
        scores = seen.scores(classifier, part.test, penalty)
        counts[name] = np.asarray(confusion(scores, part.test.labels, mask)).tolist()
    return counts, penalties


def validated(part: Part, learned: Learned, include: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    """Measures validation images, `include` bool[R]: the network's loss, and the accuracy of the method's own answer.

    The method's own answer is that of the first of its classifiers; both figures are f32[].
    """
    seen, images, own = _Seen(part, learned), part.validation, part.method.answers_by[0]
    loss, accuracy = score(seen.scores(None, images), images.labels, include, known)
    if own is not None and own.penalties:
        _, accuracy = _chosen(seen, own, include, known)
    elif own is not None:
        _, accuracy = score(seen.scores(own, images), images.labels, include, known)
    return {"val_loss": loss, "val_accuracy": accuracy}


def _chosen(seen: "_Seen", own: Classifier, include: jax.Array, known: jax.Array) -> tuple[float, jax.Array]:
    """Returns the penalty that answers most validation images right, and their share; of equal ones the largest."""
    images, best = seen.part.validation, None
    for penalty in sorted(own.penalties, reverse=True):
        _, accuracy = score(seen.scores(own, images, penalty), images.labels, include, known)
        if best is None or accuracy > best[1]:
            best = penalty, accuracy
    return best


def _name(classifier: Answer) -> str:
    return "network" if classifier is None else classifier.name


class _Seen:
    """What the classifiers of one model read; each is computed once."""

    def __init__(self, part: Part, learned: Learned):
        self.part, self._learned = part, learned
        answers = [one for one in part.method.answers_by if one is not None]
        self._both = any(one.empty is None for one in answers)
        self._passed: dict[int, tuple] = {}

    def scores(self, classifier: Answer, images: Encoded, penalty: float | None = None) -> jax.Array:
        """Returns one number an image and class, f32[R, C]; the highest of the known ones is the answer."""
        if classifier is None:
            return self._of_model(images)[0]
        chosen = () if penalty is None else (penalty,)
        if classifier.empty is None:
            return classifier.scores(self._exemplars, self._of_model(images)[1], *chosen)
        features = images.features(self.part.fold, self.part.base, self.part.recipe.cut)
        return classifier.scores(self._learned.statistics, features, *chosen)

    def _of_model(self, images: Encoded) -> tuple[jax.Array, jax.Array | None]:
        """Returns logits, and features if any classifier reads those of the model."""
        if id(images) not in self._passed:
            asked = self.part.fold, self._learned.params, self.part.recipe.cut
            passed = images.logits_and_features(*asked) if self._both else (images.logits(*asked), None)
            self._passed[id(images)] = passed
        return self._passed[id(images)]

    @functools.cached_property
    def _exemplars(self) -> Exemplars:
        part, index = self.part, self._learned.memory.index
        rows = np.maximum(np.asarray(index), 0).reshape(-1)
        encoded = Encoded.cached(part.fold, part.base, rows, part.recipe.cut)
        features = encoded.features(part.fold, self._learned.params, part.recipe.cut)
        return Exemplars(features.reshape(*index.shape, -1), index >= 0)
