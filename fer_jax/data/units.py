"""The action units of a data set's images: joined from a detector's tables, with errors made, and as the only input.

`config.data.units` says which. Tables are read in `unit_tables`, and joined to images in `unit_join`.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import ml_collections
import numpy as np

from fer_jax.config.places import expanded
from fer_jax.data import unit_join, unit_tables
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.data.images import printable
from fer_jax.data.unit_join import Joined
from fer_jax.data.unit_tables import Tables
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


def _joined(units: ml_collections.ConfigDict, data: FaceArrays) -> FaceArrays:
    if not data.files:
        raise UserError("config.data.units.path is a table, and this data set's pictures have no file names to join by")
    path = expanded(units.path, "config.data.units.path")
    tables = unit_tables.read(path, units.kind)
    join = unit_join.joined(tables, data.files, units.minimum_confidence)
    there = np.flatnonzero(join.row >= 0)
    if not len(there):
        why = _why_none(tables, join, data.files, units.minimum_confidence)
        raise UserError(f"config.data.units.path {printable(path)} gives no picture its action units: {why}")
    values = np.asarray([tables.rows[i].values for i in join.row[there]], np.float32)
    clipped = [one for one in tables.rows if one.clipped]
    without = int((join.row < 0).sum() - join.dropped.sum())
    counts = {
        "program": tables.program, "rows": len(tables.rows), "images": len(there), "images_without_row": without,
        "images_of_low_confidence": int(join.dropped.sum()), "rows_of_low_confidence": join.low,
        "rows_without_image": join.unused, "rows_of_other_folders": len(join.elsewhere), "further_rows": join.further,
        "clipped_values": sum(one.clipped for one in clipped), "other_files": tables.others,
    }  # fmt: skip
    notes = [*data.metadata.get("notes", ()), *_notes(counts, units.minimum_confidence)]
    if join.elsewhere:
        notes.append(f"{len(join.elsewhere)} rows are of other folders, such as {_elsewhere(tables, join, data.files)}")
    if clipped:
        notes.append(
            f"{counts['clipped_values']} values of {len(clipped)} rows are brought into their range, the first in "
            f"{unit_join.where(clipped[0])}"
        )
    data = data.rows(there)
    metadata = {**data.metadata, UNITS: list(tables.numbers), "units": counts, "notes": notes}
    # A table by class would be of other units.
    others = {name: table for name, table in data.class_targets.items() if name != UNITS}
    return dataclasses.replace(data, metadata=metadata, targets={**data.targets, UNITS: values}, class_targets=others)


def _why_none(tables: Tables, join: Joined, files: Sequence[str], minimum: float) -> str:
    """Returns why no image has a row."""
    if not tables.rows:
        return "it has no rows"
    if join.dropped.any():
        return f"all rows are of low confidence (config.data.units.minimum_confidence {minimum:g})"
    if join.elsewhere:
        return (
            f"{_elsewhere(tables, join, files)}; a table's names may have the folders of the data set, or none, and "
            "tables may lie in such folders"
        )
    return f"its first row is of {unit_join.named(tables.rows[0])}, the first picture is {printable(files[0])}"


def _elsewhere(tables: Tables, join: Joined, files: Sequence[str]) -> str:
    """Returns in words the first row that has the name of a picture in another folder."""
    row = tables.rows[min(join.elsewhere)]
    return (
        f"{unit_join.where(row)}, which is of {unit_join.named(row)}, and the picture of this name is "
        f"{printable(files[join.elsewhere[min(join.elsewhere)]])}"
    )


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
