"""Splits subjects into folds, and classes into orders and steps, which decides who may be read when.

Pure numpy on the host. Nothing here looks at an image.
"""

import dataclasses
import itertools
import random
from collections.abc import Sequence

import numpy as np

PROTOCOLS = ("held_out", "published", "stratified")


def subject_folds(subjects: np.ndarray, n_folds: int = 10) -> list[np.ndarray]:
    """Splits the sorted subjects into consecutive blocks, the held-out subjects of every fold.

    Args:
      subjects: the subject of every image, or the list of subjects; repeats do not matter.
      n_folds: number of folds. 230 subjects and 10 folds give the paper's 23 a fold; where the number does not
        divide, the first folds have one subject more.

    Returns:
      n_folds arrays of subjects, disjoint, together all of them.

    Raises:
      ValueError: fewer subjects than folds.

    >>> [fold.tolist() for fold in subject_folds([3, 1, 2, 2, 5, 4], n_folds=2)]
    [[1, 2, 3], [4, 5]]
    """
    unique = np.unique(np.asarray(subjects))
    if not 2 <= n_folds <= len(unique):
        raise ValueError(f"protocol.n_folds is {n_folds}; it may be 2 to the number of subjects, {len(unique)}")
    return np.array_split(unique, n_folds)


def class_orders(n_classes: int = 15, n_orders: int = 10, seed: int = 42) -> np.ndarray:
    """Draws the orders in which the classes beyond the base task come, i32[n_orders, n_classes].

    Python's `random.seed` and repeated `random.shuffle`, as the published code draws them; entry [o, i] is the
    position in the list of compound classes of the one learned in increment i. Orders are a prefix property:
    fewer orders of the same seed are the first of more.

    >>> class_orders(4, n_orders=2).tolist()
    [[2, 1, 3, 0], [3, 2, 0, 1]]
    """
    generator = random.Random(seed)
    orders = []
    for _ in range(n_orders):
        order = list(range(n_classes))
        generator.shuffle(order)
        orders.append(order)
    return np.asarray(orders, np.int32).reshape(n_orders, n_classes)


def numbered_orders(orders: np.ndarray, chosen: Sequence[int] = ()) -> dict[int, np.ndarray]:
    """Returns class orders by their number, all of them or the chosen ones.

    Whatever is random in a run is derived from an order's number, so one run alone gives what it gives among others.

    >>> {number: order.tolist() for number, order in numbered_orders(class_orders(3, 3), chosen=(2,)).items()}
    {2: [1, 2, 0]}
    """
    return {int(o): orders[o] for o in chosen or range(len(orders))}


def learned_at(order: np.ndarray, n_base: int, per_increment: int = 1) -> np.ndarray:
    """Returns the step in which each class is learned, i32[C]: 0 for base classes, else 1 + its increment.

    >>> learned_at(np.array([2, 0, 1]), n_base=2).tolist()
    [0, 0, 2, 3, 1]
    """
    steps = np.zeros(n_base + len(order), np.int32)
    steps[n_base + np.asarray(order)] = 1 + np.arange(len(order)) // per_increment
    return steps


