"""`fer-jax predict`: a trained model on a user's own pictures: finds and cuts the face, and calibrates the
probabilities.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
import rich.console
import rich.markup
import rich.table
from PIL import Image

from fer_jax.data import crop, listing
from fer_jax.data.crop import MARGIN, centre_square, cut_face, cut_faces
from fer_jax.data.images import BadImage, printable, read_image, square
from fer_jax.errors import UserError
from fer_jax.inference import calibration
from fer_jax.inference.trained import Trained
from fer_jax.runs.files import write
from fer_jax.runs.progress import Bar, log

BATCH = 16
OVERLAY_SIDE = 256
NAME_LENGTH = 40  # of a picture's own name in that of its overlay; a file's name may have 255 bytes


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained model with its calibration, and how faces are cut for it.

    calibration: as `calibration.of` returns it.
    find_faces: faces in u8[H, W, 3]; None takes every picture for a face already and cuts its centre square.
    margin: added around a face, in sizes of the face, on each side.
    """

    trained: Trained
    calibration: dict
    find_faces: Callable | None
    margin: float = MARGIN

    def look(self, image: np.ndarray) -> tuple[dict, np.ndarray | None]:
        """Finds the face in u8[H, W, 3]; returns the outcome, and the face u8[S, S, 3] or None."""
        size = self.trained.image_size
        if self.find_faces is None:
            return {"outcome": "answered"}, square(image, size)
        outcome, face = cut_face(image, self.find_faces, self.margin, size)
        if outcome["outcome"] != "found":
            return {"outcome": "no face", "faces": 0}, None
        return {**outcome, "outcome": "answered"}, face

    def look_for_all(self, image: np.ndarray, most: int) -> list[tuple[dict, np.ndarray]]:
        """Finds the faces in u8[H, W, 3]; returns the outcome and the face of each of the `most` largest."""
        size = self.trained.image_size
        if self.find_faces is None:
            where = list(centre_square(*image.shape[:2]))
            return [({"outcome": "answered", "square": where}, square(image, size))]
        found = cut_faces(image, self.find_faces, self.margin, size, most)
        return [({**outcome, "outcome": "answered"}, face) for outcome, face in found]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Computes probabilities f64[B, C] of faces u8[B, S, S, 3], 0 for unknown classes."""
        return calibration.probabilities(self.trained, faces, self.calibration["temperature"])


@dataclasses.dataclass(frozen=True)
class Overlays:
    """Draws faces under Grad-CAM maps, shown beside the answers; `explain.overlays` makes one.

    folder: where they are written.
    draw: lays maps for classes i[B] over faces u8[B, S, S, 3]; returns u8[B, S, S, 3].
    class_index: the class that is looked for; None is each face's likeliest one.
    variant, layer: of the maps, named with each answer.
    """

    folder: pathlib.Path
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray]
    class_index: int | None
    variant: str
    layer: str


def build(trained: Trained, cropped: bool = False, margin: float | None = None) -> Predictor:
    """Builds a predictor with the calibration of the model's run.

    Raises:
      UserError: a margin out of range or of faces that are not searched for, or no face detector.
    """
    looking = uncalibrated(trained, cropped, margin)
    return dataclasses.replace(looking, calibration=calibration.of(trained))


def uncalibrated(trained: Trained, cropped: bool = False, margin: float | None = None) -> Predictor:
    """Builds a predictor that cuts faces as `build`'s does, for those who ask for no probabilities.

    Raises:
      UserError: as `build`, or the model reads action units and no pictures.
    """
    if trained.config.data.get("units", {}).get("input", False):
        raise UserError(
            f"--workdir {trained.workdir} has a model of action units (config.data.units.input); it looks at no "
            "pictures"
        )
    if margin is not None and not 0 <= margin <= 2:
        raise UserError(f"--margin is {margin}; it may be a number from 0 to 2")
    if margin is not None and cropped:
        raise UserError("--margin is of faces that are searched for; leave it out with --cropped")
    margin = MARGIN if margin is None else margin
    find_faces = None if cropped else crop.FaceDetector()
    return Predictor(trained, {"temperature": 1.0}, find_faces, margin)


def pictures(paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """Lists the named files, and the pictures below the named folders.

    Raises:
      UserError: a path that is not there, or a folder without pictures.
    """
    listed: list[pathlib.Path] = []
    for path in paths:
        if path.is_dir():
            files = list(listing.files_below(path, listing.Problems(path, "skip")))
            inside = [file for file in files if listing.is_picture_name(file)]
            if len(inside) < len(files):
                log.warning("%s: %d files without a picture's extension are passed over", printable(path),
                            len(files) - len(inside))  # fmt: skip
            if not inside:
                raise UserError(
                    f"{printable(path)} has no pictures; it may hold {', '.join(sorted(listing.EXTENSIONS))}"
                )
            listed += inside
        elif not path.exists():
            raise UserError(f"{printable(path)} does not exist; it may be a picture or a folder of pictures")
        else:
            listed.append(path)
    return listed


def answers(
    predictor: Predictor,
    files: list[pathlib.Path],
    top: int = 3,
    overlays: Overlays | None = None,
    console=None,
) -> Iterator[dict]:
    """Yields one dict a file, in order, with the `top` classes and their probabilities.

    Args:
      overlays: writes a picture of every face under a map, too.

    Raises:
      UserError: a number of classes out of range.
    """
    trained = predictor.trained
    check_top(top)
    batch = min(BATCH, len(files))
    with Bar("predicting", len(files), console) as bar:
        for at in range(0, len(files), batch):
            part = files[at : at + batch]
            rows, faces = map(list, zip(*(_read(predictor, file) for file in part), strict=True))
            there = [i for i, face in enumerate(faces) if face is not None]
            if there:
                # Filled up, so that every batch is the same compiled one.
                filled = np.stack([faces[there[i % len(there)]] for i in range(batch)])
                probabilities = predictor.probabilities(filled)[: len(there)]
                for i, p in zip(there, probabilities, strict=True):
                    rows[i]["classes"] = ranked(trained, p, top)
                if overlays is not None:
                    wanted = overlays.class_index
                    classes = probabilities.argmax(1) if wanted is None else np.full(len(there), wanted)
                    drawn = overlays.draw(filled, np.resize(classes, batch))
                    for i, face, under_map, c in zip(there, filled, drawn, classes, strict=False):
                        path = _write_overlay(overlays.folder, part[i], face, under_map)
                        rows[i] |= {"overlay": str(path), "overlay_class": trained.class_names[c],
                                    "overlay_variant": overlays.variant, "overlay_layer": overlays.layer}  # fmt: skip
            bar.advance(len(part))
            yield from rows


def check_top(top: int) -> None:
    """Checks that `--top` is a number of classes.

    Raises:
      UserError: it is not.
    """
    if top < 1:
        raise UserError(f"--top is {top}; it may be a whole number from 1")


DRAWN = "the model learned from drawn faces: nothing that was measured says how it does on photographs"


def check_readable(files: list[pathlib.Path]) -> None:
    """Checks that a single picture can be read, before a model is read for it.

    Raises:
      UserError: it cannot be read.
    """
    if len(files) == 1:
        try:
            read_image(files[0])
        except BadImage as error:
            raise UserError(f"{printable(files[0])}: {error.problem}; take one that is a picture") from None


def described(predictor: Predictor) -> dict:
    """Describes the model and its calibration, for the JSON."""
    trained = predictor.trained
    return {
        "model": {**trained.facts, "answers_by": trained.answers, "method_answers_by": trained.answers_by,
                  "taught": list(trained.taught.names) if trained.taught else []},
        "classes": list(trained.known_names),
        "learned_from": trained.config.data.name,
        "calibration": predictor.calibration,
    }  # fmt: skip


def as_json(predictor: Predictor, rows: list[dict]) -> str:
    """Writes all answers as one JSON document."""
    return json.dumps({**described(predictor), "answers": rows}, indent=1)


def print_table(predictor: Predictor, rows: list[dict], console: rich.console.Console | None = None) -> None:
    """Prints all answers as a table, a file a row, and a line about the calibration."""
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for i in range(max(1, *(len(row.get("classes", ())) for row in rows))):
        table.add_column("class" if i == 0 else "")
    for row in rows:
        if row["outcome"] == "answered":
            cells = [f"{one['class']} {100 * one['probability']:.0f} %" for one in row["classes"]]
        else:
            cells = [row.get("problem", "no face found")]
        table.add_row(*map(rich.markup.escape, (row["file"], *cells)))
    # Where lines are read by programs they are not broken.
    console = console or rich.console.Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print(calibration_line(predictor.calibration), style="dim", highlight=False)
    if predictor.trained.config.data.name == "facs_faces":
        console.print(DRAWN, style="dim", highlight=False)
    if line := answers_line(predictor.trained):
        console.print(line, style="dim", highlight=False)


def answers_line(trained: Trained) -> str | None:
    """Returns a line that says what answers, where it is not what the method itself answers by."""
    own, answers = (one.replace("_", " ") for one in (trained.answers_by, trained.answers))
    if trained.taught:
        taught = ", ".join(f"{one.name} (from {len(one.images)})" for one in trained.taught.classes)
        return f"taught beside the run's classes: {taught}; answers are by {answers}"
    if trained.answers == trained.answers_by:
        return None
    return f"answers are the network's; {trained.method} itself answers by {own}"


def calibration_line(fitted: dict) -> str:
    """Describes the calibration in one line."""
    if "test" not in fitted:
        return "probabilities are not calibrated"
    before, after = (100 * fitted["test"][when]["expected_calibration_error"] for when in ("before", "after"))
    return (
        f"temperature {fitted['temperature']:.2f}, fitted on {calibration.fitted_on(fitted)}; "
        f"calibration error on the run's test images {before:.1f} % before, {after:.1f} % after"
    )


def ranked(trained: Trained, probabilities: np.ndarray, top: int) -> list[dict]:
    """Returns the `top` likeliest classes of the known ones, likeliest first, from probabilities f[C]."""
    order = np.argsort(-probabilities, kind="stable")[: min(top, int(trained.class_mask.sum()))]
    return [{"class": trained.class_names[c], "probability": round(float(probabilities[c]), 6)} for c in order]


def _read(predictor: Predictor, path: pathlib.Path) -> tuple[dict, np.ndarray | None]:
    row = {"file": printable(path)}
    try:
        image = read_image(path)
    except BadImage as error:
        return {**row, "outcome": "unreadable", "problem": error.problem}, None
    outcome, face = predictor.look(image)
    return row | outcome, face


def _write_overlay(folder: pathlib.Path, source: pathlib.Path, face: np.ndarray, under_map: np.ndarray) -> pathlib.Path:
    """Writes the face and the face under the map side by side; a digest of the whole path makes the name unique."""
    side = (OVERLAY_SIDE, OVERLAY_SIDE)
    pictures = [Image.fromarray(array).resize(side, Image.Resampling.BICUBIC) for array in (face, under_map)]
    sheet = Image.new("RGB", (2 * OVERLAY_SIDE, OVERLAY_SIDE))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * OVERLAY_SIDE, 0))
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:8]
    path = folder / f"{printable(source.stem)[:NAME_LENGTH]}_{digest}.png"
    drawn = io.BytesIO()
    sheet.save(drawn, "PNG")
    write(path, drawn.getvalue())
    return path
