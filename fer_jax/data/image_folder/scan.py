"""Any labelled pictures: a folder a class, or a table.

    <manual_dir>/<class>/….jpg                             folders within a class's folder may be of any depth
    <manual_dir>/<split>/<class>/….jpg                     or <class>/<split>/; splits such as train, valid and test
    <manual_dir>/labels.csv                                with config.data.labels_csv=labels.csv: file,label,subject

A table is CSV in UTF-8 with a header; `file` is relative to manual_dir, `subject` may be left out, and a column
`split` of `train`, `validation` and `test` makes an official split. Names of classes and subjects count in lower case.
"""

import pathlib
import re

from fer_jax.config.places import expanded
from fer_jax.data import listing, splits, table
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError


def scan(
    root: pathlib.Path, labels_csv: str, subject_pattern: str, base_classes: tuple[str, ...], on_bad_image: str
) -> listing.Listing:
    """Lists the pictures under a root.

    Args:
      labels_csv: the table's path, relative to the root or absolute; "" for a folder a class.
      subject_pattern: a regular expression with a group `subject`, searched in a picture's path relative to the
        root; "" where a table has the subject or nobody knows it.
      base_classes: the classes that come first; the others follow in the order of the alphabet.

    Raises:
      UserError: a folder or the table missing, a row of it not of the form above, or a base class that is not there.
      BadImage: a picture in no class's folder, one that the table names and that is not there, or one whose path the
        pattern does not fit, where that is an error.
    """
    problems = listing.Problems(listing.existing_folder(root), on_bad_image)
    pattern = re.compile(subject_pattern) if subject_pattern else None
    if labels_csv:
        path = root / expanded(labels_csv, "config.data.labels_csv")
        (pictures, names), notes, sources = _from_table(path, pattern, problems), [], [path]
    else:
        pictures, names, notes = _from_folders(pattern, problems)
        if not base_classes:
            _check_are_classes(root, pictures)
        sources = []
    names = listing.order_classes(sorted(names), base_classes, labels_csv or printable(root))
    return listing.make(problems, pictures, names, sources, notes)


def _from_folders(
    pattern: re.Pattern | None, problems: listing.Problems
) -> tuple[list[listing.Found], set[str], list[str]]:
    """The pictures, the class names of all folders, and what was recognised."""
    root, files = problems.root, []
    for picture in listing.files_below(root, problems):
        if not listing.is_picture_name(picture):
            ignored = "tables of metadata (config.data.name hub_folder reads them)" if _is_metadata(picture) else ""
            problems.ignore(ignored or "files without a picture's extension")
        else:
            files.append(picture)
    layout = splits.of_folders(root, [picture for picture in files if picture.parent != root])
    least = 3 if layout else 2
    pictures: list[listing.Found] = []
    for picture in files:
        parts = picture.relative_to(root).parts
        if len(parts) < least:
            problems.add(BadImage(picture, "it lies in no class's folder", "put it into one"))
            continue
        test, validation = splits.side(parts[layout.depth]) if layout else (None, False)
        name = _class_of(parts[1 if layout and layout.depth == 0 else 0])
        _append(pictures, listing.Found(picture, name, None, test, validation), pattern, problems)
    # Of the folders, not of what is in them, as a table's are of its rows: an empty class is reported later.
    above = [root] if layout is None or layout.depth else [p for p in _folders(root) if splits.is_split(p.name)]
    names = {_class_of(p.name) for folder in above for p in _folders(folder)}
    return pictures, names, [layout.note] if layout else []


def _check_are_classes(root: pathlib.Path, pictures: list[listing.Found]) -> None:
    """Checks that the folders that count as classes do not look like subjects, splits or folds.

    They do if all have the same folders, and the pattern finds no subjects within them.
    """
    inner, subjects = {}, {}
    for one in pictures:
        folders = [name for name in one.path.relative_to(root).parts[:-1] if not splits.is_split(name)]
        inner.setdefault(one.class_name, set()).update(folders[1:2])
        subjects.setdefault(one.class_name, set()).add(one.subject)
    first = next(iter(inner.values()), set())
    alike = len(inner) > 1 and len(first) > 1 and all(each == first for each in inner.values())
    if alike and all(len(each) == 1 for each in subjects.values()):
        outer, within = (", ".join(printable(name) for name in sorted(each)[:3]) for each in (inner, first))
        raise UserError(
            f"{printable(root)} has folders such as {outer}, and each has folders such as {within}; outer folders may "
            "be classes (config.data.base_classes may name some, config.data.subject_pattern may find subjects in "
            "paths), or splits called train, valid and test; subjects may be in a table (config.data.labels_csv)"
        )


def _is_metadata(path: pathlib.Path) -> bool:
    return path.name.lower() in ("metadata.csv", "metadata.jsonl")


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in folder.iterdir() if p.is_dir() and not listing.is_litter(p)]


def _class_of(folder: str) -> str:
    return listing.class_name(listing.text_of(pathlib.PurePath(folder)))


def _append(pictures: list, one: listing.Found, pattern: re.Pattern | None, problems: listing.Problems) -> None:
    """Adds a picture, its subject filled in from its path where there is a pattern."""
    if pattern is not None:
        path = one.path.relative_to(problems.root)
        match = pattern.search(listing.one_spelling(listing.text_of(path).replace("\\", "/")))
        if match is None or not match["subject"]:
            problem = f"config.data.subject_pattern {pattern.pattern!r} finds no subject in its path"
            problems.add(BadImage(one.path, problem, "rename it or change the pattern"))
            return
        one = one._replace(subject=match["subject"])
    pictures.append(one)


def _from_table(
    path: pathlib.Path, pattern: re.Pattern | None, problems: listing.Problems
) -> tuple[list[listing.Found], set[str]]:
    """The pictures that are there, and the class names of all rows."""
    pictures: list[listing.Found] = []
    names: set[str] = set()
    lines: dict[pathlib.Path, int] = {}
    files, shown = table.Pictures(problems.root), printable(path)
    for line, row in table.rows(path, ("file", "label"), ("subject", "split"), "config.data.labels_csv", "file"):
        if pattern is not None and "subject" in row:
            raise UserError(
                f"config.data.subject_pattern is {pattern.pattern!r} and {shown} has a column subject; give one"
            )
        if not table.is_inside(row["file"]):
            raise UserError(f"{shown}, line {line} has file {row['file']!r}; it may be a path under manual_dir")
        picture = files.find(row["file"])
        name = table.label(row["label"], f"{shown}, line {line}")
        names.add(name)
        test, validation = _split(row, f"{shown}, line {line}")
        missing = picture is None
        picture = picture or problems.root / row["file"].replace("\\", "/")
        if picture in lines:
            raise UserError(
                f"{shown}, line {line} has {printable(row['file'])} for the second time, after {lines[picture]}"
            )
        lines[picture] = line
        if missing:
            problem = f"line {line} of {path.name} has it and it does not exist"
            if "\n" in row["file"]:  # the lines that an open quote swallows are no bad picture to leave out
                raise BadImage(picture, problem, f"put it there, or close the quote that is open up to line {line}")
            problems.add(BadImage(picture, problem, "put it there"))
            continue
        _append(pictures, listing.Found(picture, name, row.get("subject"), test, validation), pattern, problems)
    problems.ignore(f"pictures that {path.name} does not name", files.unnamed())
    return pictures, names


def _split(row: dict[str, str], where: str) -> tuple[bool | None, bool]:
    if "split" not in row:
        return None, False
    if not splits.is_split(row["split"]):
        raise UserError(f"{where} has split {row['split']!r}; it may be train or test, or validation")
    return splits.side(row["split"])
