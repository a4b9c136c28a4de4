"""The action units of a data set's images: joined from a detector's tables, with errors made, and as the only input.

`config.data.units` says which. Tables are read in `unit_tables`.
"""

import collections
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from fer_jax.config.places import expanded
from fer_jax.data import listing, unit_tables
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.data.images import printable
from fer_jax.data.unit_tables import Row, Tables
from fer_jax.errors import UserError

PRESENT = 0.2  # the lowest intensity of a unit that is there: FACS' level A of five
UNITS_SEEN = (0.5, 1.0)  # intensities of units that a detector sees and that are not there


def applied(config: ml_collections.ConfigDict, data: FaceArrays) -> FaceArrays:
    """Returns a data set with the action units that `config.data.units` describes.

    Images without a row of a table, or with one of low confidence alone, are left out and counted.

    Raises:
      UserError: tables that cannot be read, that name pictures of which there are several, or no picture at all; or
        errors or an input of units where there are none.
    """
    units = config.get("units")
    if units is None:
        return data
    if units.get("path", ""):
        data = _joined(units, data)
    asked = [key for key in ("flips", "noise", "input") if units.get(key, 0)]
    if asked and UNITS not in data.targets:
        raise UserError(
            f"config.data.units.{asked[0]} is {units[asked[0]]}, and {config.name} has no action units; "
            "config.data.units.path may be a table of them"
        )
    if units.get("flips", 0) or units.get("noise", 0):
        wrong = with_errors(data.targets[UNITS], _keys(data), units.flips, units.noise)
        data = dataclasses.replace(data, targets={**data.targets, UNITS: wrong})
    if units.get("input", False):
        data = dataclasses.replace(data, image=pictured(data.targets[UNITS], config.image_size))
    return data


class Joined(NamedTuple):
    """Which row each image has.

    row: i[N], -1 where it has none of enough confidence. dropped: bool[N], it has such of low confidence.
    unused: rows of enough confidence without an image. low: rows of low confidence or without a face.
    further: rows of an image that has a surer one.
    """

    row: np.ndarray
    dropped: np.ndarray
    unused: int
    low: int
    further: int


def _joined(units: ml_collections.ConfigDict, data: FaceArrays) -> FaceArrays:
    if not data.files:
        raise UserError("config.data.units.path is a table, and this data set's pictures have no file names to join by")
    path = expanded(units.path, "config.data.units.path")
    tables = unit_tables.read(path, units.kind)
    join = joined(tables, data.files, units.minimum_confidence)
    there = np.flatnonzero(join.row >= 0)
    if not len(there):
        named = sum(len(one) for one in _of_images(tables, data.files).values())
        why = (
            f"all rows are of low confidence (config.data.units.minimum_confidence {units.minimum_confidence:g})"
            if named else f"its first row is of {_name(tables.rows[0])}, the first picture is {data.files[0]}"
        ) if tables.rows else "it has no rows"  # fmt: skip
        raise UserError(f"config.data.units.path {printable(path)} gives no picture its action units: {why}")
    values = np.asarray([tables.rows[i].values for i in join.row[there]], np.float32)
    data = data.rows(there)
    without = int((join.row < 0).sum() - join.dropped.sum())
    counts = {
        "program": tables.program, "rows": len(tables.rows), "images": len(there), "images_without_row": without,
        "images_of_low_confidence": int(join.dropped.sum()), "rows_of_low_confidence": join.low,
        "rows_without_image": join.unused, "further_rows": join.further, "other_files": tables.others,
    }  # fmt: skip
    notes = [*data.metadata.get("notes", ()), *_notes(counts, units.minimum_confidence)]
    metadata = {**data.metadata, UNITS: list(tables.numbers), "units": counts, "notes": notes}
    # A table by class would be of other units.
    others = {name: table for name, table in data.class_targets.items() if name != UNITS}
    return dataclasses.replace(data, metadata=metadata, targets={**data.targets, UNITS: values}, class_targets=others)


