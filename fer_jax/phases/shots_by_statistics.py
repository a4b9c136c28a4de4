"""Few shots without training: a class's statistics from a few images, beside those of the base classes, or its name."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.classifiers import Classifier
from fer_jax.data.classes import compositions
from fer_jax.models.head import masked_probabilities
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.scores import confusion


def margins(scores: np.ndarray, known: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns by how much the best new class's score is above the best known one's, f32[R].

    Args:
      scores: f32[R, C].
      known, new: bool[C].
    """
    return scores[:, new].max(1) - scores[:, known].max(1)


def threshold(scores: np.ndarray, known: np.ndarray, new: np.ndarray, taken: float) -> float:
    """Returns the margin that new classes must pass so that they take the share `taken` of some images.

    Args:
      scores: f32[R, C] of held-out images of known classes.
      known, new: bool[C].
    """
    return np.quantile(margins(scores, known, new), 1 - taken)


class ByStatistics:
    """A classifier of the base model's features that learns one class beside the base classes.

    A base model saw its own classes only, so an image of a new class lies near one of them, and the new class's raw
    score seldom wins. It has to pass a threshold instead, which held-out images of the base classes set: the new class
    takes the share `few_shot.taken` of their validation images. No validation image of the new class is used.
    """

    def __init__(self, fold: Fold, base: Params, classifier: Classifier):
        self._fold, self._base, self._classifier = fold, base, classifier
        self._statistics = classifier.empty(fold.n_classes, fold.width(classifier.reads))
        if classifier.prepare is not None:
            encoded = Encoded.cached(fold, base, fold.train_rows(fold.base_mask()), fold.config.continual.cut)
            features = encoded.read(fold, base, fold.config.continual.cut, classifier.reads)
            self._statistics = classifier.prepare(self._statistics, features)
        for c in range(fold.n_base):
            rows = fold.train_rows(np.arange(fold.n_classes) == c)
            self._statistics = self._with(self._statistics, c, rows)
        if classifier.settle is not None:
            self._statistics = classifier.settle(self._statistics)
        self._validation, self._test = self._held_out("validation"), self._held_out("test")

    def counts(self, new_class: int, rows: np.ndarray) -> np.ndarray:
        """Learns a class from the images `rows`, and counts answers on the test images of the known classes, [C, C]."""
        fold = self._fold
        statistics = self._with(self._statistics, new_class, rows)
        features, labels = self._validation
        base, new = fold.base_mask(), np.arange(fold.n_classes) == new_class
        scores = np.asarray(self._classifier.scores(statistics, features))
        passed = threshold(scores[labels < fold.n_base], base, new, fold.config.few_shot.taken)
        features, labels = self._test
        scores = np.asarray(self._classifier.scores(statistics, features))
        known = (labels < fold.n_base) | (labels == new_class)
        nearest = scores[:, : fold.n_base].argmax(1)
        answers = np.where(margins(scores, base, new) > passed, new_class, nearest)
        counts = np.zeros((fold.n_classes, fold.n_classes), int)
        np.add.at(counts, (labels[known], answers[known]), 1)
        return counts

    def _with(self, statistics, class_index: int, rows: np.ndarray):
        fold, cut = self._fold, self._fold.config.continual.cut
        padded = np.pad(rows, (0, fold.longest_class - len(rows)), constant_values=-1)
        encoded = Encoded.cached(fold, self._base, np.maximum(padded, 0), cut)
        features = encoded.read(fold, self._base, cut, self._classifier.reads)
        return self._classifier.add(statistics, class_index, features, jnp.asarray(padded >= 0))

    def _held_out(self, which: str) -> tuple[jax.Array, np.ndarray]:
        """Returns features f32[R, D] and labels i[R] of a part of the split."""
        fold, cut = self._fold, self._fold.config.continual.cut
        encoded = Encoded.held_out(fold, self._base, which, cut)
        return encoded.read(fold, self._base, cut, self._classifier.reads), np.asarray(encoded.labels)


def composed(fold: Fold, base: Params, classifier: Classifier, new_class: int) -> np.ndarray:
    """Counts answers on the test images of the base classes and one that is known by its name alone, [C, C]."""
    cut, known = fold.config.continual.cut, fold.base_mask()
    test = Encoded.held_out(fold, base, "test", cut)
    parts = masked_probabilities(test.logits(fold, base, cut), jnp.asarray(known))
    known[new_class] = True
    scores = classifier.scores(jnp.asarray(compositions(fold.data.class_names, fold.n_base)), parts)
    return np.asarray(confusion(scores, test.labels, jnp.asarray(known)))
