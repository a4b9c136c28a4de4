"""Reads a TFDS builder into `FaceArrays`: prepares it once, then reads it whole.

TFDS is used without TensorFlow: array_record files, read through `as_data_source`. It takes a second to import, so the
data sets import this module when they are loaded.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from fer_jax.config.places import expanded
from fer_jax.data import classes
from fer_jax.data.arrays import OFFICIAL, FaceArrays
from fer_jax.errors import PassingError, UserError, first_line, passes


def read(
    builder: tfds.core.DatasetBuilder, config: ml_collections.ConfigDict, manual_dir: pathlib.Path | None = None
) -> FaceArrays:
    """Reads a builder; prepares it first if that was not done before.

    Args:
      manual_dir: where the user's files are, of a builder that needs any.

    Raises:
      UserError: classes that do not fit the config, a folder that cannot be written to, or what is prepared there is
        damaged. Nothing is kept of a preparation that fails.
    """
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    classes.check_names(config, tuple(builder.info.features["label"].names))
    _prepare(builder, manual_dir)
    return from_builder(builder)


def make(
    kind: type[tfds.core.DatasetBuilder],
    settings: tfds.core.BuilderConfig,
    config: ml_collections.ConfigDict,
    version: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Makes a builder below `config.data.dir`, which reads the description of what is prepared there.

    Raises:
      UserError: the folder cannot be used, or the description is damaged.
    """
    folder = data_dir(config)
    root = folder or expanded(tfds.core.constants.DATA_DIR, "TFDS's folder of data sets")
    with reading(root / kind.name / settings.name / str(version or kind.VERSION)):
        try:
            return kind(config=settings, version=version, data_dir=folder)
        except OSError as error:
            raise UserError(
                f"config.data.dir {root} cannot be used ({error.strerror}); it may be a folder of your own"
            ) from None


@contextlib.contextmanager
def reading(folder: pathlib.Path | str) -> Iterator[None]:
    """Converts an error in reading what is prepared in a folder into one that names the folder.

    Raises:
      UserError: it is damaged.
    """
    try:
        yield
    except Exception as error:  # TFDS, its C++ and Pillow raise errors of many kinds for damaged files
        if isinstance(error, UserError | MemoryError) or passes(error):
            raise
        raise UserError(
            f"the prepared data set in {folder} cannot be read ({first_line(error)}); if it is damaged, remove "
            "that folder, so that it is prepared again"
        ) from None


def data_dir(config: ml_collections.ConfigDict) -> pathlib.Path | None:
    """Returns the folder of prepared data sets; None is TFDS's own folder."""
    return expanded(config.dir, "config.data.dir") if config.dir else None


def manual_dir(config: ml_collections.ConfigDict) -> pathlib.Path:
    """Returns the folder of the user's files: `config.data.manual_dir`, else the one where TFDS looks."""
    if config.manual_dir:
        return expanded(config.manual_dir, "config.data.manual_dir").absolute()
    prepared = data_dir(config) or expanded(tfds.core.constants.DATA_DIR, "TFDS's folder of data sets")
    return prepared.absolute() / "downloads" / "manual"


def _prepare(builder: tfds.core.DatasetBuilder, manual: pathlib.Path | None) -> None:
    """Prepares a data set that is not there yet, whole or not at all."""
    download = tfds.download.DownloadConfig(manual_dir=str(manual) if manual else None)
    try:
        builder.download_and_prepare(file_format="array_record", download_config=download)
    except UserError:
        raise
    except Exception as error:
        if _prepared_meanwhile(builder):
            return
        # array_record writes from C++ and reports a full disk as a plain RuntimeError.
        text = str(error)
        full = "No space left" in text
        if not full and not isinstance(error, OSError):
            raise
        why = "No space left on device" if full else error.strerror or (text.splitlines() or [type(error).__name__])[0]
        where = f" at {error.filename}" if getattr(error, "filename", None) else ""
        raise (PassingError if full or passes(error) else UserError)(
            f"the prepared data set cannot be written to {builder.data_dir} ({why}{where}); "
            "make room or rights there, or set config.data.dir to another folder"
        ) from None


def _prepared_meanwhile(builder: tfds.core.DatasetBuilder) -> bool:
    """Returns True if another process prepared the data set since this one began; the builder then reads that."""
    try:
        builder.info.set_file_format("array_record", override=True)
        builder.info.read_from_directory(builder.data_path)
    except Exception:  # there is none, or not a whole one
        return False
    return builder.is_prepared()


def from_builder(builder: tfds.core.DatasetBuilder, split: str = "faces") -> FaceArrays:
    """Reads a prepared builder in the order of its records.

    Its features are image, label, subject and perhaps the official splits; all others that are numbers become targets.

    Raises:
      UserError: it is damaged.
    """
    with reading(builder.data_dir):
        return _from_builder(builder, split)


def _from_builder(builder: tfds.core.DatasetBuilder, split: str) -> FaceArrays:
    source = builder.as_data_source(split=split)
    features, n = builder.info.features, len(source)
    columns = {name: np.empty((n, *features[name].shape), dtype) for name, dtype in _dtypes(features).items()}
    files = []
    for i in range(n):
        row = source[i]
        if "file" in features:
            files.append(row["file"].decode())
        for name, column in columns.items():
            column[i] = row[name]
    return FaceArrays(
        columns.pop("image"), columns.pop("label"), columns.pop("subject"), tuple(features["label"].names),
        dict(builder.info.metadata or {}), columns.pop("official_test", None), columns,
        official_validation=columns.pop("official_validation", None), files=tuple(files),
    )  # fmt: skip


def _dtypes(features) -> dict[str, type]:
    """Returns what each feature is read as; one that is neither known nor a number, such as a text, is not read."""
    dtypes = {"image": np.uint8, "label": np.int32, "subject": np.int32}
    dtypes |= {name: np.bool_ for name in OFFICIAL if name in features}
    for name in features:
        if name not in dtypes and np.issubdtype(features[name].np_dtype, np.number):
            own, picture = features[name].np_dtype, len(features[name].shape) == 3
            dtypes[name] = np.float32 if np.issubdtype(own, np.floating) else np.int32
            if picture and own == np.uint8:
                dtypes[name] = np.uint8
    return dtypes
