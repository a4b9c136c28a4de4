"""The Bayes accuracy on rendered faces, the best that any classifier can reach; no real data set can tell it.

Only the presence of units says anything about an image's category: intensities, looks and light are drawn alike for
all. So the Bayes accuracy is exact: the best guess for every pattern of units, weighted by how often the pattern
occurs.

With a detector's flips the pattern is what the detector says: a unit that is there is missed, and one that is not is
seen, each with that probability. The Bayes accuracy of such patterns is exact, too.
"""

import functools
from collections.abc import Collection

import numpy as np

from fer_jax.data.facs_faces.categories import N_BASIC, UNITS, presence_probability


@functools.cache
def pattern_probability(flips: float = 0.0) -> np.ndarray:
    """Computes P(pattern | category) over all 2^17 patterns of units that are seen, f64[22, 131072]."""
    return patterns(presence_probability() * (1 - flips) + (1 - presence_probability()) * flips)


def patterns(shares: np.ndarray) -> np.ndarray:
    """Computes P(pattern | row) of units that are present apart from each other with shares f64[R, U], f64[R, 2^U]."""
    found = np.ones((len(shares), 1))
    for share in shares.T:
        found = np.concatenate([found * (1 - share)[:, None], found * share[:, None]], axis=1)
    return found


def bayes_accuracy(classes: np.ndarray, flips: float = 0.0, seen: Collection[int] = UNITS) -> float:
    """Computes the Bayes accuracy among categories (indices into the 22), all equally frequent.

    An upper bound for every classifier of single images, reached only by one that sees each unit without fail.

    Args:
      seen: the units that can be seen, by their numbers; of a face under a mask those above it.

    Raises:
      ValueError: no category.
    """
    if not len(classes):
        raise ValueError("the Bayes accuracy needs at least one category")
    found = pattern_probability(flips)[np.asarray(classes)].reshape(-1, *[2] * len(UNITS))
    # An axis a unit, the last unit's first.
    hidden = tuple(len(UNITS) - place for place, unit in enumerate(UNITS) if unit not in seen)
    return float(found.sum(hidden).reshape(len(classes), -1).max(0).sum() / len(classes))


def bayes_table(orders: np.ndarray, flips: float = 0.0) -> np.ndarray:
    """Computes the Bayes accuracy after every step of every class order.

    Args:
      orders: i[O, 15], positions in the list of compound categories.
      flips: how often a detector is wrong about a unit.

    Returns:
      f64[O, 16]: step 0 knows the six basic categories, step t the first t compound ones too.
    """
    probability = pattern_probability(flips)
    table = np.empty((len(orders), 1 + np.shape(orders)[1]))
    for row, order in zip(table, np.asarray(orders), strict=True):
        best = probability[:N_BASIC].max(0)
        row[0] = best.sum() / N_BASIC
        for t, position in enumerate(order, start=1):
            best = np.maximum(best, probability[N_BASIC + position])
            row[t] = best.sum() / (N_BASIC + t)
    return table
