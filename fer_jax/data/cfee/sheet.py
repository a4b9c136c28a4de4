"""The annotation sheet of the CFEE release: category ids, their names, their action units."""

import contextlib
import pathlib
import re
from typing import NamedTuple

from fer_jax.data.images import printable
from fer_jax.data.listing import class_name
from fer_jax.errors import UserError, import_extra

SHEET = "summary"
_UNIT = re.compile(r"(?:AU)?\s*(\d{1,2})(?:\.0+)?[A-E]?", re.IGNORECASE)


class Row(NamedTuple):
    """A category: its id as the file names have it, its name in lower case, the numbers of its action units."""

    category: int
    name: str
    units: tuple[int, ...]


def read(path: pathlib.Path) -> list[Row]:
    """Reads the sheet `summary` of an .xls or .xlsx file (its content says which it is), in the order of the ids.

    A row is one whose column 0 is a whole number, the category id, and whose column 1 is a name. What follows are its
    action units, in either of two forms, since the release is not ours to look into: where a row above the first
    category names the column as a unit (`12` or `AU12`), whatever is in the cell but nothing, 0 or "no" marks the unit
    as present; in other columns the cells hold the numbers themselves (`12`, `AU12`, `12, 25`).

    Raises:
      UserError: the file or the package that reads it cannot be had, there is no such sheet or no categories, or an id
        or a name is there twice.
    """
    shown = printable(path)
    rows, headers, categories = _cells(path), {}, []
    for cells in rows:
        category = _whole(cells[0]) if cells else None
        if category is None or len(cells) < 2 or not isinstance(cells[1], str) or not cells[1].strip():
            if not categories:
                headers.update({i: _unit(c) for i, c in enumerate(cells[2:], 2) if _unit(c) is not None})
            continue
        categories.append(Row(category, class_name(cells[1]), _units(cells, headers)))
    if not categories:
        raise UserError(f"{shown}: sheet {SHEET!r} has no categories; a row is an id, a name, then action units")
    for field in ("category", "name"):
        values = [getattr(row, field) for row in categories]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise UserError(f"{shown}: sheet {SHEET!r} has the {field} {twice[0]!r} more than once")
    return sorted(categories)


def _cells(path: pathlib.Path) -> list[list]:
    shown = printable(path)
    try:
        magic = path.read_bytes()[:8]
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror})") from None
    if not magic:
        raise UserError(f"{shown} is empty (0 bytes); it is the release's annotation sheet")
    try:
        rows = _xlsx(path) if magic.startswith(b"PK") else _xls(path)
    except UserError:
        raise
    except Exception as error:  # on a damaged file the readers raise whatever comes
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{shown} cannot be read as .xls or .xlsx ({why}); take the release's again") from None
    if rows is None:
        raise UserError(f"{shown} has no sheet {SHEET!r}; take the release's again")
    return rows


def _xls(path: pathlib.Path) -> list[list] | None:
    xlrd = import_extra("xlrd", "cfee", f"{printable(path)} is read with xlrd")
    with xlrd.open_workbook(path, on_demand=True, logfile=_Nowhere()) as book:
        if SHEET not in book.sheet_names():
            return None
        sheet = book.sheet_by_name(SHEET)
        return [sheet.row_values(i) for i in range(sheet.nrows)]


def _xlsx(path: pathlib.Path) -> list[list] | None:
    openpyxl = import_extra("openpyxl", "cfee", f"{printable(path)} is read with openpyxl")
    # From a file object: given a path, openpyxl goes by its extension.
    with path.open("rb") as file, contextlib.closing(openpyxl.load_workbook(file, True, data_only=True)) as book:
        if SHEET not in book.sheetnames:
            return None
        return [["" if cell is None else cell for cell in row] for row in book[SHEET].iter_rows(values_only=True)]


class _Nowhere:
    """xlrd reports oddities to a file; they are not the user's."""

    def write(self, text: str) -> None:
        pass


def _whole(cell) -> int | None:
    """A whole number from a cell: Excel keeps numbers as floats, and people keep numbers as text."""
    text = str(cell).strip()
    match = re.fullmatch(r"(\d+)(?:\.0+)?", text)
    return int(match[1]) if match and not isinstance(cell, bool) else None


def _unit(cell) -> int | None:
    match = _UNIT.fullmatch(str(cell).strip())
    return int(match[1]) if match and int(match[1]) > 0 else None


def _units(cells: list, headers: dict[int, int]) -> tuple[int, ...]:
    units = set()
    for i, cell in enumerate(cells[2:], 2):
        text = str(cell).strip()
        if i in headers:
            if text.lower() not in ("", "0", "0.0", "no", "-", "false"):
                units.add(headers[i])
        else:
            numbers = (_unit(part) for part in re.split(r"[,;+\s]+", re.sub(r"(?i)au\s+", "AU", text)))
            units.update(number for number in numbers if number is not None)
    return tuple(sorted(units))
