"""FER2013 (Goodfellow et al., 2013) as the CSV file that goes round, with the votes of FER+ (Barsoum et al., 2016).

    <manual_dir>/fer2013.csv            emotion,pixels,Usage: 0 … 6, 48 · 48 grey values, Training …
    <manual_dir>/fer2013new.csv         with config.data.labels fer_plus: FER+'s votes, a line for each of the pictures

`icml_face_data.csv`, with the same columns in another order, and `train.csv`, without Usage, are read too, by
config.data.table. PublicTest is the official validation set, PrivateTest the official test set. Who is in a picture the
release does not say.

FER+ counts the votes of ten people among eight expressions, unknown and no face. As its authors' code has it for a
majority, single votes are dropped, and a picture has the class with more than half of what is left. A picture where
that is none, unknown or no face is left out, as is one that the authors removed; they are counted. 31,412 of 35,887
remain. The target "soft_label" holds the shares of the same votes among the expressions.
"""

import collections
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from fer_jax.config.rules import NAME, one_of, optional
from fer_jax.data import layouts, listing, splits, table
from fer_jax.data.arrays import SOFT_LABEL
from fer_jax.data.images import printable
from fer_jax.errors import UserError

SIDE = 48
NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
OTHER_VOTES = ("unknown", "NF")
VOTES = "fer2013new.csv"
IMAGE = "Image name"  # in FER+'s table; empty where its authors removed the picture
_IMAGE = re.compile(r"fer(\d{7})\.png")


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists the rows of the CSV file, and reads their pixels.

    Raises:
      UserError: a file is missing, or a line of it is not of the form above; file and line are named.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    path = root / config.table
    pixels, labels, usages = _read(path)
    voting = config.labels == "fer_plus"
    names = VOTED if voting else NAMES
    names = listing.order_classes(names, tuple(config.base_classes), "FER+" if voting else "FER2013")
    votes = _votes(root / VOTES, usages, config.table) if voting else None
    found, notes = [], [] if any(usages) else [f"{config.table} has no column Usage: there is no official split"]
    for i, usage in enumerate(usages):
        test, validation = splits.side(usage) if usage else (None, False)
        if votes is None:
            found.append(listing.Found(path, NAMES[labels[i]], None, test, validation, i + 2))
            continue
        counted, problem = _majority(votes[i])
        if problem:
            problems.ignore(problem)
            continue
        counts = dict(zip(VOTED, counted, strict=False))
        shares = np.asarray([counts[name] for name in names]) / sum(counts.values())
        targets = ((SOFT_LABEL, tuple(float(share) for share in shares)),)
        found.append(listing.Found(path, VOTED[counted.argmax()], None, test, validation, i + 2, targets))
    if voting and found:
        same = sum(one.class_name.startswith(NAMES[labels[one.row - 2]][:3]) for one in found)
        notes.append(f"{same / len(found):.0%} of the pictures have FER2013's own label")
    sources = [path, root / VOTES] if voting else [path]
    return listing.make(problems, found, names, sources, notes, read=lambda entry: _picture(pixels[entry.row - 2]))


def _picture(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.reshape(SIDE, SIDE, 1), 3, -1)


