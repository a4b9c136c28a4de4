"""Pictures that come by request and go back in answers; nothing is written to a file."""

import base64
import io

import numpy as np
from PIL import Image

from fer_jax.data.images import BadImage, read_bytes
from fer_jax.serve.limits import Limits, Refusal


def read(content: bytes, limits: Limits) -> np.ndarray:
    """Reads a picture of a request's body, u8[H, W, 3].

    Raises:
      Refusal: 422, it is none, or has too many pixels.
    """
    try:
        return read_bytes(content, "picture", limits.picture_pixels)
    except BadImage as error:
        raise Refusal(422, f"the picture cannot be used: {error.problem}") from None


def as_url(image: np.ndarray, side: int) -> str:
    """Returns u8[H, W, 3] as a data URL, scaled to side × side pixels."""
    file = io.BytesIO()
    Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).save(file, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
