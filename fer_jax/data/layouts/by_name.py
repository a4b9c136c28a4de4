"""KDEF and JAFFE, whose file names say everything.

KDEF (Lundqvist, Flykt and Öhman, 1998): `AF01ANS.JPG` is session A, female 01, angry, straight. Both sessions have the
same people. The views are full left (FL), half left (HL), straight (S), half right (HR) and full right (FR);
config.data.views says which are read.

JAFFE (Lyons, Kamachi and Gyoba, 1998): `KA.AN1.39.tiff` is person KA, angry.

In which folders below manual_dir the pictures are does not matter.
"""

import pathlib
import re
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from fer_jax.config.rules import Rule, optional, several
from fer_jax.data import layouts, listing
from fer_jax.data.images import BadImage

_CODES = {"DI": "disgusted", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprised", "AN": "angry"}
KDEF_NAMES = {"AF": "afraid", **_CODES}
JAFFE_NAMES = {"FE": "afraid", **_CODES}
VIEWS = ("FL", "HL", "S", "HR", "FR")
_KDEF = re.compile(r"[AB](?P<subject>[FM]\d{2})(?P<expression>[A-Z]{2})(?P<view>FL|HL|S|HR|FR)")
_JAFFE = re.compile(r"(?P<subject>[A-Z]{2})\.(?P<expression>[A-Z]{2})\d+\.\d+")


def scan_kdef(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists KDEF's pictures below a root; raises as `scan_jaffe` does."""

    def is_read(match: re.Match) -> str:
        return "" if match["view"] in tuple(config.views) else f"pictures of views but {', '.join(config.views)}"

    return _scan(root, config, _KDEF, KDEF_NAMES, "such as AF01ANS.JPG", is_read)


def scan_jaffe(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists JAFFE's pictures below a root.

    Raises:
      UserError: a base class that does not exist, or no picture.
      BadImage: a picture's name is not of the form above, where that is an error.
    """
    return _scan(root, config, _JAFFE, JAFFE_NAMES, "such as KA.AN1.39.tiff", lambda match: "")


def _scan(
    root: pathlib.Path,
    config: ConfigDict,
    pattern: re.Pattern,
    expressions: Mapping[str, str],
    example: str,
    left_alone: Callable[[re.Match], str],
) -> listing.Listing:
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    found = []
    for picture in listing.pictures_below(root, problems):
        match = pattern.fullmatch(picture.stem.upper())
        if match is None:
            problems.add(BadImage(picture, f"its name is not {example}", "rename it or remove it"))
        elif match["expression"] not in expressions:
            words = f"its expression {match['expression']} may be one of {', '.join(expressions)}"
            problems.add(BadImage(picture, words, "rename it or remove it"))
        elif what := left_alone(match):
            problems.ignore(what)
        elif problems.is_first(picture.stem.upper(), picture):
            found.append(listing.Found(picture, expressions[match["expression"]], match["subject"]))
    names = listing.order_classes(sorted(expressions.values()), tuple(config.base_classes), "the data set")
    return listing.make(problems, found, names)


_VIEW = Rule((str,), lambda view: view in VIEWS, f"one of {', '.join(VIEWS)}")
KDEF = layouts.data_set(
    "kdef", "Karolinska Directed Emotional Faces: 70 people, seven expressions, five views (1998).", scan_kdef,
    {"data.views": optional(several(_VIEW), ("S",)).means("Camera views to read.")},
)  # fmt: skip
JAFFE = layouts.data_set("jaffe", "Japanese Female Facial Expressions: ten women, seven classes (1998).", scan_jaffe)
