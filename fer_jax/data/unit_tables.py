"""Action units as detectors write them: the CSV files of OpenFace 2, py-feat and LibreFace, row by row.

| program | columns | whose row |
|---|---|---|
| OpenFace 2 FeatureExtraction | `frame`, `confidence`, `success`, `AU12_r` (0 to 5), `AU12_c` (0, 1) | frames from 1 |
| OpenFace 2 FaceLandmarkImg | `face`, `confidence`, `AU12_r`, `AU12_c`; a file for each picture | the file's name |
| py-feat | `FaceScore`, `AU12` (0 to 1), `input`, `frame` | the name in `input` |
| LibreFace | `au_12` (0 or 1), `au_12_intensity` (0 to 5), in a video `frame_idx` | the file's name |

Tables put together by others have a column of the pictures' names, one of `NAMES`: then it says whose each row is,
whatever the program.

Which pictures the rows belong to is decided in `unit_join`. Formats are those of OpenFace 2.2's RecorderCSV.cpp, whose
earlier versions put a space before each name; py-feat 2.1; and LibreFace 0.2.

Detectors put out a little more or less than their range has: OpenFace some intensities below 0 (its issue 260),
LibreFace too; py-feat's are decisions or probabilities, which smoothing and interpolation bring outside. Such values
are brought into the range and counted; what lies further outside is an error.
"""

import collections
import csv
import math
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from fer_jax.data import listing, table
from fer_jax.data.images import printable
from fer_jax.errors import UserError

Values = Literal["intensity", "presence"]
ROUNDING = 1e-6  # by which a confidence computed in float32 may lie outside its range
BEYOND = 0.1  # how far outside its range an intensity may lie, as a share of the range


class Program(NamedTuple):
    """A detector's format.

    kinds: patterns of columns of units, each with the highest value; the first is the intensity, the last tells
      presence.
    present: the lowest intensity of a unit that counts as present where nothing else tells it: FACS' level A of five,
      or an even chance.
    confidence, success, name, frame: columns, None where there are none; all but confidence may be missing. Another of
      `NAMES` is the name where the program's own is missing.
    first: the number of the first frame.
    """

    title: str
    kinds: tuple[tuple[re.Pattern, float], ...]
    present: float
    confidence: str | None = None
    success: str | None = None
    name: str | None = None
    frame: str | None = None
    first: int = 0


PROGRAMS = (
    Program("OpenFace", ((re.compile(r"AU(\d\d)_r"), 5.0), (re.compile(r"AU(\d\d)_c"), 1.0)), 1.0,
            confidence="confidence", success="success", frame="frame", first=1),
    Program("py-feat", ((re.compile(r"AU(\d\d)"), 1.0),), 0.5, confidence="FaceScore", name="input", frame="frame"),
    Program("LibreFace", ((re.compile(r"au_(\d+)_intensity"), 5.0), (re.compile(r"au_(\d+)"), 1.0)), 1.0,
            frame="frame_idx"),
)  # fmt: skip


NAMES = ("filename", "file_name", "file", "file_path", "filepath", "input", "image", "image_name", "image_path", "img",
         "img_path", "path", "picture")  # fmt: skip


class Row(NamedTuple):
    """A face that a detector looked at.

    table: the file, relative to the folder of all. line: its number there.
    name: the picture or video that the table names; None where it names none.
    frame: from 0; None where there are no frames.
    confidence: from 0 to 1; 0 without a face, and 1 where the detector says nothing of a face that is there.
    values: a number from 0 to 1 for each unit; None where the face was not found.
    clipped: how many of them the table has a little outside their range.
    """

    table: pathlib.PurePath
    line: int
    name: str | None
    frame: int | None
    confidence: float
    values: tuple[float, ...] | None
    clipped: int = 0


class Tables(NamedTuple):
    """What a detector wrote.

    program: its name. first: the number of its first frame.
    numbers: of the units.
    others: how many CSV files have no units.
    """

    program: str
    first: int
    numbers: tuple[int, ...]
    rows: tuple[Row, ...]
    others: int


class _Column(NamedTuple):
    name: str
    high: float
    threshold: float | None  # from which on it is 1, below it 0; None leaves it as it is