def _read(path: pathlib.Path) -> tuple[np.ndarray, list[int], list[str]]:
    """Pixels u8[N, 48 · 48], labels and usages; a usage is "" where there is no such column."""
    shown, pixels, labels, usages = printable(path), [], [], []
    for line, row in table.rows(path, ("emotion", "pixels"), ("Usage",)):
        where = f"{shown}, line {line}"
        if line != len(labels) + 2:
            raise UserError(f"{where} follows on an empty line; the votes of FER+ go by the number of a line")
        labels.append(_whole(row["emotion"], len(NAMES) - 1, f"{where} has emotion"))
        try:
            values = np.array(row["pixels"].split(), np.int64)
        except (ValueError, OverflowError):
            raise UserError(f"{where} has pixels that are no whole numbers") from None
        if values.size != SIDE * SIDE:
            raise UserError(f"{where} has {values.size} pixels; it may have {SIDE * SIDE} ({SIDE} × {SIDE})")
        if values.min() < 0 or values.max() > 255:
            raise UserError(f"{where} has pixels from {values.min()} to {values.max()}; they may be 0 to 255")
        pixels.append(values.astype(np.uint8))
        usage = row.get("Usage", "")
        if usage and not splits.is_split(usage):
            raise UserError(f"{where} has Usage {usage!r}; it may be Training, PublicTest or PrivateTest")
        usages.append(usage)
    if not pixels:
        raise UserError(f"{shown} has no rows; a row is emotion,pixels,Usage")
    return np.stack(pixels), labels, usages


def _whole(text: str, most: int, what: str) -> int:
    number = table.whole(text)
    if number is None or not 0 <= number <= most:
        raise UserError(f"{what} {text!r}; it may be 0 to {most}")
    return number


def _majority(votes: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Returns the votes that count, i[10], and why there is no class, else ""."""
    if votes is None:
        return np.zeros(0, int), "pictures that FER+ removed"
    counted = np.where(votes > 1, votes, 0)
    if 2 * counted.max() <= counted.sum():
        return counted, "pictures without a majority of the votes"
    return counted, "" if counted.argmax() < len(VOTED) else "pictures voted unknown or no face"


def _votes(path: pathlib.Path, usages: list[str], beside: str) -> list[np.ndarray | None]:
    """Votes i[10], of the eight expressions, unknown and no face, of every picture; None where it was removed."""
    shown, votes = printable(path), []
    columns = (*VOTED, *OTHER_VOTES)
    rows = list(table.rows(path, columns, ("Usage", IMAGE), blanks=(IMAGE,)))
    _check_names(rows, shown, beside)
    for (line, row), usage in zip(rows, usages, strict=False):
        if usage and row.get("Usage", usage) != usage:
            raise UserError(f"{shown}, line {line} has Usage {row['Usage']!r}, the picture's is {usage!r}")
        counts = [_whole(row[name], 99, f"{shown}, line {line} has {name}") for name in columns]
        votes.append(np.asarray(counts) if row.get(IMAGE, "?") else None)
    if len(rows) != len(usages):
        last = f"line {rows[-1][0]}" if rows else "the header"
        raise UserError(
            f"{shown} ends with {last} and has {len(rows)} rows; it may have one for each of {len(usages)} pictures of "
            f"{beside}"
        )
    return votes


def _check_names(rows: Sequence[tuple[int, dict[str, str]]], shown: str, beside: str) -> None:
    """Checks that the names of pictures go as in the authors' table, whose rows are those of FER2013 in order.

    The numbers in them rise from 0. A picture that was removed has a number of its own or none. A copy of another
    picture may have that one's name.
    """
    times = collections.Counter(row.get(IMAGE, "") for _, row in rows)
    least = most = 0
    for line, row in rows:
        name = row.get(IMAGE, "")
        match = _IMAGE.fullmatch(name)
        if match and least <= int(match[1]) <= most:
            least = most = int(match[1]) + 1
        elif not name or (match and times[name] > 1):
            most += 1
        else:
            right = f"fer{least:07}.png" + (f" to fer{most:07}.png" if most > least else "")
            raise UserError(
                f"{shown}, line {line} has {IMAGE} {name!r}; it may be {right}, since its rows are those of {beside}"
            )


DATA_SET = layouts.data_set(
    "fer2013",
    "FER2013: 35,887 faces of 48 × 48 pixels, seven expressions (Goodfellow et al., 2013; arXiv 1307.0414).",
    scan,
    {
        "data.table": optional(NAME, "fer2013.csv").means("File name of the table of pictures."),
        "data.labels": optional(one_of("fer2013", "fer_plus"), "fer2013").means("Whose labels to read."),
    },
)
