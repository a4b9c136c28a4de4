"""The files of RAF-DB (Li, Deng and Du, CVPR 2017), aligned pictures, laid out as its authors send it.

    <manual_dir>/basic/EmoLabel/list_patition_label.txt        lines such as "train_00001.jpg 5", labels 1 … 7
    <manual_dir>/basic/Image/aligned/train_00001_aligned.jpg
    <manual_dir>/compound/EmoLabel/list_patition_label.txt     labels 1 … 11
    <manual_dir>/compound/Image/aligned/…

The copy of the basic part that goes round has another form (`fer_jax.data.rafdb.mirror`), which is read too.

The layout and the labels' meaning are those of the release's own readme as public loaders of the basic part agree on
them; no copy of the release was at hand, and the compound part is taken to have the same form. The official split is
the first part of a file's name. Who is in a picture the release does not say.
"""

import pathlib
import re

from fer_jax.data import listing
from fer_jax.data.images import BadImage, printable
from fer_jax.data.rafdb import mirror
from fer_jax.errors import UserError

LABELS = {
    "basic": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "compound": (
        "happily surprised",
        "happily disgusted",
        "sadly fearful",
        "sadly angry",
        "sadly surprised",
        "sadly disgusted",
        "fearfully angry",
        "fearfully surprised",
        "angrily surprised",
        "angrily disgusted",
        "disgustedly surprised",
    ),
}
PARTS = (*LABELS, "both")
OFFICIAL = "the official split is kept: its test images are the test set of every fold"
_LINE = re.compile(r"(?P<stem>(?P<split>train|test)_\d+)\.jpg\s+(?P<label>\d+)")


def scan(root: pathlib.Path, part: str, base_classes: tuple[str, ...], on_bad_image: str) -> listing.Listing:
    """Lists the files of one part of the release under a root, or of both.

    Args:
      part: `basic`, `compound` or `both`, whose classes are the basic ones, then the compound ones.
      base_classes: the classes that come first; the others keep the release's order.

    Raises:
      UserError: a list missing or a line of it not of the form above, or a base class that the part does not have.
      BadImage: a picture that the list names and the folder lacks, where that is an error.
    """
    if part not in PARTS:
        raise UserError(f"config.data.part is {part!r}; it may be one of {', '.join(PARTS)}")
    parts = tuple(LABELS) if part == "both" else (part,)
    listing.existing_folder(root)
    names = listing.order_classes((n for p in parts for n in LABELS[p]), base_classes, f"RAF-DB's part {part}")
    problems = listing.Problems(root, on_bad_image)
    copy = mirror.folder_of(root)
    if copy is not None:
        if part != "basic":
            raise UserError(
                f"config.data.part is {part!r}; {printable(root)} has numbered folders, and it may be basic"
            )
        pictures, sources, notes = mirror.found(copy, LABELS["basic"], problems)
        return listing.make(problems, pictures, names, sources, notes)
    pictures, sources = [], []
    for one in parts:
        path = root / one / "EmoLabel" / "list_patition_label.txt"
        listed = _read_list(path, one)
        folder = root / one / "Image" / "aligned"
        if not folder.is_dir():
            raise UserError(f"{printable(folder)} does not exist; it is the release's folder of aligned pictures")
        sources.append(path)
        for stem, (name, test) in listed.items():
            picture = folder / f"{stem}_aligned.jpg"
            if picture.is_symlink() or picture.exists():
                pictures.append(listing.Found(picture, name, None, test))
            else:
                problems.add(BadImage(picture, f"{path.name} lists it and it does not exist", "put it there"))
        named = {f"{stem}_aligned.jpg" for stem in listed}
        others = sum(p.name not in named for p in listing.files_below(folder, problems))
        problems.ignore(f"files in {one}/Image/aligned that the list does not name", others)
    notes = [OFFICIAL] if any(one.official_test for one in pictures) else []
    return listing.make(problems, pictures, names, sources, notes)


def _read_list(path: pathlib.Path, part: str) -> dict[str, tuple[str, bool]]:
    """Class name and whether it is a test image, by the file's stem."""
    shown = printable(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror}); it is the release's list of labels") from None
    except UnicodeDecodeError:
        raise UserError(f"{shown} is not text; it is the release's list of labels") from None
    labels: dict[str, tuple[str, bool]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(f"{shown}, line {number} is {line!r}; it may be such as 'train_00001.jpg 5'")
        label = int(match["label"])
        if not 1 <= label <= len(LABELS[part]):
            raise UserError(f"{shown}, line {number} has label {label}; it may be 1 to {len(LABELS[part])}")
        if match["stem"] in labels:
            raise UserError(f"{shown}, line {number} lists {match['stem']}.jpg for the second time")
        labels[match["stem"]] = LABELS[part][label - 1], match["split"] == "test"
    return labels
