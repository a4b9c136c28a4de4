"""AffectNet (Mollahosseini, Hasani and Mahoor, 2017), the part with labels by hand, as its authors send it.

    <manual_dir>/train_set/images/0.jpg             also val_set, which is taken for the official test set
    <manual_dir>/train_set/annotations/0_exp.npy    the expression, 0 … 7; _val.npy and _aro.npy valence and arousal

The targets "valence" and "arousal" are -1 … 1. The release has no test set; its authors keep that to themselves, and
papers test on val_set. Who is in a picture it does not say.
"""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from fer_jax.data import layouts, listing
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

NAMES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
NO_EXPRESSION = {8: "none", 9: "uncertain", 10: "no face"}
PARTS = {"train_set": False, "val_set": True}


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists the files of the release under a root.

    Raises:
      UserError: a folder is missing, or a base class does not exist.
      BadImage: a picture without annotation, an annotation without picture, one that cannot be read or is out of range,
        where that is an error.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    names = listing.order_classes(NAMES, tuple(config.base_classes), "AffectNet")
    parts = {part: test for part, test in PARTS.items() if (root / part).is_dir()}
    if not parts:
        raise UserError(f"{printable(root)} has neither {' nor '.join(PARTS)}; it may be the folder that holds them")
    found, sources, notes = [], [], [f"{part} does not exist" for part in PARTS if part not in parts]
    for part, test in parts.items():
        for inside in ("images", "annotations"):
            if not (root / part / inside).is_dir():
                raise UserError(f"{printable(root / part / inside)} does not exist; it is part of the release")
        found += _part(root / part, test, problems, sources)
    if "val_set" in parts:
        notes.append("val_set is the official test set: the release has no other")
    others = sorted(p for p in root.iterdir() if p.is_dir() and p.name not in PARTS and not listing.is_litter(p))
    notes += [f"{printable(folder.name)} is no part of the release and is not read" for folder in others]
    return listing.make(problems, found, names, sources, notes)


def _part(folder: pathlib.Path, test: bool, problems: listing.Problems, sources: list) -> list[listing.Found]:
    found, used = [], set()
    annotations = {p.name: p for p in listing.files_below(folder / "annotations", problems)}
    for picture in listing.pictures_below(folder / "images", problems):
        if not problems.is_first(f"{folder.name} {picture.stem}", picture):
            continue
        arrays = {what: f"{picture.stem}_{what}.npy" for what in ("exp", "val", "aro")}
        used.update(arrays.values())
        try:
            values = {what: _number(annotations, folder / "annotations" / name) for what, name in arrays.items()}
            expression = _expression(values["exp"], folder / "annotations" / arrays["exp"])
            if expression in NO_EXPRESSION:
                problems.ignore(f"pictures whose expression is {NO_EXPRESSION[expression]}")
                continue
            for what in ("val", "aro"):
                if not -1 <= values[what] <= 1:
                    raise _bad(folder / "annotations" / arrays[what], f"it is {values[what]:g}; it may be -1 to 1")
        except BadImage as error:
            problems.add(error)
            continue
        sources += [annotations[name] for name in arrays.values()]
        targets = (("valence", values["val"]), ("arousal", values["aro"]))
        found.append(listing.Found(picture, NAMES[expression], None, test, targets=targets))
    for name in sorted(annotations.keys() - used):
        if name.endswith("_exp.npy"):
            problems.add(_bad(annotations[name], "its picture does not exist", "put it into images"))
        elif not name.endswith(("_lnd.npy", "_val.npy", "_aro.npy")):
            problems.ignore("files among the annotations that are none")
    return found


def _bad(path: pathlib.Path, problem: str, remedy: str = "take the release's again") -> BadImage:
    return BadImage(path, problem, remedy)


def _number(annotations: dict[str, pathlib.Path], path: pathlib.Path) -> float:
    """Reads the one number of an annotation, which the release keeps as a text.

    Raises:
      BadImage: it is not there, or holds something else.
    """
    if path.name not in annotations:
        raise _bad(path, "it does not exist")
    try:
        value = np.load(path, allow_pickle=False)
        if value.size != 1:
            raise ValueError(f"{value.size} values")
        if value.dtype.kind not in "iufUS":
            raise ValueError(f"of type {value.dtype}")
        number = float(value.reshape(-1)[0])
    except Exception as error:  # on a damaged file NumPy raises whatever comes
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _bad(path, f"it is no array of one number ({why[:80]})") from None
    return number


def _expression(value: float, path: pathlib.Path) -> int:
    if value not in range(len(NAMES) + len(NO_EXPRESSION)):
        raise _bad(path, f"it is {value:g}; it may be 0 to {len(NAMES) + len(NO_EXPRESSION) - 1}")
    return int(value)


DATA_SET = layouts.data_set(
    "affectnet",
    "AffectNet: faces from the web with eight expressions, valence and arousal (arXiv 1708.03985).",
    scan,
)
