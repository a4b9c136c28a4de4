"""Pictures with `metadata.csv` or `metadata.jsonl` beside them, as model hubs lay out folders of images.

    <manual_dir>/metadata.csv               file_name,label,subject: paths are relative to the table's folder
    <manual_dir>/train/metadata.jsonl       {"file_name": "0001.png", "label": "happy"}; also validation, test

A table in a folder that is called as a split is that split's; so is a row whose path begins with one. A column `split`
says it, too, and may not contradict the folders. Labels are text or numbers. A subject may be left out, in all rows.
"""

import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from fer_jax.config.rules import NAME, optional
from fer_jax.data import layouts, listing, splits, table
from fer_jax.data.images import BadImage, printable
from fer_jax.data.layouts.labels import Labels
from fer_jax.errors import UserError

TABLES = ("metadata.csv", "metadata.jsonl")
PATH, SUBJECT, SPLIT = "file_name", "subject", "split"


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists the pictures that the tables below a root name.

    Raises:
      UserError: there is no table or two in one folder, or a row that is not of the form above; file and row are named.
      BadImage: a picture that a table names and that is not there, where that is an error.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    tables = [p for p in listing.files_below(root, problems) if p.name.lower() in TABLES]
    if not tables:
        raise UserError(f"{printable(root)} has no {' or '.join(TABLES)}, in no folder of it")
    for path in tables:
        if sum(other.parent == path.parent for other in tables) > 1:
            raise UserError(f"{printable(path.parent)} has both {' and '.join(TABLES)}; it may have one of them")
    labels, found, lines, subjects = Labels(), [], {}, {}
    pictures = table.Pictures(problems.root)
    for path in tables:
        for line, row in _rows(path, config.label_column):
            where = f"{printable(path)}, line {line}"
            one = _found(path, line, row, pictures, problems)
            name = labels.name_of(row["label"], where)
            subjects.setdefault(SUBJECT in row, where)
            if len(subjects) > 1:
                raise UserError(f"{subjects[False]} has no {SUBJECT}, and {subjects[True]} has one; give all or none")
            if one.path in lines:
                raise UserError(f"{where} has {printable(row[PATH])} for the second time, after {lines[one.path]}")
            lines[one.path] = where
            if not (one.path.exists() or one.path.is_symlink()):
                problem = f"line {line} of {path.name} has it and it does not exist"
                problems.add(BadImage(one.path, problem, "put it there"))
                continue
            found.append(one._replace(class_name=name))
    problems.ignore("pictures that no table names", pictures.unnamed())
    sides = {one.official_test is None for one in found}
    notes = labels.notes()
    if sides == {True, False}:
        notes.append("some pictures are of no split: they are training ones")
        found = [one._replace(official_test=bool(one.official_test)) for one in found]
    names = listing.order_classes(labels.ordered(), tuple(config.base_classes), "the tables")
    return listing.make(problems, found, names, tables, notes)


def _rows(path: pathlib.Path, label: str) -> Iterator[tuple[int, dict]]:
    """Line and row, the label under the key "label"; a CSV file's numbers are numbers."""
    if path.name.lower().endswith(".csv"):
        for line, row in table.rows(path, (PATH, label), (SUBJECT, SPLIT), paths=PATH):
            number = table.whole(row[label])
            yield line, {**row, "label": row[label] if number is None else number}
        return
    for line, row in table.json_lines(path):
        where = f"{printable(path)}, line {line}"
        table.check_names(row, (SUBJECT, SPLIT), where)
        for key in (PATH, label):
            if key not in row:
                raise UserError(f"{where} has no {key}")
        for key in (PATH, SUBJECT, SPLIT):
            text = str(row.get(key, "?")).strip()
            if not text or not isinstance(row.get(key, ""), str | int) or (key != PATH and table.is_missing(text)):
                raise UserError(f"{where} has {key} {row[key]!r}; it may be a text")
        texts = {key: str(row[key]).strip() for key in (PATH, SUBJECT, SPLIT) if key in row}
        yield line, {**texts, "label": row[label]}


def _found(
    path: pathlib.Path, line: int, row: dict, pictures: table.Pictures, problems: listing.Problems
) -> listing.Found:
    where, name = f"{printable(path)}, line {line}", row[PATH]
    if not table.is_inside(name):
        raise UserError(f"{where} has {PATH} {name!r}; it may be a path below the table's folder")
    below = path.parent.relative_to(problems.root)
    whole = "/".join((*map(listing.text_of, map(pathlib.PurePath, below.parts)), name))
    picture = pictures.find(whole) or problems.root / whole.replace("\\", "/")
    if SPLIT in row and not splits.is_split(row[SPLIT]):
        raise UserError(f"{where} has split {row[SPLIT]!r}; it may be train, validation or test")
    above = pathlib.PurePosixPath(whole.replace("\\", "/")).parts[:-1]
    folder = next((part for part in above if splits.is_split(part)), None)
    side = row.get(SPLIT) or folder
    if folder and splits.side(side) != splits.side(folder):
        raise UserError(f"{where} has split {side!r}, and {printable(name)} is in the folder {folder}; they may agree")
    test, validation = splits.side(side) if side else (None, False)
    return listing.Found(picture, "", row.get(SUBJECT), test, validation)


DATA_SET = layouts.data_set(
    "hub_folder",
    "Pictures with metadata.csv or metadata.jsonl beside them.",
    scan,
    {"data.label_column": optional(NAME, "label").means("Column of the labels.")},
)