def _notes(counts: dict, minimum: float) -> Iterable[str]:
    yield f"{counts['rows']} rows of {counts['program']} give {counts['images']} images their action units"
    yield (
        f"{counts['images_without_row']} images without a row and {counts['images_of_low_confidence']} of low "
        f"confidence (below {minimum:g}, or no face) are left out"
    )
    yield (
        f"{counts['rows_without_image']} rows without an image, {counts['rows_of_low_confidence']} rows of low "
        f"confidence and {counts['further_rows']} further rows of an image are not read"
    )
    if counts["other_files"]:
        yield f"{counts['other_files']} CSV files beside the tables have no action units"


def joined(tables: Tables, files: Sequence[str], minimum_confidence: float) -> Joined:
    """Finds the row of each image by its file's name; of several the surest, of equally sure ones the first.

    A name fits the images of the same stem that share the most folders above it, and an image has the rows that fit it
    best. Rows that name no picture are of the picture that the table is called after, or they are frames.

    Raises:
      UserError: a row fits several images equally well, or frames cannot be told from one another.
    """
    low = np.array([one.values is None or one.confidence < minimum_confidence for one in tables.rows], bool)
    row, dropped = np.full(len(files), -1), np.zeros(len(files), bool)
    used = np.zeros(len(tables.rows), bool)
    for image, numbers in _of_images(tables, files).items():
        used[numbers] = True
        sure = [i for i in numbers if not low[i]]
        dropped[image] = not sure
        if sure:
            row[image] = max(sure, key=lambda i: (tables.rows[i].confidence, -i))
    further = int((used & ~low).sum() - (row >= 0).sum())
    return Joined(row, dropped, int((~used & ~low).sum()), int(low.sum()), further)


def _of_images(tables: Tables, files: Sequence[str]) -> dict[int, list[int]]:
    """Returns the rows of each image that has any."""
    parts = [_parts(file) for file in files]
    by_stem: dict[str, list[int]] = collections.defaultdict(list)
    for image, one in enumerate(parts):
        by_stem[one[-1]].append(image)
    fits: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)
    for (table, name), numbers in _groups(tables).items():
        rows = [tables.rows[i] for i in numbers]
        frames = {one.frame for one in rows}
        of_video = len(frames) > 1 or (name is not None and not listing.is_picture_name(pathlib.PurePath(name)))
        own = _parts(name) if name is not None else tuple(listing.one_spelling(p) for p in table.with_suffix("").parts)
        if of_video and None not in frames and own[-1] not in by_stem:
            for image, frame in _frames(tables, table, own, parts, files, frames).items():
                fits[image] += [(len(own), i) for i in numbers if tables.rows[i].frame == frame]
            continue
        best = _best(by_stem.get(own[-1], []), own, parts)
        if len(best) > 1:
            raise UserError(
                f"{_where(rows[0])} is of {_name(rows[0])}, which may be {files[best[0]]} or {files[best[1]]}; a table "
                "may have the folders in its names"
            )
        for image in best:
            fits[image] += [(_shared(own, parts[image]), i) for i in numbers]
    most = {image: max(shared for shared, _ in found) for image, found in fits.items()}
    return {image: [i for shared, i in found if shared == most[image]] for image, found in fits.items()}


def _groups(tables: Tables) -> dict[tuple[pathlib.PurePath, str | None], list[int]]:
    """Returns the rows by table and by the picture or video that they name."""
    groups: dict[tuple[pathlib.PurePath, str | None], list[int]] = collections.defaultdict(list)
    for i, one in enumerate(tables.rows):
        groups[one.table, one.name].append(i)
    return groups


