"""Tables of labels, CSV and JSON lines: strictly read, so that a malformed line is one error and never a wrong label.

Also the files that a table names, found whatever system wrote the table.
"""

import collections
import csv
import json
import os
import pathlib
import re
import unicodedata
from collections.abc import Collection, Iterator

from fer_jax.data import listing
from fer_jax.data.images import printable
from fer_jax.errors import UserError

MISSING = frozenset({"nan", "none", "null", "n/a", "<na>"})
_COUNT = ("none", "one", "two", "three")


def rows(
    path: pathlib.Path,
    required: Collection[str],
    optional: Collection[str] = (),
    what: str = "",
    paths: str = "",
    blanks: Collection[str] = (),
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields line number and cells of every row of a CSV file in UTF-8 with a header.

    Columns that are neither required nor optional are not looked at, unless `check_names` objects. Spaces around a cell
    are no part of it.

    Args:
      required, optional: names of columns.
      what: what the file is, before its name in messages, such as "config.data.labels_csv".
      paths: the column whose cells may have line breaks, since names of files may.
      blanks: columns whose cells may be empty, but not missing at the end of a line.

    Raises:
      UserError: it cannot be read, a column is missing or there twice, a line has too many cells or an empty one, a
        quote that is not closed or within a cell, or a character that nobody sees.
    """
    shown = printable(path)
    named = f"{what} {shown}".strip()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Lines as they are: a quoted cell may have line breaks.
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            try:
                yield from _checked(reader, shown, (required, optional), paths, blanks)
            except csv.Error as error:
                quote = "; a quote is not closed" if "end of data" in str(error) else ""
                raise UserError(f"{shown}, line {reader.line_num} cannot be read as CSV ({error}{quote})") from None
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{named} is not UTF-8 text; save it as CSV in UTF-8") from None


def _checked(reader, shown: str, columns: tuple[Collection[str], Collection[str]], paths: str, blanks: Collection[str]):
    required, optional = columns
    header = [_cell(name) for name in next(reader, [])]
    twice = [name for name, count in collections.Counter(header).items() if name and count > 1]
    if twice:
        raise UserError(f"{shown} has the column {twice[0]} more than once; each may be there once")
    if not set(required) <= set(header):
        *words, last = (*required, *optional)
        always = f", the first {_COUNT[len(required)]} always" if optional else ""
        other = " (a comma separates cells)" if len(header) == 1 and re.search(r"[;\t|]", header[0]) else ""
        raise UserError(f"{shown} has columns {header}{other}; it may have {', '.join(words)} and {last}{always}")
    check_names(header, optional, shown)
    wanted = {name: i for i, name in enumerate(header) if name in (*required, *optional)}
    before = reader.line_num
    for cells in reader:
        first, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise UserError(
                f"{shown}, line {reader.line_num} has {len(cells)} cells; the header has {len(header)} (a cell with a "
                "comma needs quotes)"
            )
        if blanks and len(cells) < len(header):
            raise UserError(f"{shown}, line {reader.line_num} has {len(cells)} cells; the header has {len(header)}")
        row = {name: _cell(cells[i]) if i < len(cells) else "" for name, i in wanted.items()}
        for name, value in row.items():
            if name not in blanks and (not value or (name in optional and is_missing(value))):
                said = f" ({value})" if value else ""
                raise UserError(f"{shown}, line {reader.line_num} has no {name}{said}")
            if name != paths and ("\n" in value or "\r" in value):
                raise UserError(unclosed(shown, first, reader.line_num))
            if stray := _stray(value, name == paths):
                raise UserError(f"{shown}, line {reader.line_num} has {stray} in its {name}, {value[:60]!r}; remove it")
        yield reader.line_num, row


def check_names(names: Collection[str], optional: Collection[str], where: str) -> None:
    """Checks that no column has almost the name of an optional one that is missing, such as Split or subject_id.

    Args:
      names: of the columns, or of the keys of a JSON object.
      where: the file, for messages.

    Raises:
      UserError: one has; it would not be read.
    """
    for missing in (one for one in optional if one not in names):
        for name in names:
            if are_alike(name, missing):
                raise UserError(f"{where} has {name!r}, which is not read; it may be called {missing!r}")


def are_alike(name: str, other: str) -> bool:
    """Returns True if two names differ only in case, signs, or an ending such as _id or _name."""
    return _letters(name) == _letters(other)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]|[\W_]*(id|ids|name|names|s)$", "", name.lower())


def _stray(value: str, is_path: bool) -> str | None:
    """What stands in a cell by mistake: names of files may have all but NUL, and words of some scripts need joiners."""
    if "\0" in value:
        return "a NUL byte"
    if is_path:
        return None
    if not value.isprintable():  # pixels are long cells, and looking at each character of them would take a minute
        for one in value:
            if unicodedata.category(one) in ("Cc", "Cf") and one not in listing.JOINERS:
                return f"the invisible character U+{ord(one):04X}"
    return "a quote" if '"' in value else None


def is_missing(text: str) -> bool:
    """Returns True for what programs write where there is no value."""
    return text.strip().lower() in MISSING


def label(text: str, where: str) -> str:
    """Returns the class that a label names; numbers are whole, and pandas writes 3 as 3.0.

    Args:
      where: file and row, for messages.

    Raises:
      UserError: it is empty, another number, below 0 or infinite, or a word for a missing value.
    """
    number = whole(text)
    try:
        broken = float(text) < 0 or (number is None and not float(text).is_integer())
    except ValueError:
        broken = False
    if broken or is_missing(text):
        but = ", and no word for a missing value" if is_missing(text) else ""
        raise UserError(f"{where} has label {text!r}; it may be a text or a whole number from 0{but}")
    name = listing.class_name(text if number is None or "." not in text else str(number))
    if not name:  # of characters that nobody sees
        raise UserError(f"{where} has an empty label; it may be a class")
    return name


def whole(text: str) -> int | None:
    """Returns the whole number that a cell holds; pandas writes 3 as 3.0. None if it holds something else."""
    match = re.fullmatch(r"(-?[0-9]{1,18})(\.0*)?", text)
    return int(match[1]) if match else None


def unclosed(shown: str, first: int, last: int) -> str:
    """Returns the message on a quote that swallows lines."""
    return f"{shown}, line {first} has a quote that goes on to line {last}; a quote may open and close in one line"


def json_lines(path: pathlib.Path) -> Iterator[tuple[int, dict]]:
    """Yields line number and object of every line of a JSON-lines file in UTF-8.

    Raises:
      UserError: it cannot be read, or a line is no JSON object.
    """
    shown = printable(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{shown} is not UTF-8 text; save it in UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_once)
            if "\\u" in line:  # \ud800 alone is half a character, which nothing can write
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start].encode("unicode_escape").decode()
            raise UserError(f"{shown}, line {number} has {half}, which is half a character; remove it") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{shown}, line {number} is no JSON ({str(error).splitlines()[0]})") from None
        if not isinstance(value, dict):
            raise UserError(f"{shown}, line {number} is a {type(value).__name__}; it may be a JSON object")
        yield number, value


def _once(pairs: list[tuple]) -> dict:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key is there twice: {', '.join(keys)}")
    return dict(pairs)


def _cell(text: str) -> str:
    return text.strip().strip("\ufeff").strip()


class Pictures:
    """The pictures below a folder, by the names that a table may have for them.

    A table may be written on Windows, with backslashes, or by a system that spells letters with accents otherwise or
    does not tell upper case from lower.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        walk = listing.Problems(self.folder, "skip")  # what is wrong with what no table names is no error
        self.others = list(listing.files_below(self.folder, walk))
        spelled = [(listing.one_spelling(listing.text_of(p.relative_to(self.folder))), p) for p in self.others]
        self._by_name = dict(reversed(spelled))
        self._by_name |= {listing.text_of(p.relative_to(self.folder)): p for p in self.others}
        times = collections.Counter(name.casefold() for name, _ in spelled)
        self._by_letters = {name.casefold(): p for name, p in spelled if times[name.casefold()] == 1}
        self._named: set[pathlib.Path] = set()

    def find(self, name: str) -> pathlib.Path | None:
        """Returns the file that a table names by its path below the folder; None if there is none."""
        for text in (name, name.replace("\\", "/")):
            plain = str(pathlib.PurePosixPath(text))
            one = listing.one_spelling(plain)
            path = self._by_name.get(plain) or self._by_name.get(one) or self._outside_the_walk(plain)
            path = path or self._by_letters.get(one.casefold())
            if path is not None:
                self._named.add(path)
                return path
        return None

    def _outside_the_walk(self, plain: str) -> pathlib.Path | None:
        """Returns a file that is there and was not walked to, such as a hidden one or a link that leads nowhere."""
        try:
            path = self.folder / os.fsdecode(plain.encode("utf-8", "surrogateescape"))
            return path if path.is_symlink() or path.exists() else None
        except (OSError, ValueError):
            return None

    def unnamed(self) -> int:
        """Returns the number of pictures that `find` never returned."""
        return sum(listing.is_picture_name(path) and path not in self._named for path in self.others)


def is_inside(name: str) -> bool:
    """Returns True if a table's path, as any system writes it, stays below the folder that it is relative to."""
    windows = pathlib.PureWindowsPath(name)
    return not (windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts)
