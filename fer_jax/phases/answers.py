"""Evaluates how a method answers, by its network or by a classifier of features, on held-out images."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import protocol
from fer_jax.classifiers import Classifier, Exemplars
from fer_jax.data.classes import compositions
from fer_jax.models.head import masked_probabilities
from fer_jax.phases.part import Learned, Part
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.scores import confusion, score


def confusions(part: Part, learned: Learned, known: np.ndarray) -> tuple[dict[str, list], dict[str, float]]:
    """Counts answers on the test images, [C, C], by every classifier of the method.

    Returns:
      the counts, and the penalties of those classifiers that have one, both by name.
    """
    seen, mask, counts, penalties = _Seen(part, learned), jnp.asarray(known), {}, {}
    for classifier in part.method.answers_by:
        name = "network" if classifier is None else classifier.name
        if classifier is not None and classifier.penalties:
            penalties[name], _ = _chosen(seen, classifier, mask[part.validation.labels], mask)
        scores = seen.scores(classifier, part.test, penalties.get(name))
        counts[name] = np.asarray(confusion(scores, part.test.labels, mask)).tolist()
    return counts, penalties


def validated(part: Part, learned: Learned, include: jax.Array, known: jax.Array) -> dict[str, jax.Array]:
    """Measures validation images, `include` bool[R]: the network's loss, and the accuracy of the method's own answer.

    The method's own answer is that of the first of its classifiers, with its best penalty; both figures are f32[].
    """
    seen, images, own = _Seen(part, learned), part.validation, part.method.answers_by[0]
    loss, accuracy = score(seen.scores(None, images), images.labels, include, known)
    if own is not None:
        scores = _chosen(seen, own, known[images.labels], known)[1] if own.penalties else seen.scores(own, images)
        _, accuracy = score(scores, images.labels, include, known)
    return {"val_loss": loss, "val_accuracy": accuracy}


def _chosen(seen: "_Seen", own: Classifier, include: jax.Array, known: jax.Array) -> tuple[float, jax.Array]:
    """Returns the penalty that answers most of the validation images `include` right, and its scores f32[R, C].

    Of equal ones it is the largest. Where validation images may not choose, it is the middle one.
    """
    images = seen.part.validation
    if not protocol.chooses(seen.part.fold.config.protocol.name):
        return own.middle, seen.scores(own, images, own.middle)
    scores = {penalty: seen.scores(own, images, penalty) for penalty in own.penalties}
    right = {penalty: float(score(one, images.labels, include, known)[1]) for penalty, one in scores.items()}
    best = best_penalty(right)
    return best, scores[best]


def best_penalty(right: dict[float, float]) -> float:
    """Returns the penalty of the highest accuracy; of equal ones the largest penalty."""
    return max(right, key=lambda penalty: (right[penalty], penalty))


class _Seen:
    """What the classifiers of one model read; each is computed once."""

    def __init__(self, part: Part, learned: Learned):
        self.part, self._learned = part, learned
        self._reads_stored = any(one is not None and one.reads_stored for one in part.method.answers_by)
        self._passed: dict[int, tuple] = {}
        self._fitted: dict[str, Any] = {}

    def scores(self, classifier: Classifier | None, images: Encoded, penalty: float | None = None) -> jax.Array:
        """Returns one number an image and class, f32[R, C]; the highest of the known ones is the answer.

        classifier: None is the network.
        """
        if classifier is None:
            return self._of_model(images)[0]
        part, cut = self.part, self.part.recipe.cut
        if classifier.reads == "parts":
            seen = masked_probabilities(images.logits(part.fold, part.base, cut), jnp.asarray(part.fold.base_mask()))
        elif classifier.reads_stored:
            seen = self._of_model(images)[1]
        else:
            seen = images.read(part.fold, part.base, cut, classifier.reads)
        given = () if penalty is None else (jnp.float32(penalty),)
        return classifier.scores(self._read(classifier), seen, *given)

    def _read(self, classifier: Classifier) -> Any:
        """Returns what a classifier reads beside images: statistics, exemplars or what it fits to them, or parts."""
        if classifier.reads == "parts":
            return jnp.asarray(compositions(self.part.fold.data.class_names, self.part.fold.n_base))
        if classifier.empty is not None:
            return self._learned.statistics
        if classifier.fit is None:
            return self._exemplars
        if classifier.name not in self._fitted:
            self._fitted[classifier.name] = classifier.fit(self._exemplars)
        return self._fitted[classifier.name]

    def _of_model(self, images: Encoded) -> tuple[jax.Array, jax.Array | None]:
        """Returns logits, and features if any classifier reads those of the model."""
        if id(images) not in self._passed:
            asked = self.part.fold, self._learned.params, self.part.recipe.cut
            both = images.logits_and_features(*asked) if self._reads_stored else (images.logits(*asked), None)
            self._passed[id(images)] = both
        return self._passed[id(images)]

    @functools.cached_property
    def _exemplars(self) -> Exemplars:
        part, index = self.part, self._learned.memory.index
        rows = np.maximum(np.asarray(index), 0).reshape(-1)
        features = part.encoded(rows).features(part.fold, self._learned.params, part.recipe.cut)
        return Exemplars(features.reshape(*index.shape, -1), index >= 0)
