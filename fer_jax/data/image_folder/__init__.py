"""`image_folder`: any labelled pictures, in a folder for each class or listed in a table."""

import re

from ml_collections import ConfigDict

from fer_jax.config.rules import TEXT, Rule
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import FILE_KEYS, DataSet
from fer_jax.data.image_folder.scan import scan


def _finds_subjects(pattern: str) -> bool:
    try:
        return not pattern or "subject" in re.compile(pattern).groupindex
    except re.error:
        return False


def _load(config: ConfigDict) -> FaceArrays:
    from fer_jax.data import file_builder, from_tfds
    from fer_jax.data.image_folder.builder import ImageFolderFaces

    root, names = from_tfds.manual_dir(config), tuple(config.base_classes)
    listed = scan(root, config.labels_csv, config.subject_pattern, names, config.on_bad_image)
    return file_builder.load(ImageFolderFaces, listed, config)


_PATTERN = Rule((str,), _finds_subjects, '"" or a regular expression with a group (?P<subject>…)')
_KEYS = {
    **FILE_KEYS,
    "data.labels_csv": TEXT.means("Table of files, labels and subjects; empty takes the folders' names as labels."),
    "data.subject_pattern": _PATTERN.means("Where a path names the subject; empty if subjects are unknown."),
}
DATA_SET = DataSet(_KEYS, _load)

__all__ = ["DATA_SET", "scan"]
