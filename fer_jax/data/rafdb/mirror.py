"""The basic part of RAF-DB as it goes round: numbered folders, and tables of labels.

    <manual_dir>/train_labels.csv                           image,label: train_00001_aligned.jpg,5
    <manual_dir>/test_labels.csv
    <manual_dir>/DATASET/train/5/train_00001_aligned.jpg    or <manual_dir>/train/5/…; labels 1 … 7, or 01 … 07
    <manual_dir>/DATASET/test/7/test_0001_aligned.jpg       some copies have a folder of validation pictures too

Numbers mean what they mean in the release (`fer_jax.data.rafdb.scan.LABELS`). Tables may be missing; where they are
there they must agree with the folders.
"""

import pathlib
import re

from fer_jax.data import listing, splits, table
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError


def folder_of(root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder that has `train` and `test` of the copy that goes round; None if it is not one."""
    for folder in (root, root / "DATASET"):
        if any(re.fullmatch("0?[1-7]", one.name) and one.is_dir() for side in _sides(folder) for one in side.iterdir()):
            return folder
    return None


def _sides(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder that are called as splits."""
    return sorted(p for p in folder.iterdir() if splits.is_split(p.name) and p.is_dir()) if folder.is_dir() else []


def found(
    folder: pathlib.Path, names: tuple[str, ...], problems: listing.Problems
) -> tuple[list[listing.Found], list[pathlib.Path], list[str]]:
    """Lists the pictures, the tables that were read, and notes.

    Args:
      names: the class of every number, from 1.

    Raises:
      UserError: a folder that is no number, or a table that is not of the form above or at odds with the folders.
      BadImage: a picture in no numbered folder, or one that is in a table or in the folders alone, where that is an
        error.
    """
    sides = _sides(folder)
    pictures, sources, notes = [], [], [splits.note([side.name for side in sides])]
    for side in sides:
        numbers = _numbers(side, len(names), problems)
        table_name = f"{side.name}_labels.csv"
        path = next((p for p in (problems.root / table_name, folder / table_name) if p.is_file()), None)
        if path is None:
            notes.append(f"{table_name} does not exist; labels are the folders' numbers")
        else:
            sources.append(path)
            _compare(path, numbers, side, problems)
        test, validation = splits.side(side.name)
        pictures += [listing.Found(p, names[number - 1], None, test, validation) for p, number in numbers.items()]
    return pictures, sources, notes


def _numbers(folder: pathlib.Path, most: int, problems: listing.Problems) -> dict[pathlib.Path, int]:
    """The number of every picture below a folder."""
    numbers = {}
    for picture in listing.pictures_below(folder, problems):
        parts = picture.relative_to(folder).parts
        if len(parts) < 2:
            problems.add(BadImage(picture, "it lies in no numbered folder", "put it into one"))
        elif not (parts[0].isascii() and parts[0].isdigit() and 1 <= int(parts[0]) <= most):
            raise UserError(f"{printable(folder / parts[0])} is no label; it may be 1 to {most}")
        elif problems.is_first(f"{folder.name} {picture.name}", picture):
            numbers[picture] = int(parts[0])
    return numbers


def _compare(
    path: pathlib.Path, numbers: dict[pathlib.Path, int], folder: pathlib.Path, problems: listing.Problems
) -> None:
    """Compares a table with the folders."""
    shown, by_name, lines = printable(path), {listing.text_of(pathlib.Path(p.name)): p for p in numbers}, {}
    for line, row in table.rows(path, ("image", "label")):
        name, where = row["image"], f"{shown}, line {line}"
        if name in lines:
            raise UserError(f"{where} has {printable(name)} for the second time, after {lines[name]}")
        lines[name] = line
        if name not in by_name:
            missing = folder / row["label"] / name
            problems.add(BadImage(missing, f"line {line} of {path.name} has it and it does not exist", "put it there"))
        elif table.whole(row["label"]) != numbers[by_name[name]]:
            raise UserError(
                f"{where} has label {row['label']!r}; {printable(name)} is in the folder {numbers[by_name[name]]}"
            )
    unnamed = [p for name, p in by_name.items() if name not in lines]
    for picture in unnamed:
        problems.add(BadImage(picture, f"{path.name} does not name it", "remove it or add a line"))
        del numbers[picture]
