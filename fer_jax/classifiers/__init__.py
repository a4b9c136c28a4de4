"""Classifiers beside the network: by statistics of features or action units, by exemplars, and by classes' parts.

Each computes one number for every image and class; the answer is the class with the highest. `Classifier` is one as a
value. The formulae of those that have statistics are in the modules beside.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.classifiers.covariances import Covariances, fecam
from fer_jax.classifiers.discriminants import (
    Linear,
    Statistics,
    Streaming,
    class_mean,
    closeness,
    discriminant,
    nearest_mean,
    pooled,
    shrunk,
    shrunk_discriminant,
    streaming_discriminant,
    unit,
)
from fer_jax.classifiers.mixtures import Mixtures, mixture
from fer_jax.classifiers.prototypes import Prototypes, cosine, teen
from fer_jax.classifiers.random_features import (
    Kernel,
    Ridge,
    klda,
    random_ridge,
    random_ridge_scores,
    ridge,
    ridge_weights,
)


class Exemplars(NamedTuple):
    """The exemplar memory, as a classifier sees it.

    features: f32[C, M, D], of the model that answers.
    filled: bool[C, M], which places of the memory hold an image.
    """

    features: jax.Array
    filled: jax.Array


def exemplar_mean(exemplars: Exemplars, features: jax.Array) -> jax.Array:
    """Computes minus the squared distance to each class's mean exemplar, f32[R, C] (arXiv 1611.07725, algorithm 1).

    All features are brought to length 1.
    """
    stored, filled = unit(exemplars.features), exemplars.filled
    mean = jnp.sum(stored * filled[..., None], 1) / jnp.maximum(jnp.sum(filled, 1), 1)[:, None]
    return closeness(unit(features), unit(mean))


@jax.jit
def ridge_of(exemplars: Exemplars) -> Ridge:
    """Returns the statistics of ridge regression on random features, of the exemplars."""
    n_classes, _, width = exemplars.features.shape
    labels = jnp.where(exemplars.filled, jnp.arange(n_classes)[:, None], -1)
    return Ridge.of(exemplars.features.reshape(-1, width), labels.reshape(-1), n_classes, ridge_weights(width))


def composition(parts: jax.Array, probabilities: jax.Array) -> jax.Array:
    """Scores classes by the probabilities of the basic classes that they are made of, f32[R, C].

    A compound class has p(a) + p(b), the sum over its two parts (as arXiv 2507.02205), so it needs no image. A basic
    class has 2 p(a) - 1/2. Both are 2 p·t - ‖t‖² + 1/2 for a composition t of (1/2, 1/2) or of 1: the answer is the
    class whose composition is nearest to p. Compounds of the same parts are not told apart; the first one wins.

    Args:
      parts: f32[C, C], a row for each class: its composition t.
      probabilities: f32[R, C] of the base model, 0 for other than basic classes.
    """
    return 2 * probabilities @ parts.T - jnp.sum(jnp.square(parts), 1) + 0.5


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier of features.

    name: what results call it.
    scores: (what it reads, features f32[R, D]) to f32[R, C]; the highest score of a known class is the answer. With
      `penalties` it takes one as its third argument.
    empty: (n_classes, width) to the statistics of no class yet. None: it has no statistics, and reads `Exemplars`.
    add: (statistics, class_index, features f32[R, D], filled bool[R]) to the statistics with one class more, of the
      base model's features of all its training images. The classifiers of a method share one kind of statistics.
    prepare: (statistics, features f32[R, D] of all training images of the base classes) to the statistics that those
      classes are then added to.
    settle: statistics, when all base classes are in them, to those that later classes are added to.
    fit: from `Exemplars` to what `scores` reads in their place; it runs once, whatever is scored.
    penalties: what the third argument of `scores` may be, from the weakest on. The best on the validation images of
      the known classes is taken at each increment; of equal ones the last. Where nothing may choose it is
      the `middle`.
    linear: from what `scores` reads beside features, and the penalty if there are `penalties`, to the `Linear` that it
      scores by; None where scores are not linear in the features. With it `predict`, `explain` and `export` answer as
      the classifier does; without it, as the network.
    reads: features; units: an image's action units f32[R, U] in their place; features_and_units: both, side by side;
      or parts: then it answers from the base model's probabilities f32[R, C] in the place of features, and reads the
      classes' compositions f32[C, C].
    """

    name: str
    scores: Callable[..., jax.Array]
    empty: Callable[[int, int], Any] | None = None
    add: Callable[[Any, int, jax.Array, jax.Array], Any] | None = None
    prepare: Callable[[Any, jax.Array], Any] | None = None
    settle: Callable[[Any], Any] | None = None
    fit: Callable[[Exemplars], Any] | None = None
    penalties: tuple[float, ...] = ()
    linear: Callable[..., Linear] | None = None
    reads: Literal["features", "units", "features_and_units", "parts"] = "features"

    @property
    def middle(self) -> float:
        """The penalty where nothing may choose one."""
        return self.penalties[len(self.penalties) // 2]

    @property
    def reads_stored(self) -> bool:
        """True if it reads the features of stored images, as `Exemplars`."""
        return self.empty is None and self.reads == "features"

    @property
    def reads_units(self) -> bool:
        """True if it reads an image's action units."""
        return self.reads in ("units", "features_and_units")


RIDGE = tuple(10.0**i for i in range(5))
KERNEL = tuple(10.0**i for i in range(-6, 0))
SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.5)
FLOORS = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
CLASSIFIERS = {
    one.name: one
    for one in (
        Classifier("exemplar_mean", exemplar_mean),
        Classifier("exemplar_discriminant", shrunk_discriminant, fit=lambda stored: Statistics.of(*stored),
                   penalties=SHRINKAGES, linear=shrunk),
        Classifier("exemplar_ridge", ridge, fit=ridge_of, penalties=RIDGE),
        Classifier("exemplar_fecam", fecam, fit=lambda stored: Covariances.of(*stored)),
        Classifier("class_mean", class_mean, Statistics.empty, Statistics.add, linear=nearest_mean),
        Classifier("discriminant", discriminant, Statistics.empty, Statistics.add, linear=pooled),
        Classifier("streaming_discriminant", streaming_discriminant, Streaming.empty, Streaming.add, Streaming.prepare,
                   linear=lambda stream: pooled(stream.statistics)),
        Classifier("ridge", ridge, Ridge.empty, Ridge.add, Ridge.prepare, penalties=RIDGE),
        Classifier("klda", klda, Kernel.empty, Kernel.add, Kernel.prepare, penalties=KERNEL),
        Classifier("fecam", fecam, Covariances.empty, Covariances.add),
        Classifier("mixture", mixture, Mixtures.empty, Mixtures.add, Mixtures.prepare, penalties=FLOORS),
        Classifier("naive_bayes", mixture, Mixtures.single, Mixtures.add, Mixtures.prepare, penalties=FLOORS),
        Classifier("teen", Prototypes.scores, Prototypes.empty, Prototypes.add, settle=Prototypes.settle),
        Classifier("composition", composition, reads="parts"),
    )
}  # fmt: skip
# Four of them on action units, as detectors give them, and on features with units beside them.
CLASSIFIERS |= {
    f"{prefix}_{name}": dataclasses.replace(CLASSIFIERS[name], name=f"{prefix}_{name}", reads=reads, linear=None)
    for prefix, reads in (("units", "units"), ("features_units", "features_and_units"))
    for name in ("discriminant", "mixture", "naive_bayes", "ridge")
}
CLASSIFIERS["units_ridge"] = dataclasses.replace(CLASSIFIERS["units_ridge"], empty=Ridge.narrow)

__all__ = [
    "CLASSIFIERS", "Classifier", "Exemplars", "Linear", "Mixtures", "Prototypes", "Statistics", "class_mean",
    "composition", "cosine", "discriminant", "exemplar_mean", "fecam", "klda", "mixture", "random_ridge",
    "random_ridge_scores", "ridge", "ridge_of", "teen",
]  # fmt: skip
