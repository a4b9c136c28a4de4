"""A data set by its name in a config: prepared once by TFDS, then read whole into `FaceArrays`.

TFDS is used without TensorFlow: array_record files, read through `as_data_source`.
"""

import contextlib
import dataclasses
import logging
import pathlib
import sys

import absl.logging
import ml_collections
import numpy as np

from fer_jax.data import standard
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.listing import class_name
from fer_jax.errors import PassingError, UserError, passes

FILE_SETS = ("cfee", "rafdb", "image_folder")
log = logging.getLogger("fer_jax")


def load(config: ml_collections.ConfigDict) -> FaceArrays:
    """The data set of `config.data`, prepared first where that was not done before.

    What a data set of files says of itself is logged: what was left out, and that subjects are unknown where they are.

    Raises:
      UserError: files that are missing, bad or not of the data set's form, a data set with too few classes for the base
        task or a class without images, or a folder that the prepared data set cannot be written to. Nothing is kept of
        a preparation that fails.
    """
    if config.name in standard.NAMES or config.name.startswith(standard.TFDS):
        with _quiet():
            data = standard.load(config)
        _check_classes(config, data.class_names)
        return data.without(tuple(config.exclude))
    # Here, not above: TFDS takes a second to import, and a wrong key should be told at once.
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _quiet():
        builder = _facs_faces(config) if config.name == "facs_faces" else _file_set(config)
        _check_classes(config, tuple(builder.info.features["label"].names))
        _prepare(builder, config)
        data = from_builder(builder).without(_excluded(config))
    for note in data.metadata.get("notes", ()):
        log.info("%s: %s", config.name, note)
    skipped = data.metadata.get("skipped", ())
    for one in skipped:
        log.warning("%s: left out %s: %s", config.name, one["file"], one["problem"])
    if skipped:
        log.warning("%s: %d files were left out (config.data.on_bad_image=skip)", config.name, len(skipped))
    if config.name == "facs_faces" and _excluded(config) != ("neutral",):
        # The builder's Bayes accuracies are of the 21 expressions, not of another choice of classes.
        metadata = {key: value for key, value in data.metadata.items() if key != "bayes"}
        data = dataclasses.replace(data, metadata=metadata)
    _check_images(data.class_names, data.label)
    return data


def _prepare(builder, config: ml_collections.ConfigDict) -> None:
    """Prepares a data set that is not there yet, whole or not at all."""
    import tensorflow_datasets as tfds

    manual = str(_manual_dir(config)) if config.name in FILE_SETS else None
    try:
        builder.download_and_prepare(
            file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=manual)
        )
    except UserError:
        raise
    except Exception as error:
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


def _excluded(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The classes that are left out, as data sets name them: upper and lower case alike."""
    return tuple(dict.fromkeys(class_name(name) for name in config.exclude))


def _check_images(names: tuple[str, ...], labels) -> None:
    counts = np.bincount(np.asarray(labels, int), minlength=len(names))
    if not counts.all():
        name = names[int(counts.argmin())]
        raise UserError(f"class {name} has no images; add some, or name it in config.data.exclude")


def _check_classes(config: ml_collections.ConfigDict, names: tuple[str, ...]) -> None:
    """What can be said before a picture is there."""
    excluded = _excluded(config)
    unknown = [name for name in config.exclude if class_name(name) not in names]
    if unknown:
        raise UserError(f"config.data.exclude has {unknown}; classes are {', '.join(names)}")
    gone = [name for name in config.get("base_classes", ()) if class_name(name) in excluded]
    if gone:
        raise UserError(f"config.data.exclude has {gone}, which config.data.base_classes has too")
    left = len(names) - len(excluded)
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
    # TFDS wants its own object for a configuration that has a name of its own.
    builder_config = FacsFaces.builder_configs.get(builder_config.name, builder_config)
    return FacsFaces(config=builder_config, data_dir=_data_dir(config))


def _file_set(config: ml_collections.ConfigDict):
    """The builder of what lies in `manual_dir` now; its cache is named by that."""
    from fer_jax.data import cfee, image_folder, rafdb
    from fer_jax.data.file_builder import FileSetConfig

    root, names, on_bad_image = _manual_dir(config), tuple(config.base_classes), config.on_bad_image
    if config.name == "cfee":
        builder, found = cfee.Cfee, cfee.scan(root, names, on_bad_image)
    elif config.name == "rafdb":
        builder, found = rafdb.Rafdb, rafdb.scan(root, config.part, names, on_bad_image)
    else:
        builder = image_folder.ImageFolderFaces
        found = image_folder.scan(root, config.labels_csv, config.subject_pattern, names, on_bad_image)
    kept = [i for i, name in enumerate(found.class_names) if name not in _excluded(config)]
    labels = [kept.index(entry.label) for entry in found.entries if entry.label in kept]
    _check_images(tuple(found.class_names[i] for i in kept), labels)
    builder_config = FileSetConfig(listing=found, image_size=config.image_size, on_bad_image=on_bad_image)
    try:
        return builder(config=builder_config, data_dir=_data_dir(config))
    except OSError as error:
        raise UserError(
            f"config.data.dir {_data_dir(config)} cannot be used ({error.strerror}); it may be a folder of your own"
        ) from None


def _data_dir(config: ml_collections.ConfigDict) -> pathlib.Path | None:
    """Where prepared data sets are; None is TFDS's own folder."""
    return pathlib.Path(config.dir).expanduser() if config.dir else None


def _manual_dir(config: ml_collections.ConfigDict) -> pathlib.Path:
    """Where the user's files are: `config.data.manual_dir`, else where TFDS looks for them."""
    import tensorflow_datasets as tfds

    if config.manual_dir:
        return pathlib.Path(config.manual_dir).expanduser().absolute()
    prepared = _data_dir(config) or pathlib.Path(tfds.core.constants.DATA_DIR).expanduser()
    return prepared.absolute() / "downloads" / "manual"


def from_builder(builder, split: str = "faces") -> FaceArrays:
    """Reads a prepared builder with features image, label, subject and perhaps official_test, in record order."""
    source = builder.as_data_source(split=split)
    n, features = len(source), builder.info.features
    image = np.empty((n, *features["image"].shape), np.uint8)
    label, subject = np.empty(n, np.int32), np.empty(n, np.int32)
    official_test = np.zeros(n, bool) if "official_test" in features else None
    for i in range(n):
        row = source[i]
        image[i], label[i], subject[i] = row["image"], row["label"], row["subject"]
        if official_test is not None:
            official_test[i] = row["official_test"]
    metadata = dict(builder.info.metadata or {})
    return FaceArrays(image, label, subject, tuple(features["label"].names), metadata, official_test)
