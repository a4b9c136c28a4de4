"""Names of official splits, and folders that are splits and not classes."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from fer_jax.data.images import printable
from fer_jax.errors import UserError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Names by which data sets go round, in lower case. FER2013 calls its validation and test sets public and private test;
# what is called eval is a test set on model hubs.
NAMES = {
    **dict.fromkeys(("train", "training", "trn", "train_set"), TRAIN),
    **dict.fromkeys(("valid", "validation", "val", "dev", "publictest", "val_set", "valid_set"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "privatetest", "test_set"), TEST),
}


class Folders(NamedTuple):
    """Folders of splits. depth: 0 for <split>/<class>, 1 for <class>/<split>. note: what was recognised, in words."""

    depth: int
    note: str


def is_split(name: str) -> bool:
    """Returns True if a name, in upper or lower case, is that of a split."""
    return name.strip().lower() in NAMES


def side(name: str) -> tuple[bool, bool]:
    """Returns whether a split is the official test set, and whether it is the official validation set."""
    kind = NAMES[name.strip().lower()]
    return kind == TEST, kind == VALIDATION


def of_folders(root: pathlib.Path, pictures: Sequence[pathlib.Path]) -> Folders | None:
    """Returns the splits among the folders below a root; None if the folders are classes.

    Raises:
      UserError: some folders are named as splits and others are not, or all lie in one folder.
    """
    parts = [p.relative_to(root).parts for p in pictures]
    top = sorted({one[0] for one in parts})
    named = [name for name in top if is_split(name)]
    if named and len(named) < len(top):
        other = next(name for name in top if name not in named)
        raise UserError(
            f"{printable(root)} has the folders {', '.join(named)}, which are splits, and {other}, which is not; "
            "its folders may be splits alone (train, valid, test), or classes alone"
        )
    if len(named) > 1:
        return Folders(0, note(named))
    if len(top) == 1 and parts and all(len(one) > 2 for one in parts):
        raise UserError(
            f"{printable(root)} has one folder, {printable(top[0])}, and that has folders; "
            f"config.data.manual_dir may be {printable(root / top[0])}"
        )
    second = sorted({one[1] for one in parts if len(one) > 2})
    within = [name for name in second if is_split(name)]
    if within and len(within) == len(second) and all(len(one) > 2 for one in parts):
        return Folders(1, note(within))
    return None


def note(names: Sequence[str]) -> str:
    """Returns what folders of these names are, in words, and which parts there are none of."""
    kinds = {kind: [name for name in names if NAMES[name.lower()] == kind] for kind in (TRAIN, VALIDATION, TEST)}
    said = "; ".join(f"{', '.join(found)} is the official {kind} set" for kind, found in kinds.items() if found)
    missing = [kind for kind, found in kinds.items() if not found]
    return f"folders are splits: {said}" + (f"; there is no official {' or '.join(missing)} set" if missing else "")
