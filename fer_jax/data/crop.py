"""Finds the face in a picture and the square to crop: pure geometry, and the one detector behind it.

The detector is dlib's frontal face detector (histograms of oriented gradients and a linear classifier; Dalal and Triggs
2005, King 2015), whose weights are part of the library. docs/faces.md has the comparison that chose it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_jax.data.images import square
from fer_jax.errors import UserError

# The detector sees faces from 80 pixels on, so a picture is searched at a size where the face of a portrait has these
# and a large picture costs no more than a small one.
SEARCH_SIDES = (480, 640)
# Below it dlib's scores are mostly false alarms; up to UNSURE a person should look.
THRESHOLD, UNSURE = 0.0, 0.5
MARGIN = 0.25  # kept around a face, in sizes of the face, on each side


class Face(NamedTuple):
    """A box around brows, cheeks and chin, in pixels of the picture; may extend beyond it. score: higher is surer."""

    left: float
    top: float
    width: float
    height: float
    score: float


class Square(NamedTuple):
    """A square inside a picture, in pixels."""

    left: int
    top: int
    side: int


class FaceDetector:
    """dlib's frontal face detector.

    Raises:
      UserError: dlib is not installed.
    """

    name = "dlib frontal face detector (HOG)"

    def __init__(self):
        self._detector = _dlib().get_frontal_face_detector()

    @staticmethod
    def version() -> str:
        """Returns dlib's version.

        Raises:
          UserError: dlib is not installed.
        """
        return _dlib().__version__

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Every face in u8[H, W, 3], the largest first; of equally large ones the most central."""
        height, width = image.shape[:2]
        scale = search_scale(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        searched = image
        if shape != (width, height):
            searched = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))
        boxes, scores, _ = self._detector.run(searched, 0, THRESHOLD)
        faces = [
            Face(b.left() / scale, b.top() / scale, b.width() / scale, b.height() / scale, float(score))
            for b, score in zip(boxes, scores, strict=True)
        ]
        return sorted(faces, key=lambda face: _rank(face, height, width))


@functools.cache
def _dlib():
    try:
        import dlib
    except ImportError:
        raise UserError("finding faces needs dlib; install it with pip install -e '.[faces]'") from None
    return dlib


def search_scale(height: int, width: int) -> float:
    """Returns the factor that scales a picture for the search, so that its longer side is within SEARCH_SIDES."""
    longer = max(height, width)
    return float(np.clip(longer, *SEARCH_SIDES)) / longer


def _rank(face: Face, height: int, width: int) -> tuple:
    off_centre = abs(face.left + face.width / 2 - width / 2) + abs(face.top + face.height / 2 - height / 2)
    return -face.width * face.height, off_centre, face.left, face.top


def square_around(face: Face, height: int, width: int, margin: float) -> Square:
    """Returns the square around a face, wider by `margin` of the face's longer side on each side.

    A square that extends beyond the picture is moved inside, and one larger than the picture shrinks to it. So every
    pixel of the crop is one of the picture, and the face has the same scale whenever possible.
    """
    side = round(max(face.width, face.height) * (1 + 2 * margin))
    side = max(1, min(side, height, width))
    left = round(face.left + face.width / 2 - side / 2)
    top = round(face.top + face.height / 2 - side / 2)
    return Square(min(max(left, 0), width - side), min(max(top, 0), height - side), side)


def centre_square(height: int, width: int) -> Square:
    """Returns the largest square in the middle of a picture."""
    side = min(height, width)
    return Square((width - side) // 2, (height - side) // 2, side)


def crop(image: np.ndarray, where: Square, size: int) -> np.ndarray:
    """Crops the square of u8[H, W, 3] and scales it to u8[size, size, 3]."""
    return square(image[where.top : where.top + where.side, where.left : where.left + where.side], size)


def cut_face(image: np.ndarray, find_faces: Callable, margin: float, size: int) -> tuple[dict, np.ndarray]:
    """Finds faces in u8[H, W, 3]; returns what was found, and the largest face's square, or the centre, as u8[size,
    size, 3].
    """
    height, width = image.shape[:2]
    faces = find_faces(image)
    if faces:
        return _cut(image, faces, 0, margin, size)
    where = centre_square(height, width)
    outcome = {"outcome": "not found", "faces": 0, "score": None, "face": None, "square": list(where)}
    return outcome, crop(image, where, size)


def cut_faces(
    image: np.ndarray, find_faces: Callable, margin: float, size: int, most: int
) -> list[tuple[dict, np.ndarray]]:
    """Finds faces in u8[H, W, 3]; returns what `cut_face` does of each of the `most` largest, and nothing of none."""
    faces = find_faces(image)
    return [_cut(image, faces, i, margin, size) for i in range(min(most, len(faces)))]


def _cut(image: np.ndarray, faces: list[Face], i: int, margin: float, size: int) -> tuple[dict, np.ndarray]:
    face, (height, width) = faces[i], image.shape[:2]
    where = square_around(face, height, width, margin)
    outcome = {"outcome": "found", "faces": len(faces), "score": round(face.score, 4),
               "face": [round(float(v), 2) for v in face[:4]], "square": list(where)}  # fmt: skip
    return outcome, crop(image, where, size)
