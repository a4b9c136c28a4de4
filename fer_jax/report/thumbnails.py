"""Thumbnails of faces for the page: several in one image, as a data URI."""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 64
COLUMNS = 8
QUALITY = 82


class Thumbnails(NamedTuple):
    """An image of the page: its data URI, its text alternative, its size in pixels."""

    source: str
    alt: str
    width: int
    height: int


def sized(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Resizes u8[H, W, 3] to u8[side, side, 3]; small images keep sharp pixels."""
    how = Image.Resampling.NEAREST if image.shape[0] <= side // 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((side, side), how))


def sheet(images: list[np.ndarray], alt: str, columns: int = COLUMNS, side: int = SIDE) -> Thumbnails:
    """Tiles images u8[H, W, 3] in rows of one WebP, transparent where the last row is not full."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    canvas = np.zeros((rows * side, columns * side, 4), np.uint8)
    for i, image in enumerate(images):
        top, left = side * (i // columns), side * (i % columns)
        canvas[top : top + side, left : left + side, :3] = sized(image, side)
        canvas[top : top + side, left : left + side, 3] = 255
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, format="WEBP", quality=QUALITY, method=4)
    text = base64.b64encode(file.getvalue()).decode()
    return Thumbnails(f"data:image/webp;base64,{text}", alt, columns * side, rows * side)
