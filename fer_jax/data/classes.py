"""Checks the classes of a data set against its config, and reads from their names what compound classes are made of."""

import difflib
from collections.abc import Iterable, Sequence

import ml_collections
import numpy as np

from fer_jax.data.listing import class_name
from fer_jax.errors import UserError

# Categories of CFEE that are compound and named by one word. Du, Tao and Martinez (PNAS 2014) describe the first two as
# blends of anger and disgust, the third as one of fear and surprise; the stronger part is first.
NAMED_COMPOUNDS = {
    "appalled": ("disgusted", "angry"),
    "hatred": ("angry", "disgusted"),
    "awed": ("surprised", "fearful"),
}

# Words of data sets for one expression.
WORDS = (
    ("angry", "anger"), ("disgust", "disgusted"), ("fear", "fearful", "afraid"), ("happy", "happiness", "joy"),
    ("sad", "sadness"), ("surprise", "surprised"), ("neutral", "neutrality"), ("contempt", "contemptuous"),
)  # fmt: skip


def excluded(config: ml_collections.ConfigDict, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the classes that `config.data.exclude` names, without regard to case."""
    left_out = {class_name(name) for name in config.exclude}
    return tuple(name for name in names if class_name(name) in left_out)


def check_names(config: ml_collections.ConfigDict, names: tuple[str, ...]) -> None:
    """Checks the classes before any picture exists.

    Raises:
      UserError: a class is left out that does not exist or that the base task needs, or too few remain.
    """
    there, left_out = {class_name(name) for name in names}, excluded(config, names)
    unknown = [name for name in config.exclude if class_name(name) not in there]
    if unknown:
        raise UserError(f"config.data.exclude has {unknown}; classes are {', '.join(names)}")
    gone = [name for name in config.get("base_classes", ()) if class_name(name) in map(class_name, left_out)]
    if gone:
        raise UserError(f"config.data.exclude has {gone}, which config.data.base_classes has too")
    left = len(names) - len(left_out)
    if left <= config.n_base:
        raise UserError(
            f"config.data.n_base is {config.n_base}; it may be 2 to {left - 1}, one class less than the data set has"
        )


def check_images(names: tuple[str, ...], labels: np.ndarray) -> None:
    """Checks that every class has an image.

    Raises:
      UserError: one has none.
    """
    counts = np.bincount(np.asarray(labels, int), minlength=len(names))
    if not counts.all():
        name = names[int(counts.argmin())]
        raise UserError(f"class {name} has no images; add some, or name it in config.data.exclude")


def check_parts(
    names: tuple[str, ...], labels: np.ndarray, test: np.ndarray | None, validation: np.ndarray | None
) -> list[str]:
    """Checks that the official parts have the same classes: a name misspelled in one of them is a class of its own.

    Args:
      labels: i32[N]. test, validation: bool[N], the official parts; None where there is none.

    Returns:
      a line for every class that has no training images or no validation images. Only some protocols need both.

    Raises:
      UserError: a class has no test images, or no others.
    """
    counts = {}
    if test is not None:
        counts = {"test": _counts(names, labels[test]), "training": _counts(names, labels[~test])}
        lacking = _lacking(names, counts)
        if lacking:
            raise UserError(f"{lacking[0]}; add some, or name it in config.data.exclude")
    if validation is None:
        return []
    learned = ~validation if test is None else ~(validation | test)
    counts = {"validation": _counts(names, labels[validation]), "training": _counts(names, labels[learned])}
    return [f"{one}; config.protocol.name held_out needs some" for one in _lacking(names, counts)]


def _counts(names: tuple[str, ...], labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=len(names))


def _lacking(names: tuple[str, ...], counts: dict[str, np.ndarray]) -> list[str]:
    """A line for every class that one of two parts lacks."""
    found = []
    for part, other in (tuple(counts), tuple(counts)[::-1]):
        for i in np.flatnonzero((counts[part] == 0) & (counts[other] > 0)):
            near = _near(names[i], [name for name in names if name != names[i]])
            spelled = f"; it may be misspelled, since {near} is a class too" if near else ""
            found.append(f"class {names[i]} has no {part} images and {counts[other][i]} {other} ones{spelled}")
    return found


def _near(name: str, others: Sequence[str]) -> str | None:
    """Returns another name that may mean the same; numbers that differ never do."""
    words = {name, *difflib.get_close_matches(name, [word for same in WORDS for word in same], 1, 0.8)}
    same = [word for same in WORDS if words.intersection(same) for word in same if word in others]
    letters = [other for other in others if not any(map(str.isdigit, name + other))]
    return next(iter(same or difflib.get_close_matches(name, letters, 1, 0.8)), None)


def in_two_words(names: Iterable[str]) -> list[str]:
    """Returns a line for every expression that class names have in two words, such as anger and angry."""
    there = set(names)
    found = [[word for word in words if word in there] for words in WORDS]
    return [f"classes {' and '.join(words)} may be one expression" for words in found if len(words) > 1]


def parents(name: str, base_names: Iterable[str]) -> tuple[str, str] | None:
    """Returns the two basic classes of a compound class, by its name; None if the name does not contain two.

    The first word is the adverb of one, the second another: happily surprised, sadly fearful.
    """
    base_names = tuple(base_names)
    adverbs = {(base[:-1] + "ily" if base.endswith("y") else base + "ly"): base for base in base_names}
    first, _, second = name.partition(" ")
    pair = NAMED_COMPOUNDS.get(name, (adverbs.get(first), second))
    return pair if set(pair) <= set(base_names) else None


def compositions(names: Sequence[str], n_base: int) -> np.ndarray:
    """Returns the basic classes that each class is made of, f32[C, C]: 1/2 for either parent, a basic class itself 1.

    Raises:
      UserError: a class whose name does not contain two basic classes.
    """
    parts = np.eye(len(names), dtype=np.float32)
    for i, name in enumerate(names[n_base:], n_base):
        pair = parents(name, names[:n_base])
        if pair is None:
            raise UserError(
                f"the name of class {name} does not contain two of {', '.join(names[:n_base])}; it may be such as "
                "happily surprised"
            )
        parts[i] = 0
        parts[i, [names.index(one) for one in pair]] = 0.5
    return parts
