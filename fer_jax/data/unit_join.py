"""Which rows of a detector's tables are of which image, by the names of both.

Nothing is read here: `unit_tables` reads the tables, `units` makes targets of the rows.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fer_jax.data import listing
from fer_jax.data.images import printable
from fer_jax.data.unit_tables import Row, Tables
from fer_jax.errors import UserError


class Joined(NamedTuple):
    """Which row each image has.

    row: i[N], -1 where it has none of enough confidence. dropped: bool[N], it has such of low confidence.
    unused: rows of enough confidence without an image. low: rows of low confidence or without a face.
    further: rows of an image that has a surer one.
    elsewhere: by row, an image of its name in a folder of another name, which is why the row has no image.
    """

    row: np.ndarray
    dropped: np.ndarray
    unused: int
    low: int
    further: int
    elsewhere: dict[int, int]


def joined(tables: Tables, files: Sequence[str], minimum_confidence: float) -> Joined:
    """Finds the row of each image by its file's name; of several the surest, of equally sure ones the first.

    A name fits images of the same name, else of the same stem, else of either whatever the case; the folders of both
    must agree as far as both have them. Of several images it fits those that share the most folders with it, and an
    image has the rows that fit it best. Rows that name no picture are of the picture that the table is called after,
    or they are frames.

    Raises:
      UserError: a row fits several images equally well, or frames cannot be told from one another.
    """
    low = np.array([one.values is None or one.confidence < minimum_confidence for one in tables.rows], bool)
    row, dropped = np.full(len(files), -1), np.zeros(len(files), bool)
    used = np.zeros(len(tables.rows), bool)
    of_images, elsewhere = _of_images(tables, files)
    for image, numbers in of_images.items():
        used[numbers] = True
        sure = [i for i in numbers if not low[i]]
        dropped[image] = not sure
        if sure:
            row[image] = max(sure, key=lambda i: (tables.rows[i].confidence, -i))
    further = int((used & ~low).sum() - (row >= 0).sum())
    return Joined(row, dropped, int((~used & ~low).sum()), int(low.sum()), further, elsewhere)


def named(row: Row) -> str:
    """Returns what a row is of, for people to read."""
    return printable(row.name or row.table)


def where(row: Row) -> str:
    """Returns the row's file and line."""
    return f"{printable(row.table)}, line {row.line}"


class _Name(NamedTuple):
    """A picture's or video's name: the folders above it, itself, and itself without a picture's extension."""

    folders: tuple[str, ...]
    whole: str
    stem: str

    @classmethod
    def of(cls, name: str) -> "_Name":
        """Takes a name apart, whatever system wrote it."""
        path = pathlib.PurePosixPath(listing.one_spelling(name).replace("\\", "/"))
        folders = tuple(part for part in path.parts[:-1] if part != "/")
        return cls(folders, path.name, path.stem if listing.is_picture_name(path) else path.name)

    def folded(self) -> "_Name":
        return _Name(tuple(part.casefold() for part in self.folders), self.whole.casefold(), self.stem.casefold())


class _Images:
    """The names of images, as they are and with upper and lower case as one."""

    def __init__(self, files: Sequence[str]):
        self.files = files
        self.spellings = [[_Name.of(file) for file in files]]
        self.spellings.append([name.folded() for name in self.spellings[0]])
        self._called = [
            {part: _grouped(getattr(name, part) for name in names) for part in ("whole", "stem")}
            for names in self.spellings
        ]
        self.of_folder = [_grouped(name.folders for name in names) for names in self.spellings]

    def fitting(self, own: _Name) -> tuple[int, list[int], list[int]]:
        """Returns how a name fits images, the less the better; those that it fits best; and else those elsewhere."""
        elsewhere: list[int] = []
        ways = ((folded, part) for folded in (0, 1) for part in ("whole", "stem"))
        for rank, (folded, part) in enumerate(ways):
            name, names = own.folded() if folded else own, self.spellings[folded]
            called = self._called[folded][part].get(getattr(name, part), [])
            best = _most_shared({image: _shared(name.folders, names[image].folders) for image in called})
            if best:
                return rank, best, []
            elsewhere = elsewhere or called
        return 0, [], elsewhere

    def inside(self, video: _Name, names: Iterable[str]) -> list[int]:
        """Returns the images of the folder that a video or table is called after; none where there is none.

        names: what the folder may be called, the likeliest first.

        Raises:
          UserError: there are several such folders.
        """
        for folded, by_folder in enumerate(self.of_folder):
            for name in names:
                path = (*video.folders, name)
                path = tuple(part.casefold() for part in path) if folded else path
                best = _most_shared({folder: _shared(path, folder) for folder in by_folder if folder})
                if len(best) > 1:
                    first, second = (printable(self.files[by_folder[folder][0]]) for folder in best[:2])
                    raise UserError(
                        f"the frames of {printable('/'.join((*video.folders, video.whole)))} may be those of the "
                        f"folder of {first} or of {second}; a table may have the folders above in its name"
                    )
                if best:
                    return sorted(by_folder[best[0]], key=lambda image: self.files[image])
        return []