def _frames(tables, table, own, parts, files, frames: set[int]) -> dict[int, int]:
    """Returns the frame of each image of a video or of a folder of pictures.

    They are as many, in the order of their names, or the numbers at the ends of the names are those of frames from 1.
    """
    inside = [image for image, one in enumerate(parts) if one[-2:-1] == own[-1:]]
    alone = len({one.table for one in tables.rows}) == 1 and len({one[:-1] for one in parts}) == 1
    inside = sorted(inside or (range(len(parts)) if alone else []), key=lambda image: files[image])
    if not inside:
        return {}
    if len(inside) == len(frames):
        return dict(zip(inside, sorted(frames), strict=True))
    numbers = [re.search(r"(\d+)$", parts[image][-1]) for image in inside]
    counted = [int(one[1]) - 1 for one in numbers if one]
    if tables.program != "OpenFace" or len(set(counted)) < len(inside) or not set(counted) <= frames:
        raise UserError(
            f"{printable(table)} has {len(frames)} frames, and the folder has {len(inside)} pictures, whose names do "
            "not end in the numbers of frames; a table may have as many, or a row for each picture's name"
        )
    return dict(zip(inside, counted, strict=True))


def _parts(name: str) -> tuple[str, ...]:
    """Returns the folders of a picture's or video's name and its stem, whatever system wrote it."""
    path = pathlib.PurePosixPath(listing.one_spelling(name).replace("\\", "/"))
    return (*path.parts[:-1], path.stem)


def _best(images: list[int], own: tuple[str, ...], parts: list[tuple[str, ...]]) -> list[int]:
    """Returns the images that share the most folders with a name."""
    most = max((_shared(own, parts[image]) for image in images), default=0)
    return [image for image in images if _shared(own, parts[image]) == most]


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Returns how many parts two names have in common, from their ends."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _name(row: Row) -> str:
    return printable(row.name or row.table)


def _where(row: Row) -> str:
    return f"{printable(row.table)}, line {row.line}"


def _keys(data: FaceArrays) -> list[bytes]:
    """Returns what the errors of each image are drawn from: its file's name, or its pixels."""
    if data.files:
        return [file.encode("utf-8", "surrogateescape") for file in data.files]
    return [image.tobytes() for image in data.image]


def with_errors(units: np.ndarray, keys: Iterable[bytes], flips: float, noise: float) -> np.ndarray:
    """Returns action units as a detector with errors sees them, f32[N, U], from 0 to 1.

    A unit that is there is not seen, and one that is not there is seen with an intensity from U(1/2, 1), each with
    the probability `flips`; where units are 0 or 1 alone, it is seen as 1. To every intensity noise is added.

    Args:
      units: f32[N, U], intensities.
      keys: of each image; its errors are derived from it, so that they are the same in every run and subset.
      flips: a probability.
      noise: the standard deviation of normal noise.
    """
    seen = np.empty_like(units, dtype=np.float32)
    only_presence = bool(np.isin(units, (0, 1)).all())
    for i, key in enumerate(keys):
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "little"))
        flipped, intensity = rng.random(units.shape[1]) < flips, rng.uniform(*UNITS_SEEN, units.shape[1])
        wrong = np.where(units[i] >= PRESENT, 0.0, 1.0 if only_presence else intensity)
        seen[i] = np.where(flipped, wrong, units[i]) + noise * rng.standard_normal(units.shape[1])
    return np.clip(seen, 0, 1)


def pictured(units: np.ndarray, size: int) -> np.ndarray:
    """Draws action units f32[N, U] as grey values, row by row, u8[N, size, size, 3]; the other values are 0.

    Raises:
      UserError: there are more units than pixels.
    """
    n, n_units = units.shape
    if n_units > size**2:
        raise UserError(f"config.data.image_size is {size}; {n_units} action units as the input need {n_units} pixels")
    grey = np.zeros((n, size**2), np.uint8)
    grey[:, :n_units] = np.round(255 * np.clip(units, 0, 1))
    return np.repeat(grey.reshape(n, size, size, 1), 3, -1)
