"""CK+ (Lucey et al., 2010): sequences from neutral to an expression, as its authors send it, or as it circulates.

    <manual_dir>/cohn-kanade-images/S005/001/S005_001_00000001.png …      the release: sequences of person S005
    <manual_dir>/Emotion/S005/001/S005_001_00000011_emotion.txt           1 … 7, of a third of the sequences none
    <manual_dir>/anger/S010_004_00000017.png                              "CK+48": a folder a class

Both folders of the release may lie one folder deeper, as its archives unpack. Of a labelled sequence of the release the
last config.data.frames pictures show its expression; the very last one is the frame that the label's name has. The
first one, frame 1, is neutral where config.data.neutral says so. Neutral is then one more class; it is no label of the
release. Sequences without a label are left alone, and counted. Of folders of classes all pictures are read, those of
one called neutral too. The release has no official split; folders of classes may lie in folders of splits.
"""

import pathlib
import re

from ml_collections import ConfigDict

from fer_jax.config.rules import BOOL, optional, whole
from fer_jax.data import layouts, listing, splits
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

NAMES = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NEUTRAL = "neutral"
PICTURES, LABELS = "cohn-kanade-images", "Emotion"
_NAME = re.compile(r"(?P<subject>S\d{3})_(?P<sequence>\d{3})_(?P<frame>\d{8})")
_NO_CLASS = re.compile(r"S?\d{3}", re.IGNORECASE)  # folders of subjects and sequences in the release
_LABEL = re.compile(_NAME.pattern + "_emotion")
_RENAME = "rename it or remove it"


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists CK+'s pictures below a root.

    Raises:
      UserError: the folder of labels is missing, folders are sequences and not classes, a label is not of the form
        above, or a base class does not exist.
      BadImage: a name is not of the form above or at odds with its folder, or a sequence lacks the frame that its label
        is of, or frame 1 where that is neutral, where that is an error.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    if pictures := _folder(root, PICTURES):
        found, sources, notes = _release(pictures, config, problems)
        names = [*NAMES, NEUTRAL] if config.neutral else NAMES
    else:
        (found, notes), sources = _folders(problems), []
        notes.append("labels are those of the folders, subjects of the file names")
        notes.append("config.data.frames is of sequences: all pictures of the folders are read")
        names = sorted({one.class_name for one in found})
        if config.neutral and NEUTRAL not in names:
            raise UserError(
                f"config.data.neutral is True, and {printable(root)} has a folder a class and none called {NEUTRAL}; "
                "it may be False"
            )
    names = listing.order_classes(names, tuple(config.base_classes), "CK+")
    return listing.make(problems, found, names, sources, notes)


def _folder(root: pathlib.Path, name: str) -> pathlib.Path | None:
    """The release's folder of a name, in the root or in one of its folders."""
    if (root / name).is_dir():
        return root / name
    there = sorted(p for p in root.glob(f"*/{name}") if p.is_dir() and not listing.is_litter(p.parent))
    if len(there) > 1:
        raise UserError(f"{printable(there[0])} and {printable(there[1])} both exist; there may be one folder {name}")
    return there[0] if there else None


def _named(folder: pathlib.Path, problems: listing.Problems) -> list[tuple[pathlib.Path, re.Match]]:
    named = []
    for picture in listing.pictures_below(folder, problems):
        match = _NAME.fullmatch(picture.stem)
        if match is None:
            problems.add(BadImage(picture, "its name is not such as S010_004_00000017.png", _RENAME))
        elif problems.is_first(picture.stem, picture):
            named.append((picture, match))
    return named


