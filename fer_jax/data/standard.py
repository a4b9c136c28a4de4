"""Standard picture sets for comparison with other libraries: scikit-learn's digits, IDX files, and any TFDS data set.

They have no people; every picture counts as a subject of its own. Classes stay in the order of their labels.
"""

import dataclasses
import gzip
import math
import pathlib
import zlib

import ml_collections
import numpy as np
from PIL import Image, ImageOps

from fer_jax.config.names import TFDS
from fer_jax.config.places import expanded
from fer_jax.config.rules import TEXT, several
from fer_jax.data import splits
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.images import rgb_of
from fer_jax.data.listing import class_name
from fer_jax.errors import UserError, first_line, import_extra

NAMES = ("digits", "idx")
IDX_FILES = {
    (part, what): f"{stem}-{what}-idx{dims}-ubyte"
    for part, stem in (("train", "train"), ("test", "t10k"))
    for what, dims in (("images", 3), ("labels", 1))
}
UNSIGNED_BYTES = 8


def is_one(name: str) -> bool:
    """Returns True if `config.data.name` names one of these sets, whose pictures are not assumed to be faces."""
    return name in NAMES or name.startswith(TFDS)


def digits() -> FaceArrays:
    """Loads scikit-learn's 1,797 handwritten digits, 8 × 8, grey values of 0 to 16 stretched to 0 to 255.

    Raises:
      UserError: scikit-learn is not installed.
    """
    bunch = import_extra("sklearn.datasets", "digits", "config.data.name 'digits' needs scikit-learn").load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return _arrays(grey, bunch.target, tuple(f"digit {i}" for i in range(10)), None)


def idx(folder: pathlib.Path, class_names: tuple[str, ...] = ()) -> FaceArrays:
    """Reads the four IDX files of a folder (MNIST's format, plain or gzipped); the t10k ones are the official test set.

    Raises:
      UserError: a class name is empty or there twice, a file is missing or is no IDX file of bytes, or pictures and
        labels do not fit together.
    """
    folded = [class_name(one) for one in class_names]
    if not all(folded) or len(set(folded)) < len(folded):
        raise UserError(f"config.data.class_names is {class_names}; none may be empty, and each may be there once")
    parts = {key: _read_idx(folder, name) for key, name in IDX_FILES.items()}
    for part in ("train", "test"):
        images, labels = parts[part, "images"], parts[part, "labels"]
        if images.ndim != 3 or labels.shape != (len(images),):
            raise UserError(f"{folder}: the {part} files have {images.shape} pictures and {labels.shape} labels")
        if not images.size:
            raise UserError(f"{folder}: the {part} files have no pictures; each part may have one or more")
    sizes = [" × ".join(map(str, parts[part, "images"].shape[1:])) for part in ("train", "test")]
    if len(set(sizes)) > 1:
        raise UserError(f"{folder}: train pictures are {sizes[0]} and test pictures {sizes[1]}; all may have one size")
    images = np.concatenate([parts["train", "images"], parts["test", "images"]])
    labels = np.concatenate([parts["train", "labels"], parts["test", "labels"]])
    n_classes = int(labels.max()) + 1
    if class_names and len(class_names) != n_classes:
        raise UserError(f"config.data.class_names has {len(class_names)} names; the files of {folder} have {n_classes}")
    official_test = np.arange(len(images)) >= len(parts["train", "images"])
    return _arrays(images, labels, class_names or tuple(f"class {i}" for i in range(n_classes)), official_test)