def read(path: pathlib.Path, values: Values = "intensity") -> Tables:
    """Reads a CSV file, or all CSV files below a folder.

    Args:
      values: intensity, where the program tells it, else presence; or presence alone, 0 or 1.

    Raises:
      UserError: there is none, one is not of a known form, or they are of several.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(_files(path))
    if not files:
        raise UserError(
            f"config.data.units.path {printable(path)} has no CSV files; it may be a table, or a folder of them"
        )
    found, rows, others = None, [], 0
    for file in files:
        header = _header(file)
        known = _recognised(header, values)
        _check_case(file, header, PROGRAMS if known is None else known[:1])
        if known is None:
            others += 1
            if file == path:
                raise UserError(_unknown(file, header))
            continue
        if found is not None and known != found[0]:
            raise UserError(
                f"{printable(file)} has units {_told(known)}, and {printable(found[1])} {_told(found[0])}; "
                "config.data.units.path may have tables of one form"
            )
        found = found or (known, file)
        rows += _rows(file, file.relative_to(folder), header, *known)
    if found is None:
        raise UserError(_unknown(files[0], _header(files[0])))
    program, columns = found[0]
    return Tables(program.title, program.first, tuple(columns), tuple(rows), others)


def _files(path: pathlib.Path) -> Iterable[pathlib.Path]:
    if not path.exists():
        raise UserError(f"config.data.units.path {printable(path)} does not exist; it may be a detector's table, or a "
                        "folder of them")  # fmt: skip
    if not path.is_dir():
        return [path]
    return (one for one in listing.files_below(path, listing.Problems(path, "skip")) if one.suffix.lower() == ".csv")


def _header(file: pathlib.Path) -> list[str]:
    # What is not UTF-8 makes no name of a detector's column. Rows are read strictly.
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            header = [name.strip() for name in next(csv.reader(lines, skipinitialspace=True), [])]
    except OSError as error:
        raise UserError(f"{printable(file)} cannot be read ({error.strerror})") from None
    except csv.Error:
        raise _no_table(file) from None
    if any("\0" in name for name in header):  # UTF-16
        raise _no_table(file)
    return header


def _no_table(file: pathlib.Path) -> UserError:
    return UserError(f"{printable(file)} is not CSV in UTF-8; it may be a detector's table as it was written")


def _check_case(file: pathlib.Path, header: list[str], programs: Iterable[Program]) -> None:
    """Checks that no column has a unit's name but for upper and lower case: it would be passed over.

    Raises:
      UserError: one has.
    """
    for pattern in (pattern for program in programs for pattern, _ in program.kinds):
        for name in header:
            if re.fullmatch(pattern.pattern, name, re.IGNORECASE) and not pattern.fullmatch(name):
                right = next(one for one in (name.lower(), name.upper(), name[:2].upper() + name[2:].lower())
                             if pattern.fullmatch(one))  # fmt: skip
                raise UserError(f"{printable(file)} has the column {name}; it may be {right}")


def _recognised(header: list[str], values: Values) -> tuple[Program, dict[int, _Column]] | None:
    """Returns the program that writes such a header, and the column that each unit is read from, by its number."""
    for program in PROGRAMS:
        by_kind = [{int(match[1]): name for name in header if (match := pattern.fullmatch(name))}
                   for pattern, _ in program.kinds]  # fmt: skip
        numbers = sorted(set().union(*by_kind))
        if numbers and (program.confidence is None or program.confidence in header):
            return program, {number: _column(program, by_kind, number, values) for number in numbers}
    return None


def _column(program: Program, by_kind: list[dict[int, str]], number: int, values: Values) -> _Column:
    kinds = range(len(by_kind)) if values == "intensity" else reversed(range(len(by_kind)))
    kind = next(kind for kind in kinds if number in by_kind[kind])
    by_threshold = values == "presence" and kind == 0
    return _Column(by_kind[kind][number], program.kinds[kind][1], program.present if by_threshold else None)


def _rows(
    file: pathlib.Path, shown: pathlib.PurePath, header: list[str], program: Program, columns: dict[int, _Column]
) -> Iterator[Row]:
    # All columns of units are looked at, so that shifted ones are told even where few are read.
    limits = {name: (high, 0.0 if kind else BEYOND * high) for kind, (pattern, high) in enumerate(program.kinds)
              for name in header if pattern.fullmatch(name)}  # fmt: skip
    program = program._replace(name=_naming(file, header, program))
    of_face = [name for name in (program.confidence, program.success) if name in header]
    where = [name for name in (program.name, program.frame) if name in header]
    needed = list(limits)
    for line, cells in table.rows(file, (*needed, *of_face, *where), blanks=(*needed, *of_face, *where)):
        at = f"{printable(file)}, line {line}"
        # Where OpenFace lost the face, its other columns may be anything.
        lost = program.success in of_face and not _number(cells, program.success, 1.0, 0.0, at)
        empty = needed if lost else [name for name in needed if not cells[name]]
        if empty and not lost and (len(empty) < len(needed) or program.title == "OpenFace"):
            raise UserError(f"{at} has no {empty[0]}")
        numbers = {} if empty else {name: _number(cells, name, *limit, at) for name, limit in limits.items()}
        values = None if empty else tuple(_value(numbers[column.name], column) for column in columns.values())
        clipped = 0 if empty else sum(not 0 <= numbers[column.name] <= column.high for column in columns.values())
        confidence = float(values is not None)
        if program.confidence and values is not None:
            confidence = min(max(_number(cells, program.confidence, 1.0, ROUNDING, at), 0.0), 1.0)
        name = cells.get(program.name) or None
        if program.name in where and name is None:
            raise UserError(f"{at} has no {program.name}; it may be the name of a picture")
        yield Row(shown, line, name, _frame(cells, program, where, at), confidence, values, clipped)


def _naming(file: pathlib.Path, header: list[str], program: Program) -> str | None:
    """Returns the column that names pictures, if there is one."""
    if program.name in header:
        return program.name
    found = [name for name in header if name.casefold() in NAMES]
    if len(found) > 1:
        raise UserError(f"{printable(file)} has the columns {' and '.join(found)}; one of them may name the pictures")
    return found[0] if found else None


def _value(value: float, column: _Column) -> float:
    """Returns a unit's value, from 0 to 1."""
    if column.threshold is not None:
        return float(value >= column.threshold)
    return min(max(value / column.high, 0.0), 1.0)


