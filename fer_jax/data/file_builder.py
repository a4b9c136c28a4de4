"""The common part of the data sets of picture files: TFDS builders named by content, square PNGs, bad files handled.

TFDS takes a second to import, so the data sets import this module when they are loaded.
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
from collections.abc import Iterator

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fer_jax.data import classes, from_tfds
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.images import BadImage, printable, read_image, square
from fer_jax.data.listing import Entry, Listing, Problems
from fer_jax.errors import UserError


@dataclasses.dataclass
class FileSetConfig(tfds.core.BuilderConfig):
    """The settings of a preparation; the name is a digest of them all, so caches of different files or settings never
    meet.

    listing: every file with its label and subject, size and time.
    image_size: pixels of the square pictures.
    on_bad_image: `error`, or `skip` to leave bad files out.
    """

    name: str = ""
    listing: Listing | None = dataclasses.field(default=None, repr=False)
    image_size: int = 224
    on_bad_image: str = "error"

    def __post_init__(self):
        if self.listing is None:
            raise ValueError("a data set of files is made from a listing; see the scan function of its package")
        self.name = f"p{self.image_size}_{self.listing.digest(self.image_size, self.on_bad_image)}"


class FileSetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pictures from files, one split "faces" in the order of their paths; the project makes its own subject folds.

    Features: image, label, subject, file; `official_test` where the data set comes with a split, `action_units` (u8
    by the numbers in metadata) where it tells those of its classes. Metadata: what was left out and why.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Lay the files out as the docstring of the builder's scan module says."

    def _info(self) -> tfds.core.DatasetInfo:
        size, listing = self.builder_config.image_size, self.builder_config.listing
        features = {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(listing.class_names)),
            "subject": np.int32,
            "file": tfds.features.Text(),
        }
        metadata = {**listing.metadata, "skipped": list(listing.skipped)}
        if listing.has_official_test:
            features["official_test"] = np.bool_
        if listing.has_official_validation:
            features["official_validation"] = np.bool_
        for name, value in listing.entries[0].targets:
            features[name] = tfds.features.Tensor(shape=np.shape(value), dtype=np.float32)
        if listing.units is not None:
            numbers = sorted({unit for units in listing.units for unit in units})
            features["action_units"] = tfds.features.Tensor(shape=(len(numbers),), dtype=np.uint8)
            metadata["action_units"] = {
                "numbers": numbers,
                "by_class": {name: list(units) for name, units in zip(listing.class_names, listing.units, strict=True)},
            }
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(metadata),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        root = pathlib.Path(dl_manager.manual_dir)
        self.builder_config.listing.check_unchanged(root)
        return {"faces": self._generate_examples(root)}

    def _generate_examples(self, root: pathlib.Path) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        listing, problems = config.listing, Problems(root, config.on_bad_image)
        numbers = (self.info.metadata.get("action_units") or {}).get("numbers", [])
        seen: dict[bytes, str] = {}
        written = 0
        for entry in listing.entries:
            try:
                picture = _read(root, entry, listing, seen)
            except BadImage as error:
                problems.add(error)
                continue
            row = {
                "image": _png(square(picture, config.image_size)),
                "label": entry.label,
                "subject": entry.subject,
                "file": entry.shown,
            }
            if listing.has_official_test:
                row["official_test"] = bool(entry.official_test)
            if listing.has_official_validation:
                row["official_validation"] = entry.official_validation
            row |= {name: np.asarray(value, np.float32) for name, value in entry.targets}
            if listing.units is not None:
                row["action_units"] = np.asarray([n in listing.units[entry.label] for n in numbers], np.uint8)
            yield written, row
            written += 1
        if not written:
            raise UserError(f"{printable(root)}: every one of {len(listing.entries)} pictures is bad")
        # TFDS writes the metadata after the last example.
        self.info.metadata["skipped"] = [*listing.skipped, *problems.skipped]
        if written > len(seen):
            note = f"{written - len(seen)} pictures are copies of others (fer-jax data check lists them)"
            self.info.metadata["notes"] = [*listing.metadata.get("notes", ()), note]


def load(kind: type[FileSetBuilder], listed: Listing, config: ml_collections.ConfigDict) -> FaceArrays:
    """Loads the files listed in `manual_dir`; prepares them first if that was not done before.

    Raises:
      UserError: a class without images, classes that do not fit the config, a bad picture where that is an error, or a
        folder that cannot be used.
    """
    data = from_tfds.read(make(kind, listed, config), config, from_tfds.manual_dir(config))
    if listed.ignored:
        data = dataclasses.replace(data, metadata={**data.metadata, "ignored": listed.ignored})
    units = data.metadata.get("action_units")
    if units is None:
        return data
    numbers = list(units["numbers"])
    by_class = [[unit in units["by_class"][name] for unit in numbers] for name in data.class_names]
    return dataclasses.replace(
        data,
        metadata={**data.metadata, "action_units": numbers},
        targets={**data.targets, "action_units": data.targets["action_units"].astype(np.float32)},
        class_targets={"action_units": np.asarray(by_class, np.float32).reshape(len(by_class), len(numbers))},
    )


def make(kind: type[FileSetBuilder], listed: Listing, config: ml_collections.ConfigDict) -> FileSetBuilder:
    """Makes the builder of a listing; the name of its cache is a digest of that.

    Raises:
      UserError: a class without images, a folder that cannot be used, or what is prepared there is damaged.
    """
    left_out = classes.excluded(config, listed.class_names)
    remaining = [i for i, name in enumerate(listed.class_names) if name not in left_out]
    labels = [remaining.index(entry.label) for entry in listed.entries if entry.label in remaining]
    classes.check_images(tuple(listed.class_names[i] for i in remaining), labels)
    builder_config = FileSetConfig(listing=listed, image_size=config.image_size, on_bad_image=config.on_bad_image)
    return from_tfds.make(kind, builder_config, config)


def _read(root: pathlib.Path, entry: Entry, listing: Listing, seen: dict[bytes, str]) -> np.ndarray:
    """Decodes a picture and remembers it. Only a data set with an official split may have one twice, as FER2013 has."""
    path = root / entry.relative
    picture = read_image(path) if listing.read is None else listing.read(entry)
    digest = hashlib.sha256(str(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture))
    other = seen.setdefault(digest.digest(), entry.shown)
    if other != entry.shown and not (listing.has_official_test or listing.has_official_validation):
        which = "it" if entry.row is None else f"row {entry.row}"
        raise BadImage(path, f"{which} is the same picture as {other}", "remove one of them")
    return picture


def _png(picture: np.ndarray) -> io.BytesIO:
    """Encoded by Pillow: TFDS would import TensorFlow to encode an array."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=6)
    file.seek(0)
    return file


@functools.cache
def kind(name: str, description: str) -> type[FileSetBuilder]:
    """Returns a builder of file sets by its name, below which its prepared copies are."""

    class Kind(FileSetBuilder, skip_registration=True):
        __doc__ = description

    Kind.name = name
    return Kind