def _read_idx(folder: pathlib.Path, name: str) -> np.ndarray:
    """An IDX file: two zero bytes, a type, the number of dimensions, each of them in four bytes, then the values."""
    plain, packed = folder / name, folder / f"{name}.gz"
    path = packed if packed.is_file() else plain
    try:
        raw = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"config.data.manual_dir {folder} has no {name} and no {name}.gz") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTES or raw[3] not in (1, 3):
        raise UserError(f"{path} is no IDX file of unsigned bytes in 1 or 3 dimensions")
    header = 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw, ">u4", raw[3], 4).tolist()) if len(raw) >= header else (-1,)
    if len(raw) - header != math.prod(shape):
        raise UserError(f"{path} is cut short or too long: {len(raw)} bytes for {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def tfds_set(name: str, data_dir: str, size: int) -> FaceArrays:
    """Reads a prepared TFDS data set with an image and a label; its splits `test` and `validation` are official.

    Pictures of other sizes are cropped square in the middle and resized. All are validated: labels are classes by
    number or by name, pictures 8 or 16 bits a channel, grey or in colour, with or without transparency.

    Raises:
      UserError: there is no such set prepared, it is damaged or has no image and label, or a row of another form, which
        is named with its split.
    """
    import tensorflow_datasets as tfds

    from fer_jax.data import from_tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        sources = {split: builder.as_data_source(split=split) for split in builder.info.splits}
    except Exception as error:  # TFDS raises errors of many kinds for a set that is not there
        raise UserError(
            f"config.data.name is '{TFDS}{name}', which cannot be read ({first_line(error)[:160]}); prepare "
            "it as array_record files first (tfds build), in config.data.dir or TFDS's own folder"
        ) from None
    features = builder.info.features
    if "image" not in features or "label" not in features or not sources:
        raise UserError(f"config.data.name is '{TFDS}{name}', which has no image and label, or is not prepared")
    images, labels, sides = [], [], []
    with from_tfds.reading(builder.data_dir):
        for split, source in sources.items():
            side = splits.side(split) if splits.is_split(split) else (False, False)
            for number, row in enumerate(source):
                where = f"config.data.name is '{TFDS}{name}': in row {number} of its split {split!r}"
                images.append(_picture(row["image"], size, where))
                labels.append(_label(row["label"], where))
                sides.append(side)
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        raise UserError(f"config.data.name is '{TFDS}{name}', some of whose labels are text and others numbers")
    names = getattr(features["label"], "names", None)
    if kinds == {str}:
        names = sorted(set(labels))
        labels = [names.index(label) for label in labels]
    names = tuple(names or (f"class {i}" for i in range(max(labels) + 1)))
    test, validation = (np.asarray(side) if any(side) and not all(side) else None for side in zip(*sides, strict=True))
    data = _arrays(np.stack(images), np.asarray(labels), names, test)
    return dataclasses.replace(data, official_validation=validation)


def _picture(values, size: int, where: str) -> np.ndarray:
    """Returns the centre square of a row's picture, u8[size, size, 3].

    Raises:
      UserError: it is none that can be shown.
    """
    picture = rgb_of(np.asarray(values))
    if isinstance(picture, str):
        raise UserError(f"{where} the feature image {picture}")
    if picture.shape[:2] == (size, size):
        return picture
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (size, size)))


def _label(value, where: str) -> int | str:
    """Returns a row's label.

    Raises:
      UserError: it is not one whole number from 0, or one text.
    """
    if isinstance(value, bytes | str):
        name = class_name(value if isinstance(value, str) else value.decode("utf-8", "backslashreplace"))
        if not name:
            raise UserError(f"{where} the feature label is empty; it may be a class")
        return name
    label = np.asarray(value)
    if label.ndim or not np.issubdtype(label.dtype, np.integer):
        what = f"{list(label.shape)} of {label.dtype}" if label.ndim else f"{label} of type {label.dtype}"
        raise UserError(f"{where} the feature label is {what}; it may be one whole number or one text, a class")
    if label < 0:
        raise UserError(f"{where} the feature label is {label}; it may be from 0 (below it stands for no label)")
    return int(label)


def _arrays(images: np.ndarray, labels: np.ndarray, names: tuple[str, ...], official_test) -> FaceArrays:
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, -1)
    n = np.arange(len(images), dtype=np.int32)
    return FaceArrays(images, labels.astype(np.int32), n, names, {"split_by": "image"}, official_test)


def _load_digits(config: ml_collections.ConfigDict) -> FaceArrays:
    return digits()


def _load_idx(config: ml_collections.ConfigDict) -> FaceArrays:
    return idx(expanded(config.manual_dir, "config.data.manual_dir"), tuple(config.class_names))


def _load_tfds(config: ml_collections.ConfigDict) -> FaceArrays:
    return tfds_set(config.name.removeprefix(TFDS), config.dir, config.image_size)


DIGITS = DataSet({}, _load_digits)
_IDX_KEYS = {
    "data.manual_dir": TEXT.means("Folder of the IDX files."),
    "data.class_names": several(TEXT, 0).means("Names of the classes; empty numbers them."),
}
IDX = DataSet(_IDX_KEYS, _load_idx)
TFDS_SET = DataSet({}, _load_tfds)
