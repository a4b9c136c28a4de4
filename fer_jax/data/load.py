"""Loads a data set by its name in a config as `FaceArrays`, with the steps that all data sets share."""

import contextlib
import dataclasses
import logging

import absl.logging
import ml_collections
import numpy as np

from fer_jax.config import names
from fer_jax.data import classes, leakage, units
from fer_jax.data.arrays import OFFICIAL, FaceArrays
from fer_jax.errors import UserError

log = logging.getLogger("fer_jax")


def load(config: ml_collections.ConfigDict) -> FaceArrays:
    """Loads the data set of `config.data`, without the classes of `exclude`; prepares it first if needed.

    What was read is logged: the number of images, classes and subjects, the official splits, how many files were
    ignored or left out, and what the data set says of itself, such as that its subjects are unknown.

    Raises:
      UserError: there is no such data set, its files are missing, bad or not of its form, its images are of another
        size, it has too few classes for the base task, a class without images or one that only the official test set
        has or lacks, or what is prepared cannot be written.
    """
    with _quiet():
        data = names.data_set(config.name).load(config)
    check_form(config, data)
    classes.check_names(config, data.class_names)
    data = data.without(classes.excluded(config, data.class_names))
    if config.get("near_duplicates", "keep") == "exclude":
        data = _without_near_duplicates(data, config.get("near_duplicates_in", "picture"))
    data = units.applied(config, data)
    log.info("%s: %s", config.name, _counts(data))
    for note in (*data.metadata.get("notes", ()), *classes.in_two_words(data.class_names)):
        log.info("%s: %s", config.name, note)
    skipped = data.metadata.get("skipped", ())
    for one in skipped:
        log.warning("%s: left out %s: %s", config.name, one["file"], one["problem"])
    if skipped:
        log.warning("%s: %d files were left out (config.data.on_bad_image=skip)", config.name, len(skipped))
    classes.check_images(data.class_names, data.label)
    for line in classes.check_parts(data.class_names, data.label, data.official_test, data.official_validation):
        log.warning("%s: %s", config.name, line)
    return data


def _without_near_duplicates(data: FaceArrays, within: str) -> FaceArrays:
    """Leaves out the later one of every two near-duplicates of different subjects, the training one if there is one."""
    found = leakage.of(data, within)
    others = np.setdiff1d(np.arange(len(data.label)), found.later)
    note = f"{len(found.later)} near-duplicates were left out (config.data.near_duplicates=exclude)"
    notes = [*data.metadata.get("notes", ()), note, f"for near-duplicates were compared: {found.compared}"]
    metadata = {**data.metadata, "notes": notes}
    return dataclasses.replace(data.rows(others), metadata=metadata)


def _counts(data: FaceArrays) -> str:
    """Returns what was read, in numbers."""
    unknown = data.metadata.get("split_by") == "image"
    people = "subjects unknown" if unknown else f"{len(np.unique(data.subject))} subjects"
    official = [
        f"{int(rows.sum())} of the official {name.removeprefix('official_')} set"
        for name in OFFICIAL
        if (rows := getattr(data, name)) is not None
    ]
    words = [f"{len(data.label)} images", f"{len(data.class_names)} classes", people, *official]
    return ", ".join([*words, f"{data.metadata.get('ignored', 0)} files ignored"])


def check_form(config: ml_collections.ConfigDict, data: FaceArrays) -> None:
    """Checks that a data set gave arrays, of pictures of the config's size.

    Raises:
      UserError: it did not.
    """
    if not isinstance(data, FaceArrays):
        raise UserError(f"config.data.name {config.name} loads a {type(data).__name__}; it may load a FaceArrays")
    height, width = data.image.shape[1:3]
    if (height, width) != (config.image_size, config.image_size):
        raise UserError(
            f"config.data.image_size is {config.image_size}; the pictures of {config.name} are {height} × {width}"
        )


@contextlib.contextmanager
def _quiet():
    """Keeps TFDS from warning of what is meant: Pillow instead of OpenCV, a configuration of our own."""
    before = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        yield
    finally:
        absl.logging.set_verbosity(before)
