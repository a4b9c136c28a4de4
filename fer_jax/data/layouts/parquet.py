"""Parquet files of pictures and labels, as model hubs serve them.

    <manual_dir>/data/train-00000-of-00002.parquet      also validation, test, in any folder; one file may do
    <manual_dir>/plain_text/test/0000.parquet           the split may be the name of the folder, too

Columns: config.data.image_column, the bytes of a picture file or {"bytes", "path"}; label_column, text or a number,
whose names the hub keeps in the file's metadata (ClassLabel); subject_column, if there is one. A column `split` says
the split where no name does.
"""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fer_jax.config.rules import NAME, TEXT, optional
from fer_jax.data import layouts, listing, splits, table
from fer_jax.data.images import BadImage, printable, read_bytes
from fer_jax.data.layouts.labels import Labels
from fer_jax.errors import UserError, import_extra

SPLIT = "split"
_PART = re.compile(r"(?P<name>.+)-(?P<i>\d{5})-of-(?P<n>\d{5})")
_BYTES = re.compile(r"(large_)?binary|struct<.*\bbytes: (large_)?binary.*")


def scan(root: pathlib.Path, config: ConfigDict) -> listing.Listing:
    """Lists the rows of all parquet files below a root, without their pictures.

    Raises:
      UserError: there is no such file, one that cannot be read or lacks a column, names of classes that differ, or a
        label out of range; file and row are named.
    """
    problems = listing.Problems(listing.existing_folder(root), config.on_bad_image)
    paths = []
    for path in listing.files_below(root, problems):
        if path.suffix.lower() == ".parquet":
            paths.append(path)
        else:
            problems.ignore("files that are no parquet")
    if not paths:
        raise UserError(f"{printable(root)} has no .parquet file; config.data.manual_dir may be another")
    _check_parts(paths)
    sides = {path: _side(path.relative_to(root)) for path in paths}
    names, unread = _class_names(paths, config), _unread(paths, config)
    labels, found = Labels(names), []
    for path in paths:
        for row, label, subject, own in _rows(path, config):
            where = f"{printable(path)}, row {row}"
            name = labels.name_of(label, where)
            side = _agreed(sides[path], own, where)
            found.append(listing.Found(path, name, subject, *side, row))
    notes = [*unread, *labels.notes()]
    unsplit = list(dict.fromkeys(printable(one.path.name) for one in found if one.official_test is None))
    if unsplit:
        notes.append(f"the names of {', '.join(unsplit[:3])} say no split: their pictures are training ones")
        found = [one._replace(official_test=bool(one.official_test)) for one in found]
    ordered = listing.order_classes(labels.ordered(), tuple(config.base_classes), "the parquet files")
    return listing.make(problems, found, ordered, paths, notes, read=_Reader(root, config.image_column).read)


def _side(path: pathlib.Path) -> str | None:
    """The one split that a word of a file's name is, or that a folder above it is called."""
    words = [word for word in re.split(r"[-_. ]", path.name) if splits.is_split(word)]
    if len({splits.side(word) for word in words}) == 1:
        return words[0]
    folders = (name.removeprefix("split=") for name in reversed(path.parts[:-1]))
    return next((name for name in folders if splits.is_split(name)), None)


def _agreed(named: str | None, own: Any, where: str) -> tuple[bool | None, bool]:
    """The side of a row, from the split that its file's name says and the one in its own column."""
    if own is None:
        return splits.side(named) if named else (None, False)
    if not (isinstance(own, str) and splits.is_split(own)):
        raise UserError(f"{where} has split {own!r}; it may be train, validation or test")
    if named and splits.side(named) != splits.side(own):
        raise UserError(f"{where} has split {own!r}, and the file's name says {named}; they may be the same")
    return splits.side(own)


def _unread(paths: list[pathlib.Path], config: ConfigDict) -> list[str]:
    """A note on every column that seems to hold subjects or splits and is not read."""
    columns: dict[str, None] = {}
    for path in paths:
        with _opened(path) as file:
            columns |= dict.fromkeys(file.schema_arrow.names)
    notes = []
    for name in columns:
        if table.are_alike(name, "subject") and not config.subject_column:
            notes.append(f"the column {printable(name)} is not read; config.data.subject_column may name it")
        if table.are_alike(name, "split") and name != SPLIT:
            notes.append(f"the column {printable(name)} is not read; a column of splits is called {SPLIT}")
    return notes