def _folders(problems: listing.Problems) -> tuple[list[listing.Found], list[str]]:
    """The pictures of folders of classes, within folders of splits or around them, and a note on the splits."""
    found, sides = [], set()
    for picture, match in _named(problems.root, problems):
        above = picture.relative_to(problems.root).parts[:-1]
        split = next((name for name in above if splits.is_split(name)), None)
        within = [name for name in above if not splits.is_split(name)]
        if not within:
            problems.add(BadImage(picture, "it lies in no class's folder", "put it into one"))
            continue
        if _NO_CLASS.fullmatch(within[-1]):
            raise UserError(
                f"{printable(picture.parent)} is a folder of the release and no class; config.data.manual_dir may be "
                f"the folder that holds {PICTURES} and {LABELS}"
            )
        sides.add(split)
        side = splits.side(split) if split else (None, False)
        found.append(listing.Found(picture, listing.class_name(within[-1]), match["subject"], *side))
    if len(sides) > 1 and None in sides:
        alone = next(printable(one.path) for one in found if one.official_test is None)
        raise UserError(
            f"{alone} is in no split, and other pictures are in {sorted(sides - {None})[0]}; put it into one"
        )
    return found, [splits.note(sorted(sides))] if sides - {None} else []


def _release(
    pictured: pathlib.Path, config: ConfigDict, problems: listing.Problems
) -> tuple[list[listing.Found], list[pathlib.Path], list[str]]:
    labelled = _folder(problems.root, LABELS)
    if labelled is None:
        raise UserError(f"{printable(problems.root / LABELS)} does not exist; it is the release's folder of labels")
    sequences: dict[tuple[str, str], list[pathlib.Path]] = {}
    for picture, match in _named(pictured, problems):
        if picture.parts[-3:-1] != (match["subject"], match["sequence"]):
            problems.add(BadImage(picture, "its folders are not its subject and sequence", "put it where it belongs"))
            continue
        sequences.setdefault((match["subject"], match["sequence"]), []).append(picture)
    found, sources = [], []
    for key in sorted(sequences):
        pictures, folder = sorted(sequences[key]), labelled / key[0] / key[1]
        labels = sorted(folder.glob("*_emotion.txt")) if folder.is_dir() else []
        if not labels:
            problems.ignore("pictures of sequences without a label", len(pictures))
            continue
        if len(labels) > 1:
            raise UserError(f"{printable(folder)} has {len(labels)} labels; a sequence has one")
        if problem := _at_odds(labels[0], pictures[-1], key):
            problems.add(BadImage(labels[0], problem, "put the right files there"))
            continue
        if len(pictures) < config.frames + bool(config.neutral):
            raise UserError(
                f"{printable(pictures[0].parent)} has {len(pictures)} pictures, too few for config.data.frames "
                f"{config.frames} and config.data.neutral {config.neutral}"
            )
        sources += labels
        name = NAMES[_label(labels[0]) - 1]
        found += [listing.Found(picture, name, key[0]) for picture in pictures[-config.frames :]]
        if config.neutral and _frame(pictures[0]) != 1:
            problem = f"it is the first picture of its sequence and frame {_frame(pictures[0])}; frame 1 is neutral"
            problems.add(BadImage(pictures[0], problem, "put that there"))
        elif config.neutral:
            found.append(listing.Found(pictures[0], NEUTRAL, key[0]))
        problems.ignore("earlier pictures of labelled sequences", len(pictures) - config.frames - config.neutral)
    _check_pictures(labelled, sequences)
    note = f"the last {config.frames} pictures of a labelled sequence show its expression"
    return found, sources, [note + (", the first one is neutral" if config.neutral else "")]


def _frame(path: pathlib.Path) -> int:
    return int(_NAME.match(path.stem)["frame"])


def _at_odds(label: pathlib.Path, last: pathlib.Path, key: tuple[str, str]) -> str | None:
    """What a label's name has against its folder or the last picture."""
    match = _LABEL.fullmatch(label.stem)
    if match is None or (match["subject"], match["sequence"]) != key:
        return f"its name is not such as {'_'.join(key)}_00000017_emotion.txt, as its folders have it"
    if _frame(label) != _frame(last):
        return f"its name is of frame {_frame(label)}, and the sequence's last picture is frame {_frame(last)}"
    return None


def _check_pictures(labelled: pathlib.Path, sequences: dict) -> None:
    for label in sorted(labelled.rglob("*_emotion.txt")):
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
