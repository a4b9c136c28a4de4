"""CSV files of action units in the exact forms of OpenFace 2.2, py-feat 2.1 and LibreFace 0.2."""

import csv
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

OPENFACE_R = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_C = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
PYFEAT = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
LIBREFACE_DETECTED = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
LIBREFACE_INTENSITY = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)

Units = Mapping[int, float]  # by number, from 0 to 1; absent ones are 0


def drawn(seed: int) -> dict[int, float]:
    """Returns the units of one face, some of them absent, in steps of which all formats are capable."""
    rng = np.random.default_rng(seed)
    return {unit: int(rng.integers(1, 6)) / 5 for unit in PYFEAT if rng.random() < 0.4}


def openface_image(path: pathlib.Path, faces: Iterable[tuple[float, Units]]) -> None:
    """FaceLandmarkImg's file of one picture: its faces with their confidence."""
    gaze = [*(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y"]
    header = ["face", "confidence", *gaze, *_openface_columns()]
    rows = [[face, f"{sure:.3f}", *["0.000000"] * 8, *_openface(units)] for face, (sure, units) in enumerate(faces)]
    _write(path, header, rows)


def openface_frames(path: pathlib.Path, frames: Iterable[tuple[float, int, Units]], space: str = "") -> None:
    """FeatureExtraction's file of a folder or a video: confidence, success and units of each frame.

    space: what earlier versions put in front of all names but the first.
    """
    header = ["frame", "face_id", "timestamp", "confidence", "success", "pose_Tx", *_openface_columns()]
    rows = [[number, 0, f"{(number - 1) / 30:.3f}", f"{sure:.2f}", success, "0.0", *_openface(units)]
            for number, (sure, success, units) in enumerate(frames, 1)]  # fmt: skip
    _write(path, [header[0], *(space + name for name in header[1:])], rows)


def _openface_columns() -> list[str]:
    return [*(f"AU{unit:02}_r" for unit in OPENFACE_R), *(f"AU{unit:02}_c" for unit in OPENFACE_C)]


def _openface(units: Units) -> list[str]:
    return [*(f"{5 * units.get(unit, 0):.2f}" for unit in OPENFACE_R),
            *(f"{float(units.get(unit, 0) > 0):.1f}" for unit in OPENFACE_C)]  # fmt: skip


def pyfeat(path: pathlib.Path, rows: Iterable[tuple[str, float | None, Units]]) -> None:
    """py-feat's file of many pictures: the input's name, FaceScore and units; no score is no face."""
    boxes = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
    header = [*boxes, "FaceScore", "x_0", "Pitch", *(f"AU{unit:02}" for unit in PYFEAT), "anger", "input", "frame"]
    lines = []
    for name, score, units in rows:
        if score is None:
            lines.append([*[""] * (len(header) - 2), name, 0])
        else:
            values = [repr(float(np.float32(units.get(unit, 0)))) for unit in PYFEAT]
            lines.append(["1.0", "2.0", "30.0", "40.0", score, "3.5", "0.1", *values, "0.2", name, 0])
    _write(path, header, lines)


def libreface_image(path: pathlib.Path, units: Units) -> None:
    """LibreFace's file of one picture, which names it nowhere."""
    _write(path, ["facial_expression", "gaze_yaw", "pitch", "lm_mp_0_x", *_libreface_columns()],
           [["Happiness", "1.5", "0.1", "12.0", *_libreface(units)]])  # fmt: skip


def libreface_video(path: pathlib.Path, frames: Sequence[Units | None]) -> None:
    """LibreFace's file of a video; a frame without a face is empty."""
    header = ["frame_idx", "frame_time_in_ms", "pitch", *_libreface_columns(), "facial_expression"]
    nothing = [""] * (len(header) - 2)
    rows = [[i, f"{i / 30:.4f}", *(nothing if units is None else ["0.1", *_libreface(units), "Fear"])]
            for i, units in enumerate(frames)]  # fmt: skip
    _write(path, header, rows)


def _libreface_columns() -> list[str]:
    return [*(f"au_{unit}" for unit in LIBREFACE_DETECTED), *(f"au_{unit}_intensity" for unit in LIBREFACE_INTENSITY)]


def _libreface(units: Units) -> list[str]:
    # Its intensities are no probabilities times 5: some lie a little below 0.
    return [*(str(int(units.get(unit, 0) > 0)) for unit in LIBREFACE_DETECTED),
            *(f"{5 * units.get(unit, 0) or -0.031:.3f}" for unit in LIBREFACE_INTENSITY)]  # fmt: skip


def _write(path: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