def _grouped(keys: Iterable) -> dict:
    """Returns the positions of each key."""
    groups = collections.defaultdict(list)
    for i, key in enumerate(keys):
        groups[key].append(i)
    return dict(groups)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns how many folders two names have in common, from their ends; -1 if they contradict each other."""
    if any(a != b for a, b in zip(reversed(one), reversed(other), strict=False)):
        return -1
    return min(len(one), len(other))


def _most_shared(shared: dict) -> list:
    """Returns what shares the most folders, of what contradicts none."""
    most = max(shared.values(), default=-1)
    return [one for one, count in shared.items() if count == most >= 0]


def _of_images(tables: Tables, files: Sequence[str]) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Returns the rows of each image that has any, and images of a row's name in folders of another name, by row."""
    images, groups = _Images(files), _groups(tables)
    fits: dict[int, list[tuple[tuple[int, int], int]]] = collections.defaultdict(list)
    elsewhere = {}
    for (table, name), numbers in groups.items():
        own = _Name.of(listing.text_of(table.with_suffix("")) if name is None else name)
        rank, best, others = images.fitting(own)
        if _of_video(tables, name, numbers, bool(best)):
            inside = images.inside(own, (own.whole,) if name is None else (own.whole, pathlib.PurePath(own.whole).stem))
            if not inside and len(groups) == 1 and set(images.of_folder[0]) == {()}:
                inside = sorted(range(len(files)), key=lambda image: files[image])
            for image, frame in _frames(tables, numbers, inside, files).items() if inside else ():
                fits[image] += [((0, len(own.folders)), i) for i in numbers if tables.rows[i].frame == frame]
            continue
        if len(best) > 1:
            first = tables.rows[numbers[0]]
            raise UserError(
                f"{where(first)} is of {named(first)}, which may be {files[best[0]]} or {files[best[1]]}; a table may "
                "have the folders and extensions in its names"
            )
        for image in best:
            share = _shared(own.folded().folders, images.spellings[1][image].folders)
            fits[image] += [((-rank, share), i) for i in numbers]
        if others:
            elsewhere |= dict.fromkeys(numbers, others[0])
    most = {image: max(fit for fit, _ in found) for image, found in fits.items()}
    return {image: [i for fit, i in found if fit == most[image]] for image, found in fits.items()}, elsewhere


def _groups(tables: Tables) -> dict[tuple[pathlib.PurePath, str | None], list[int]]:
    """Returns the rows by table and by the picture or video that they name."""
    return _grouped((one.table, one.name) for one in tables.rows)


def _of_video(tables: Tables, name: str | None, numbers: list[int], of_picture: bool) -> bool:
    """Returns True if rows are the frames of a video or folder; `of_picture`: there is a picture of that name."""
    frames = {tables.rows[i].frame for i in numbers}
    if None in frames:
        return False
    if name is None:
        return len(frames) > 1
    return not listing.is_picture_name(pathlib.PurePath(name)) and (len(frames) > 1 or not of_picture)


def _frames(tables: Tables, numbers: list[int], inside: list[int], files: Sequence[str]) -> dict[int, int]:
    """Returns the frame of each image of a folder, whose images are in the order of their names.

    Where all names end in numbers, these are frames, as the detector counts them or from 0 or 1 otherwise. Else there
    are as many images as frames, in the same order. An image may lack where there are more frames, or a frame where
    there are more images.

    Raises:
      UserError: there are not as many, the numbers are not those of frames, or they contradict the order.
    """
    row = {tables.rows[i].frame: tables.rows[i] for i in reversed(numbers)}
    frames = sorted(row)
    table, pictures = printable(row[frames[0]].table), f"{files[inside[0]]} to {files[inside[-1]]}"
    ends = [re.search(r"(\d+)$", _Name.of(files[image]).stem) for image in inside]
    counted = {image: int(end[1]) for image, end in zip(inside, ends, strict=True) if end}
    in_order = dict(zip(inside, frames, strict=True)) if len(inside) == len(frames) else None
    if len(set(counted.values())) < len(inside):
        if in_order is None:
            raise UserError(
                f"{table} has {len(frames)} frames, and the folder has {len(inside)} pictures, whose names do not end "
                "in the numbers of frames; a table may have as many, or a row for each picture's name"
            )
        return in_order
    starts = [start for start in (tables.first, 1 - tables.first) if _one_in_other(counted.values(), frames, start)]
    if not starts:
        wrong = next(frame for frame in frames if frame + tables.first not in counted.values())
        raise UserError(
            f"{where(row[wrong])} is of frame {wrong + tables.first}, and no picture of {pictures} has this number; "
            "pictures may be numbered as the frames are, or a table may have a row for each picture's name"
        )
    if len(starts) > 1 and tables.program != "OpenFace":
        raise UserError(
            f"{table} has {len(frames)} frames, and the folder has {len(inside)} pictures, which may be numbered from "
            f"0 or from 1 ({pictures}); a table may have as many, or a row for each picture's name"
        )
    by_number = {image: number - starts[0] for image, number in counted.items() if number - starts[0] in row}
    for image, frame in (in_order or {}).items():
        if by_number[image] != frame:
            other = next(one for one, own in by_number.items() if own == frame)
            raise UserError(
                f"{where(row[frame])} is of frame {frame + tables.first}, which is {files[other]} by its number and "
                f"{files[image]} by the order of names; numbers may be of equal length, as 007 and 012 are"
            )
    return by_number


def _one_in_other(numbers: Iterable[int], frames: Sequence[int], start: int) -> bool:
    """Returns True if pictures counted from `start` are all frames, which count from 0, or frames all pictures."""
    own, theirs = {number - start for number in numbers}, set(frames)
    return own <= theirs or theirs <= own
