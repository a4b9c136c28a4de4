"""CK+ (Lucey et al., 2010): sequences from neutral to an expression, as its authors send it, or as it circulates.

    <manual_dir>/cohn-kanade-images/S005/001/S005_001_00000001.png …      the release: sequences of person S005
    <manual_dir>/Emotion/S005/001/S005_001_00000011_emotion.txt           1 … 7, of a third of the sequences none
    <manual_dir>/anger/S010_004_00000017.png                              "CK+48": a folder a class

Of a labelled sequence of the release the last config.data.frames pictures show its expression. The first one is neutral
where config.data.neutral says so. Neutral is then one more class; it is no label of the release. Sequences without a
label are left alone, and counted. Of folders of classes all pictures are read, those of one called neutral too. There
is no official split.
"""

import pathlib
import re

from ml_collections import ConfigDict

from fer_jax.config.rules import BOOL, optional, whole
from fer_jax.data import layouts, listing
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

NAMES = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NEUTRAL = "neutral"
PICTURES, LABELS = "cohn-kanade-images", "Emotion"
_NAME = re.compile(r"(?P<subject>S\d{3})_(?P<sequence>\d{3})_(?P<frame>\d{8})")
_RENAME = "rename it or remove it"


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists CK+'s pictures below a root.

    Raises:
      UserError: the folder of labels is missing, a label is not of the form above, or a base class does not exist.
      BadImage: a picture's name is not of the form above or at odds with its folder, where that is an error.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    if (root / PICTURES).is_dir():
        found, sources, notes = _release(root, config, problems)
        names = [*NAMES, NEUTRAL] if config.neutral else NAMES
    else:
        found, sources, notes = _folders(problems), [], ["labels are those of the folders, subjects of the file names"]
        notes.append("config.data.frames is of sequences: all pictures of the folders are read")
        names = sorted({one.class_name for one in found})
        if config.neutral and NEUTRAL not in names:
            raise UserError(
                f"config.data.neutral is True, and {printable(root)} has a folder a class and none called {NEUTRAL}; "
                "it may be False"
            )
    names = listing.order_classes(names, tuple(config.base_classes), "CK+")
    return listing.make(problems, found, names, sources, notes)


def _named(folder: pathlib.Path, problems: listing.Problems) -> list[tuple[pathlib.Path, re.Match]]:
    named = []
    for picture in listing.pictures_below(folder, problems):
        match = _NAME.fullmatch(picture.stem)
        if match is None:
            problems.add(BadImage(picture, "its name is not such as S010_004_00000017.png", _RENAME))
        elif problems.is_first(picture.stem, picture):
            named.append((picture, match))
    return named


def _folders(problems: listing.Problems) -> list[listing.Found]:
    found = []
    for picture, match in _named(problems.root, problems):
        if picture.parent == problems.root:
            problems.add(BadImage(picture, "it lies in no class's folder", "put it into one"))
        else:
            found.append(listing.Found(picture, listing.class_name(picture.parent.name), match["subject"]))
    return found


def _release(
    root: pathlib.Path, config: ConfigDict, problems: listing.Problems
) -> tuple[list[listing.Found], list[pathlib.Path], list[str]]:
    if not (root / LABELS).is_dir():
        raise UserError(f"{printable(root / LABELS)} does not exist; it is the release's folder of labels")
    sequences: dict[tuple[str, str], list[pathlib.Path]] = {}
    for picture, match in _named(root / PICTURES, problems):
        if picture.parts[-3:-1] != (match["subject"], match["sequence"]):
            problems.add(BadImage(picture, "its folders are not its subject and sequence", "put it where it belongs"))
            continue
        sequences.setdefault((match["subject"], match["sequence"]), []).append(picture)
    found, sources = [], []
    for key in sorted(sequences):
        pictures, folder = sorted(sequences[key]), root / LABELS / key[0] / key[1]
        labels = sorted(folder.glob("*_emotion.txt")) if folder.is_dir() else []
        if not labels:
            problems.ignore("pictures of sequences without a label", len(pictures))
            continue
        if len(labels) > 1:
            raise UserError(f"{printable(folder)} has {len(labels)} labels; a sequence has one")
        if len(pictures) < config.frames + bool(config.neutral):
            raise UserError(
                f"{printable(pictures[0].parent)} has {len(pictures)} pictures, too few for config.data.frames "
                f"{config.frames} and config.data.neutral {config.neutral}"
            )
        sources += labels
        name = NAMES[_label(labels[0]) - 1]
        found += [listing.Found(picture, name, key[0]) for picture in pictures[-config.frames :]]
        if config.neutral:
            found.append(listing.Found(pictures[0], NEUTRAL, key[0]))
        problems.ignore("earlier pictures of labelled sequences", len(pictures) - config.frames - config.neutral)
    _check_pictures(root, sequences)
    note = f"the last {config.frames} pictures of a labelled sequence show its expression"
    return found, sources, [note + (", the first one is neutral" if config.neutral else "")]


def _check_pictures(root: pathlib.Path, sequences: dict) -> None:
    for label in sorted((root / LABELS).rglob("*_emotion.txt")):
        if label.parts[-3:-1] not in sequences:
            raise UserError(f"{printable(label)} is of a sequence without pictures; put them into {PICTURES}")


def _label(path: pathlib.Path) -> int:
    try:
        value = float(path.read_text(encoding="utf-8-sig").strip())
    except (ValueError, OSError):
        raise UserError(f"{printable(path)} is no number; it may be 1 to {len(NAMES)}, such as 3.0000000e+00") from None
    if value not in range(1, len(NAMES) + 1):
        raise UserError(f"{printable(path)}, line 1 has label {value:g}; it may be 1 to {len(NAMES)}")
    return int(value)


DATA_SET = layouts.data_set(
    "ckplus",
    "Extended Cohn-Kanade: 123 people, 327 labelled sequences, seven expressions (Lucey et al., CVPRW 2010).",
    scan,
    {
        "data.frames": optional(whole(1), 3).means("Number of frames to read from the end of each sequence."),
        "data.neutral": optional(BOOL, False).means("Whether the first frame of each sequence is read as neutral."),
    },
)
