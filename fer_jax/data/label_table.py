"""`label_table`: the labels of pictures that are not there, for runs on their action units alone.

    config.data.labels_csv = "labels.csv"       file,label,subject; subject may be left out, and a column `split` of
                                                train, validation and test makes an official split
    config.data.units.path = "openface/"        the detector's tables (docs/units.md)
    config.data.units.input = True

No picture is opened, and none needs to exist.
"""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from fer_jax.config.places import expanded
from fer_jax.config.rules import TEXT, optional, several
from fer_jax.data import listing, splits, table
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.images import printable
from fer_jax.errors import UserError


def _load(config: ConfigDict) -> FaceArrays:
    path = expanded(config.labels_csv, "config.data.labels_csv")
    rows, lines, names = [], {}, []
    for line, row in table.rows(path, ("file", "label"), ("subject", "split"), "config.data.labels_csv"):
        # Units are joined by names, whatever the system that wrote the table.
        file = str(pathlib.PurePosixPath(listing.one_spelling(row["file"]).replace("\\", "/"))).casefold()
        if file in lines:
            raise UserError(
                f"{printable(path)}, line {line} has {row['file']} for the second time, after {lines[file]}"
            )
        if "split" in row and not splits.is_split(row["split"]):
            raise UserError(
                f"{printable(path)}, line {line} has split {row['split']!r}; it may be train or test, or validation"
            )
        lines[file] = line
        names.append(table.label(row["label"], f"{printable(path)}, line {line}"))
        rows.append(row)
    if not rows:
        raise UserError(f"config.data.labels_csv {printable(path)} has no rows; it may have one for each picture")
    classes = listing.order_classes(sorted(set(names)), tuple(config.base_classes), printable(path))
    labels, known = np.asarray([classes.index(name) for name in names], np.int32), "subject" in rows[0]
    shown = [listing.one_spelling(row["file"]) for row in rows]
    subjects = _numbered([row["subject"] for row in rows]) if known else listing.spread(shown, names)
    sides = [splits.side(row.get("split", "train")) for row in rows]
    listing.check_sides((row["file"], row.get("subject"), *side) for row, side in zip(rows, sides, strict=True))
    test, validation = zip(*sides, strict=True)
    return FaceArrays(
        np.zeros((len(rows), config.image_size, config.image_size, 3), np.uint8), labels,
        np.asarray(subjects, np.int32), classes,
        {"split_by": "subject" if known else "image", "notes": [] if known else [listing.SUBJECTS_UNKNOWN]},
        np.asarray(test) if any(test) else None, files=tuple(row["file"] for row in rows),
        official_validation=np.asarray(validation) if any(validation) else None,
    )  # fmt: skip


def _numbered(subjects: list[str]) -> list[int]:
    named = [listing.subject_name(one) for one in subjects]
    number = {name: i for i, name in enumerate(sorted(set(named)))}
    return [number[name] for name in named]


def _complaint(config: ConfigDict) -> str | None:
    if not config.data.units.path:
        return "data.units.path is ''; with label_table, which has no pictures, it may be a table of action units"
    if not config.data.units.input:
        return "data.units.input is False; with label_table, which has no pictures, it may be True"
    return None


DATA_SET = DataSet(
    {
        "data.labels_csv": TEXT.means("CSV file of names, labels and subjects; no picture is read."),
        "data.base_classes": optional(several(TEXT, 0), ()).means(
            "Names of the classes of the base task; an empty tuple leaves the data set's order."
        ),
    },
    _load,
    _complaint,
)