def _frame(cells: dict[str, str], program: Program, where: list[str], at: str) -> int | None:
    if program.frame not in where:
        return None
    frame = _number(cells, program.frame, math.inf, 0.0, at) - program.first
    if frame < 0 or frame != int(frame):
        raise UserError(
            f"{at} has {program.frame} {cells[program.frame]!r}; it may be a whole number from {program.first}"
        )
    return int(frame)


def _number(cells: dict[str, str], name: str, high: float, slack: float, at: str) -> float:
    """Returns the number of a cell, which may be from 0 to `high` or at most `slack` outside."""
    try:
        value = float(cells[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not -slack <= value <= high + slack:
        most = f"from 0 to {high:g}" if high < math.inf else "from 0"
        raise UserError(f"{at} has {name} {cells[name]!r}; it may be a number {most}")
    return value


def _told(known: tuple[Program, dict[int, _Column]]) -> str:
    program, columns = known
    return f"{', '.join(map(str, columns))} of {program.title}"


def _unknown(file: pathlib.Path, header: list[str]) -> str:
    if any("\ufffd" in name for name in header):
        return str(_no_table(file))
    shown = ", ".join(header[:4]) + (", …" if len(header) > 4 else "")
    if len(header) == 1 and ";" in header[0]:
        return f"{printable(file)} is separated by semicolons; it may be separated by commas, as detectors write it"
    twice = [name for name, count in collections.Counter(header).items() if count > 1 and name]
    also = f" ({twice[0]} is there twice)" if twice else ""
    return (
        f"{printable(file)} has the columns {shown or 'of an empty file'}{also}; it may be a table of "
        f"{', '.join(program.title for program in PROGRAMS)}, with their units and confidence"
    )
