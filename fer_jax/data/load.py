"""A data set by its name in a config: prepared once by TFDS, then read whole into `FaceArrays`.

TFDS is used without TensorFlow: array_record files, read through `as_data_source`.
"""

import contextlib
import dataclasses
import pathlib
import sys

import absl.logging
import ml_collections
import numpy as np

from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError

DATA_SETS = ("facs_faces",)


def load(config: ml_collections.ConfigDict) -> FaceArrays:
    """The data set of `config.data`, prepared first where that was not done before.

    Raises:
      UserError: the data set has too few classes for the base task, or a class without images.
    """
    # Here, not above: TFDS takes a second to import, and a wrong key should be told at once.
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _quiet():
        builder = _facs_faces(config)
        _check_classes(config, tuple(builder.info.features["label"].names))
        builder.download_and_prepare(file_format="array_record")
        data = from_builder(builder).without(tuple(config.exclude))
    if tuple(config.exclude) != ("neutral",):
        # The builder's Bayes accuracies are of the 21 expressions, not of another choice of classes.
        metadata = {key: value for key, value in data.metadata.items() if key != "bayes"}
        data = dataclasses.replace(data, metadata=metadata)
    counts = np.bincount(data.label, minlength=len(data.class_names))
    if not counts.all():
        raise UserError(f"class {data.class_names[int(counts.argmin())]} has no images")
    return data


def _check_classes(config: ml_collections.ConfigDict, names: tuple[str, ...]) -> None:
    """What can be said before a picture is there."""
    unknown = [name for name in config.exclude if name not in names]
    if unknown:
        raise UserError(f"config.data.exclude has {unknown}; classes are {', '.join(names)}")
    left = len(names) - len(set(config.exclude))
    if left <= config.n_base:
        raise UserError(
            f"config.data.n_base is {config.n_base}; it may be 2 to {left - 1}, one class less than the data set has"
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


def _facs_faces(config: ml_collections.ConfigDict):
    from fer_jax.data.facs_faces import FacsFaces, FacsFacesConfig

    builder_config = FacsFacesConfig(
        n_subjects=config.n_subjects,
        image_size=config.image_size,
        images_per_cell=config.images_per_cell,
        seed=config.seed,
    )
    directory = pathlib.Path(config.dir).expanduser() if config.dir else None
    # TFDS wants its own object for a configuration that has a name of its own.
    builder_config = FacsFaces.builder_configs.get(builder_config.name, builder_config)
    return FacsFaces(config=builder_config, data_dir=directory)


def from_builder(builder, split: str = "faces") -> FaceArrays:
    """Reads a prepared builder with features image, label and subject, in record order."""
    source = builder.as_data_source(split=split)
    rows = [source[i] for i in range(len(source))]
    return FaceArrays(
        np.stack([row["image"] for row in rows]),
        np.asarray([row["label"] for row in rows], np.int32),
        np.asarray([row["subject"] for row in rows], np.int32),
        tuple(builder.info.features["label"].names),
        dict(builder.info.metadata or {}),
    )