def _check_parts(paths: list[pathlib.Path]) -> None:
    """Checks that files whose names count them, as train-00000-of-00002 does, are all there."""
    there: dict[tuple[pathlib.Path, str, int], set[int]] = {}
    for path in paths:
        if match := _PART.match(path.name):
            there.setdefault((path.parent, match["name"], int(match["n"])), set()).add(int(match["i"]))
    for (folder, name, n), parts in there.items():
        missing = sorted(set(range(n)) - parts)
        if missing:
            raise UserError(
                f"{printable(folder / name)}-{missing[0]:05}-of-{n:05}… does not exist, and {n - len(missing)} of its "
                f"{n} parts do; put all of them there"
            )


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    """Opens a parquet file; what is wrong with it is one line."""
    parquet = import_extra("pyarrow.parquet", "parquet", f"{printable(path)} is read with pyarrow")
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except OSError as error:  # pyarrow's own are OSErrors too
        raise _unreadable(path, error) from None
    except Exception as error:
        if type(error).__module__.startswith("pyarrow"):
            raise _unreadable(path, error) from None
        raise


def _unreadable(path: pathlib.Path, error: Exception) -> UserError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{printable(path)} cannot be read as parquet ({why[:160]}); it may be damaged or cut short")


def _class_names(paths: list[pathlib.Path], config: ConfigDict) -> list[str]:
    """The names of the labels that the hub's metadata has, the same in all files; none where it has none."""
    first: tuple[pathlib.Path, list[str]] | None = None
    for path in paths:
        with _opened(path) as file:
            columns = file.schema_arrow.names
            for column in filter(None, (config.image_column, config.label_column, config.subject_column)):
                if column not in columns:
                    raise UserError(f"{printable(path)} has no column {column!r}; it has {', '.join(columns)}")
            kind = str(file.schema_arrow.field(config.image_column).type)
            if not _BYTES.fullmatch(kind):
                raise UserError(
                    f"{printable(path)} has the column {config.image_column!r} of {kind[:80]}; it may hold bytes of "
                    "picture files, plain or as {bytes, path} (config.data.name hub_folder reads files beside a table)"
                )
            text = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        try:
            feature = json.loads(text).get("info", {}).get("features", {}).get(config.label_column, {})
            names = [str(name) for name in feature.get("names", ())] if isinstance(feature, dict) else []
        except (ValueError, AttributeError):
            names = []
        if first is not None and names != first[1]:
            raise UserError(f"{printable(path)} names the labels {names}, and {printable(first[0])} {first[1]}")
        first = first or (path, names)
    return first[1]


def _rows(path: pathlib.Path, config: ConfigDict) -> Iterator[tuple[int, Any, str | None, Any]]:
    """Number, label, subject and split of every row."""
    wanted = [config.label_column, *([config.subject_column] if config.subject_column else [])]
    with _opened(path) as file:
        wanted += [SPLIT] if SPLIT in file.schema_arrow.names else []
        columns = file.read(columns=wanted).to_pydict()
    for row, label in enumerate(columns[config.label_column]):
        subject = None
        if config.subject_column:
            value = columns[config.subject_column][row]
            subject = "" if value is None else str(value)
            if not subject.strip() or table.is_missing(subject):
                raise UserError(f"{printable(path)}, row {row} has no {config.subject_column}")
        if label is None:
            raise UserError(f"{printable(path)}, row {row} has no {config.label_column}")
        if SPLIT in columns and columns[SPLIT][row] is None:
            raise UserError(f"{printable(path)}, row {row} has no {SPLIT}")
        yield row, label, subject, columns[SPLIT][row] if SPLIT in columns else None


class _Reader:
    """Reads pictures out of parquet files, a group of rows at a time."""

    def __init__(self, root: pathlib.Path, column: str):
        self._root, self._column = root, column
        self._path: pathlib.Path | None = None
        self._begins, self._rows = 0, []

    def read(self, entry: listing.Entry) -> np.ndarray:
        """Reads the picture of a row, u8[H, W, 3].

        Raises:
          BadImage: there is none in it.
        """
        path = self._root / entry.relative
        if path != self._path or not self._begins <= entry.row < self._begins + len(self._rows):
            self._load(path, entry.row)
        value = self._rows[entry.row - self._begins]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise BadImage(path, f"row {entry.row} has no bytes of a picture in its column {self._column}")
        try:
            return read_bytes(content, printable(path))
        except BadImage as error:
            raise BadImage(path, f"row {entry.row}: {error.problem}", error.remedy) from None

    def _load(self, path: pathlib.Path, row: int) -> None:
        with _opened(path) as file:
            begins = 0
            for group in range(file.num_row_groups):
                n = file.metadata.row_group(group).num_rows
                if row < begins + n:
                    self._rows = file.read_row_group(group, columns=[self._column]).column(0).to_pylist()
                    self._path, self._begins = path, begins
                    return
                begins += n
        raise BadImage(path, f"row {row} does not exist any more")


DATA_SET = layouts.data_set(
    "parquet",
    "Pictures and labels in parquet files, as model hubs serve them.",
    scan,
    {
        "data.image_column": optional(NAME, "image").means("Column of the pictures."),
        "data.label_column": optional(NAME, "label").means("Column of the labels."),
        "data.subject_column": optional(TEXT, "").means("Column of the subjects; empty if they are unknown."),
    },
)
