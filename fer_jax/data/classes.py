"""Checks the classes of a data set against its config: which are excluded, and whether enough remain with images."""

import ml_collections
import numpy as np

from fer_jax.data.listing import class_name
from fer_jax.errors import UserError


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
