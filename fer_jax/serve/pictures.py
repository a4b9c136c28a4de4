"""Pictures that come by request and go back in answers; nothing is written to a file."""

import base64
import io

import numpy as np
from PIL import Image

from fer_jax.data.images import BadImage, read_bytes
from fer_jax.serve.limits import Limits, Refusal

SCAN = b"\xff\xda"  # begins one in a JPEG, and is nowhere in its data


def read(content: bytes, limits: Limits) -> np.ndarray:
    """Reads a picture of a request's body, u8[H, W, 3].

    Raises:
      Refusal: 422, it is none, or takes too long to decode: too many pixels, or too many passes over them.
    """
    # Forty bytes make libjpeg pass once more over all pixels: ten million of them would hold the model for a day.
    if content.startswith(b"\xff\xd8") and content.count(SCAN) > limits.scans:
        raise Refusal(422, f"the picture cannot be used: it is a JPEG of {content.count(SCAN):,} scans; it may have "
                           f"{limits.scans}, so save it anew")  # fmt: skip
    try:
        return read_bytes(content, "picture", limits.picture_pixels)
    except BadImage as error:
        raise Refusal(422, f"the picture cannot be used: {error.problem}; {error.remedy}") from None


def as_url(image: np.ndarray, side: int) -> str:
    """Returns u8[H, W, 3] as a data URL, scaled to side × side pixels."""
    file = io.BytesIO()
    Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).save(file, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
