"""Any labelled pictures: a folder a class, or a table.

    <manual_dir>/<class>/….jpg                             folders within a class's folder may be of any depth
    <manual_dir>/labels.csv                                with config.data.labels_csv=labels.csv: file,label,subject

A table is CSV in UTF-8 with a header; `file` is relative to manual_dir, `subject` may be left out, and a column
`split` of `train` and `test` makes an official split. Class names count in lower case.
"""

import csv
import io
import pathlib
import re

from fer_jax.data import listing
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

SPLITS = {"train": False, "test": True}


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
        table = root / pathlib.Path(labels_csv).expanduser()
        (pictures, names), notes, sources = _from_table(table, pattern, problems), [], [table]
    else:
        pictures, notes = _from_folders(pattern, problems)
        # Of the folders, not of what is in them, as a table's are of its rows: an empty class is reported later.
        names = {listing.class_name(p.name) for p in root.iterdir() if p.is_dir() and not listing.is_litter(p)}
        sources = []
    names = listing.order_classes(sorted(names), base_classes, labels_csv or printable(root))
    return listing.make(problems, pictures, names, sources, notes)


def _from_folders(pattern: re.Pattern | None, problems: listing.Problems) -> tuple[list[listing.Found], list[str]]:
    root, pictures, ignored = problems.root, [], 0
    for picture in listing.files_below(root, problems):
        if not listing.is_picture_name(picture):
            ignored += 1
        elif picture.parent == root:
            problems.add(BadImage(picture, "it lies in no class's folder", "put it into one"))
        else:
            name = listing.class_name(picture.relative_to(root).parts[0])
            _append(pictures, listing.Found(picture, name, None), pattern, problems)
    return pictures, [f"{ignored} files without a picture's extension were left alone"] if ignored else []


def _append(pictures: list, one: listing.Found, pattern: re.Pattern | None, problems: listing.Problems) -> None:
    """Adds a picture, its subject filled in from its path where there is a pattern."""
    if pattern is not None:
        match = pattern.search(listing.relative(problems.root, one.path))
        if match is None or not match["subject"]:
            problem = f"config.data.subject_pattern {pattern.pattern!r} finds no subject in its path"
            problems.add(BadImage(one.path, problem, "rename it or change the pattern"))
            return
        one = one._replace(subject=match["subject"])
    pictures.append(one)


def _from_table(
    table: pathlib.Path, pattern: re.Pattern | None, problems: listing.Problems
) -> tuple[list[listing.Found], set[str]]:
    """The pictures that are there, and the class names of all rows."""
    pictures: list[listing.Found] = []
    names: set[str] = set()
    lines: dict[pathlib.Path, int] = {}
    for line, row in _rows(table, pattern):
        path = problems.root / row["file"]
        if pathlib.PurePath(row["file"]).is_absolute() or ".." in pathlib.PurePath(row["file"]).parts:
            raise UserError(
                f"{printable(table)}, line {line} has file {row['file']!r}; it may be a path under manual_dir"
            )
        if path in lines:
            raise UserError(
                f"{printable(table)}, line {line} has {printable(row['file'])} for the second time, after {lines[path]}"
            )
        lines[path] = line
        name = listing.class_name(row["label"])
        names.add(name)
        if not (path.exists() or path.is_symlink()):
            problems.add(BadImage(path, f"line {line} of {table.name} has it and it does not exist", "put it there"))
            continue
        test = SPLITS[row["split"]] if "split" in row else None
        _append(pictures, listing.Found(path, name, row.get("subject"), test), pattern, problems)
    return pictures, names


def _rows(table: pathlib.Path, pattern: re.Pattern | None):
    """Line number and row of a table, every cell checked."""
    shown = printable(table)
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"config.data.labels_csv {shown} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"config.data.labels_csv {shown} is not UTF-8 text; save it as CSV in UTF-8") from None
    # Lines as they are: a quoted cell may have line breaks.
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        yield from _checked(reader, shown, pattern)
    except csv.Error as error:
        raise UserError(f"{shown}, line {reader.reader.line_num} cannot be read as CSV ({error})") from None


def _checked(reader: csv.DictReader, shown: str, pattern: re.Pattern | None):
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    if not {"file", "label"} <= set(columns):
        raise UserError(
            f"{shown} has columns {columns}; it may have file, label, subject and split, the first two always"
        )
    if pattern is not None and "subject" in columns:
        raise UserError(
            f"config.data.subject_pattern is {pattern.pattern!r} and {shown} has a column subject; give one"
        )
    for row in reader:
        row = {key: (value or "").strip() for key, value in row.items() if key in ("file", "label", "subject", "split")}
        for key, value in row.items():
            if not value:
                raise UserError(f"{shown}, line {reader.line_num} has no {key}")
        if row.get("split", "train") not in SPLITS:
            raise UserError(f"{shown}, line {reader.line_num} has split {row['split']!r}; it may be train or test")
        yield reader.line_num, row
