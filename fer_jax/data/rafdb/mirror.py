"""The basic part of RAF-DB as it goes round: numbered folders, and tables of labels.

    <manual_dir>/train_labels.csv                           image,label: train_00001_aligned.jpg,5
    <manual_dir>/test_labels.csv
    <manual_dir>/DATASET/train/5/train_00001_aligned.jpg    or <manual_dir>/train/5/…; labels 1 … 7
    <manual_dir>/DATASET/test/7/test_0001_aligned.jpg

Numbers mean what they mean in the release (`fer_jax.data.rafdb.scan.LABELS`). Tables may be missing; where they are
there they must agree with the folders.
"""

import pathlib

from fer_jax.data import listing, table
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

SIDES = {"train": False, "test": True}


def folder_of(root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder that has `train` and `test` of the copy that goes round; None if it is not one."""
    for folder in (root, root / "DATASET"):
        if any((folder / side / str(number)).is_dir() for side in SIDES for number in range(1, 8)):
            return folder
    return None


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
    pictures, sources, notes = [], [], []
    for side, test in SIDES.items():
        if not (folder / side).is_dir():
            notes.append(f"{side} does not exist")
            continue
        numbers = _numbers(folder / side, len(names), problems)
        path = next(
            (p for p in (problems.root / f"{side}_labels.csv", folder / f"{side}_labels.csv") if p.is_file()), None
        )
        if path is None:
            notes.append(f"{side}_labels.csv does not exist; labels are the folders' numbers")
        else:
            sources.append(path)
            _compare(path, numbers, folder / side, problems)
        pictures += [listing.Found(p, names[number - 1], None, test) for p, number in numbers.items()]
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
