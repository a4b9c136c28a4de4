"""Standard picture sets for comparison with other libraries: scikit-learn's digits, IDX files, and any TFDS data set.

They have no people; every picture counts as a subject of its own. Classes stay in the order of their labels.
"""

import gzip
import pathlib

import ml_collections
import numpy as np

from fer_jax.config.names import TFDS
from fer_jax.config.rules import TEXT, several
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.errors import UserError, import_extra

NAMES = ("digits", "idx")
IDX_FILES = {
    (part, what): f"{stem}-{what}-idx{dims}-ubyte"
    for part, stem in (("train", "train"), ("test", "t10k"))
    for what, dims in (("images", 3), ("labels", 1))
}
UNSIGNED_BYTES = 8
DIGITS = TFDS_SET = DataSet({}, None)
IDX = DataSet({"data.manual_dir": TEXT, "data.class_names": several(TEXT, 0)}, None)


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
      UserError: a file is missing or is no IDX file of bytes, or pictures and labels do not fit together.
    """
    parts = {key: _read_idx(folder, name) for key, name in IDX_FILES.items()}
    for part in ("train", "test"):
        images, labels = parts[part, "images"], parts[part, "labels"]
        if images.ndim != 3 or labels.shape != (len(images),):
            raise UserError(f"{folder}: the {part} files have {images.shape} pictures and {labels.shape} labels")
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
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTES:
        raise UserError(f"{path} is no IDX file of unsigned bytes")
    header = 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw, ">u4", raw[3], 4).astype(int)) if len(raw) >= header else (-1,)
    if len(raw) - header != np.prod(shape):
        raise UserError(f"{path} is cut short or too long: {len(raw)} bytes for {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def tfds_set(name: str, data_dir: str, size: int) -> FaceArrays:
    """Reads a prepared TFDS data set with an image and a label; its `test` split is the official test set.

    Pictures of other sizes are cropped square in the middle and resized.

    Raises:
      UserError: there is no such set prepared, or it has no image and label.
    """
    import tensorflow_datasets as tfds
    from PIL import Image

    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        sources = {split: builder.as_data_source(split=split) for split in builder.info.splits}
    except Exception as error:  # TFDS raises errors of many kinds for a set that is not there
        raise UserError(
            f"config.data.name is '{TFDS}{name}', which cannot be read ({str(error).splitlines()[0][:160]}); prepare "
            "it as array_record files first (tfds build), in config.data.dir or TFDS's own folder"
        ) from None
    features = builder.info.features
    if "image" not in features or "label" not in features or not sources:
        raise UserError(f"config.data.name is '{TFDS}{name}', which has no image and label, or is not prepared")
    images, labels, test = [], [], []
    for split, source in sources.items():
        for row in source:
            picture = np.asarray(row["image"])
            if picture.shape[:2] != (size, size):
                picture = _square(Image.fromarray(picture.squeeze()), size)
            images.append(picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture)
            labels.append(int(row["label"]))
            test.append(split == "test")
    names = tuple(getattr(features["label"], "names", None) or (f"class {i}" for i in range(max(labels) + 1)))
    official = np.asarray(test) if any(test) and not all(test) else None
    return _arrays(np.stack(images), np.asarray(labels), names, official)


def _square(picture, size: int) -> np.ndarray:
    from PIL import ImageOps

    return np.asarray(ImageOps.fit(picture, (size, size)))


def _arrays(images: np.ndarray, labels: np.ndarray, names: tuple[str, ...], official_test) -> FaceArrays:
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, -1)
    n = np.arange(len(images), dtype=np.int32)
    return FaceArrays(images, labels.astype(np.int32), n, names, {"split_by": "image"}, official_test)


def _load_digits(config: ml_collections.ConfigDict) -> FaceArrays:
    return digits()


def _load_idx(config: ml_collections.ConfigDict) -> FaceArrays:
    return idx(pathlib.Path(config.manual_dir).expanduser(), tuple(config.class_names))


def _load_tfds(config: ml_collections.ConfigDict) -> FaceArrays:
    return tfds_set(config.name.removeprefix(TFDS), config.dir, config.image_size)


DIGITS = DataSet({}, _load_digits)
_IDX_KEYS = {
    "data.manual_dir": TEXT.means("Folder of the IDX files."),
    "data.class_names": several(TEXT, 0).means("Names of the classes; empty numbers them."),
}
IDX = DataSet(_IDX_KEYS, _load_idx)
TFDS_SET = DataSet({}, _load_tfds)
