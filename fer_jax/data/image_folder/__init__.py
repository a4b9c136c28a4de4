"""`image_folder`: any labelled pictures, a folder a class or a table."""

import re

from fer_jax.config.rules import TEXT, Rule
from fer_jax.data.data_set import DataSet
from fer_jax.data.image_folder.builder import ImageFolderFaces
from fer_jax.data.image_folder.scan import scan
from fer_jax.data.listing import KEYS


def _finds_subjects(pattern: str) -> bool:
    try:
        return not pattern or "subject" in re.compile(pattern).groupindex
    except re.error:
        return False


_PATTERN = Rule((str,), _finds_subjects, '"" or a regular expression with a group (?P<subject>…)')
DATA_SET = DataSet({**KEYS, "data.labels_csv": TEXT, "data.subject_pattern": _PATTERN}, None)
__all__ = ["DATA_SET", "ImageFolderFaces", "scan"]