def n_increments(n_new: int, per_increment: int = 1) -> int:
    """Returns the number of increments for the classes beyond the base task; the last may have fewer classes.

    >>> n_increments(15), n_increments(15, per_increment=4)
    (15, 4)
    """
    return -(-n_new // per_increment)


def class_mask(steps: np.ndarray, step: int) -> np.ndarray:
    """Returns the classes known after a step, bool[C], from `learned_at`'s i32[C].

    >>> class_mask([0, 0, 2, 1], step=1).tolist()
    [True, True, False, True]
    """
    return np.asarray(steps) <= step


def chooses(protocol: str) -> bool:
    """Returns True if validation images may choose; those of `stratified` are training images, so they may not.

    >>> chooses("held_out"), chooses("stratified")
    (True, False)
    """
    return protocol != "stratified"


@dataclasses.dataclass(frozen=True)
class Split:
    """Image indices by their use, each i32 and sorted.

    `published` puts the same images in `validation` and `test`: it selects on the data that it reports.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(
    subject: np.ndarray,
    fold: int,
    n_folds: int = 10,
    protocol: str = "held_out",
    official_test: np.ndarray | None = None,
    label: np.ndarray | None = None,
    official_validation: np.ndarray | None = None,
) -> Split:
    """Splits images by subject; never by image, unless every image is its own subject.

    `stratified` is for images that are not of people, as other libraries run them: fold k of every class tests, and all
    others train. Nothing is chosen by validation images there (every fit ends after its last epoch), so a fold of the
    training images stands for them.

    Args:
      subject: i32[N], the subject of every image.
      fold: k. `held_out`: fold k tests, fold k + 1 (mod n_folds) validates, the rest trains. `published`: fold k
        is both validation and test, the rest trains.
      label: i32[N], for `stratified`.
      official_test: bool[N], images that the data set sets apart. They are the test set of every fold then, and only
        the others are folded: `held_out` validates on fold k of them; `published` validates on the test images.
      official_validation: bool[N], images that the data set sets apart for validation. `held_out` validates on them in
        every fold, and the others alone are folded. `published` and `stratified` train on them.

    Raises:
      ValueError: a fold or protocol that does not exist, fewer than three folds with `held_out`, or a subject on both
        sides of the official split.

    >>> found = split(np.array([0, 0, 1, 2, 2]), fold=0, n_folds=3)
    >>> found.train.tolist(), found.validation.tolist(), found.test.tolist()
    ([3, 4], [2], [0, 1])
    """
    if not 0 <= fold < n_folds:
        raise ValueError(f"protocol.folds contains {fold}; it may be 0 to {n_folds - 1}")
    foldable = np.ones(len(subject), bool) if official_test is None else ~official_test
    if official_validation is not None and protocol == "held_out":
        return _officially(subject, fold, n_folds, official_test, official_validation)
    folds = subject_folds(subject[foldable], n_folds)
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol.name is {protocol!r}; it may be one of {', '.join(PROTOCOLS)}")
    if protocol == "held_out" and n_folds < 3:
        raise ValueError(f"protocol.n_folds is {n_folds}; held_out needs at least 3")
    if official_test is not None:
        both = np.intersect1d(subject[official_test], subject[foldable])
        if len(both):
            raise ValueError(f"subjects {both[:5].tolist()} are on both sides of the official split")
        test = official_test
        if protocol == "stratified":
            fold_of = np.where(test, -1, _stratified(label, n_folds))
            return _by_rows(~test, fold_of == fold, test)
        validation = test if protocol == "published" else np.isin(subject, folds[fold])
        return _by_rows(~(test | validation), validation, test)
    validation_fold = fold if protocol == "published" else (fold + 1) % n_folds
    if protocol == "stratified":
        fold_of = _stratified(label, n_folds)
        return _by_rows(fold_of != fold, fold_of == (fold + 1) % n_folds, fold_of == fold)
    test = np.isin(subject, folds[fold])
    validation = np.isin(subject, folds[validation_fold])
    return _by_rows(~(test | validation), validation, test)


def _officially(
    subject: np.ndarray, fold: int, n_folds: int, official_test: np.ndarray | None, validation: np.ndarray
) -> Split:
    """Splits by an official validation set; the test set is official too, or fold k of the other images."""
    test = official_test
    if test is None:
        test = ~validation & np.isin(subject, subject_folds(subject[~validation], n_folds)[fold])
    train = ~(test | validation)
    sides = [np.unique(subject[side]) for side in (train, validation, test)]
    both = np.unique([one for pair in itertools.combinations(sides, 2) for one in np.intersect1d(*pair)])
    if len(both):
        raise ValueError(f"subjects {both[:5].tolist()} are on both sides of the official split")
    return _by_rows(train, validation, test)


def _by_rows(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Split:
    return Split(*(np.flatnonzero(where).astype(np.int32) for where in (train, validation, test)))


def _stratified(label: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold of every image, i64[N]: each class's images are dealt out by a draw that is always the same."""
    generator = np.random.default_rng(0)
    fold = np.empty(len(label), int)
    for c in np.unique(label):
        rows = generator.permutation(np.flatnonzero(label == c))
        fold[rows] = np.arange(len(rows)) % n_folds
    return fold
