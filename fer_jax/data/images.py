"""Reads picture files of any origin into u8[H, W, 3] RGB, or explains in one line why it cannot.

A file's content decides what it is, not its name. Nothing here knows of data sets or faces.
"""

import contextlib
import io
import os
import pathlib
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from fer_jax.errors import UserError

# Pillow opens more, some of it through other programs (EPS); these are pictures and nothing else.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
SMALLEST_SIDE = 8
MAX_PIXELS = 100_000_000
# Pictures that are not read, by their extensions, and by what files in ISO's container say that they are.
FOREIGN = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **{
        f".{name}": "camera raw"
        for name in ["cr2", "cr3", "nef", "nrw", "arw", "dng", "raf", "orf", "rw2", "pef", "srw"]
    },
    **{f".{name}": name.upper() for name in ("jxl", "psd", "svg", "tga", "eps", "ico", "xcf", "exr", "hdr", "dcm")},
}
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"mif1": "HEIC",
           b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "camera raw"}  # fmt: skip
# TIFF's tags.
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
           struct.error, zlib.error)  # fmt: skip


class BadImage(UserError):
    """An error: a file that is no usable picture; one line: the file, what is wrong with it, what to do.

    path: the file. problem: what is wrong, without the file's name. remedy: what to do.
    """

    def __init__(self, path: pathlib.Path | str, problem: str, remedy: str = "replace it or remove it"):
        super().__init__(f"{printable(path)}: {problem}; {remedy}")
        self.path, self.problem, self.remedy = path, problem, remedy


def printable(path: pathlib.Path | str) -> str:
    r"""Returns a path as one line of text that can be printed and written as UTF-8.

    Bytes that are not UTF-8 appear as `\xff`, control and other characters that cannot be printed as `\n`, `\x1b`, ….
    """
    # A path's bytes are UTF-8 whatever the locale; a text is no path, and the locale has no say in it.
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else os.fsencode(path)
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_image(path: pathlib.Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture, upright and in colour.

    Converted: grey, palette and CMYK to RGB (colour profiles are ignored, CMYK JPEGs taken as inverted, which is how
    Adobe writes them); 16 bits a channel to 8, 65535 becoming 255; transparency laid over white; EXIF rotation
    applied; of an animation the first frame.
    Refused: what is not a whole picture of one of FORMATS; 32-bit greys and L*a*b*, whose range no file says; a side
    below SMALLEST_SIDE pixels; more pixels than `max_pixels`, which is told from the header before any is decoded.

    Args:
      path: a file; its extension does not matter.
      max_pixels: the most that width × height may be. Pillow's own limit, 2 × `PIL.Image.MAX_IMAGE_PIXELS`, holds too.

    Returns:
      u8[H, W, 3].

    Raises:
      BadImage: the file's name, what is wrong with it, what to do.
    """
    path = pathlib.Path(path)
    _check_file(path)
    # Given a path, Pillow maps an uncompressed TIFF with its sides swapped by the orientation: rows scrambled.
    with path.open("rb") as file:
        return _read(file, path, max_pixels)


def read_bytes(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture that is no file, as `read_image` does.

    Args:
      name: what errors call it.

    Raises:
      BadImage: as `read_image` says.
    """
    if not content:
        raise BadImage(name, "it is empty (0 bytes)")
    return _read(io.BytesIO(content), name, max_pixels)


def _read(file: BinaryIO, path: pathlib.Path | str, max_pixels: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes that our limit allows, and of damaged EXIF that does not hurt the picture.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                _check_size(path, image.size, max_pixels)
                with _silent(image):
                    image.load()
                return _rgb(path, image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        most = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise BadImage(path, f"it has more than {most:,} pixels", "make it smaller or remove it") from None
    except Image.UnidentifiedImageError:
        foreign = _foreign(file, path)
        if foreign:
            raise BadImage(path, f"it is {foreign}, which is not read", "save it as JPEG or PNG") from None
        raise BadImage(path, f"it is not a picture ({', '.join(FORMATS)})") from None
    except _DAMAGE as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadImage(path, f"it cannot be decoded ({why})") from None


def _foreign(file: BinaryIO, path: pathlib.Path | str) -> str | None:
    """Returns what kind of picture a file is that no decoder here takes: by its content, else by its extension."""
    file.seek(0)
    head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return FOREIGN.get(pathlib.PurePath(path).suffix.lower())


_stderr = threading.Lock()


@contextlib.contextmanager
def _silent(image: Image.Image) -> Iterator[None]:
    """Keeps libtiff's own words on a damaged TIFF off stderr: it writes to the process's, past Python's."""
    if image.format != "TIFF":
        yield
        return
    with _stderr, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a process without stderr has nothing to keep quiet
            before = os.dup(2)
            stack.callback(os.close, before)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, before, 2)
        yield


def rgb_of(values: np.ndarray) -> np.ndarray | str:
    """Returns pixel values [H, W] or [H, W, channels] as u8[H, W, 3], or in words what keeps them from being a picture.

    Grey is repeated, transparency laid over white, 16 bits become 8, 65535 becoming 255.
    """
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[-1] not in (1, 2, 3, 4):
        return f"is {list(values.shape)}; it may be [H, W] or [H, W, channels], with 1 to 4 channels"
    if min(values.shape[:2]) < SMALLEST_SIDE:
        return f"is {values.shape[1]} × {values.shape[0]}; a picture is at least {SMALLEST_SIDE} × {SMALLEST_SIDE}"
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype != np.uint8:
        return f"is {values.dtype}, of no known range; it may be uint8 or uint16"
    if values.shape[-1] in (2, 4):
        alpha = values[..., -1:].astype(np.uint32)
        over = values[..., :-1] * alpha + 255 * (255 - alpha)
        values = ((over + 127) // 255).astype(np.uint8)
    return np.repeat(values, 3, -1) if values.shape[-1] == 1 else values


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Crops the centre square of u8[H, W, 3] and scales it to u8[size, size, 3].

    Bilinear with antialiasing (Pillow's, whose kernel grows with the reduction): no pixel is left out, nothing rings,
    and the same bytes come out on every machine. An image that already has the size is returned unchanged.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(image)
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.uint8)


def _check_file(path: pathlib.Path) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadImage(path, f"it cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise BadImage(path, "it is not a file")
    if status.st_size == 0:
        raise BadImage(path, "it is empty (0 bytes)")
    try:
        path.open("rb").close()
    except OSError as error:
        raise BadImage(path, f"it cannot be read ({error.strerror})") from None


def _check_size(path: pathlib.Path | str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        problem = f"it is {width} × {height}, more than {max_pixels:,} pixels"
        raise BadImage(path, problem, "make it smaller or remove it")
    if min(width, height) < SMALLEST_SIDE:
        raise BadImage(path, f"it is {width} × {height}; a picture is at least {SMALLEST_SIDE} × {SMALLEST_SIDE}")


def _grey_range(image: Image.Image) -> tuple[int, bool]:
    """Returns the value of white (of black, if it is inverted) of a grey of over 8 bits, and whether it is inverted.

    Pillow hands TIFF's values over as they are: 12 bits fill the lower part of 16, and zero may be white.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    return 2 ** (bits if 8 < bits < 16 else 16) - 1, tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _rgb(path: pathlib.Path | str, image: Image.Image) -> np.ndarray:
    # A PGM's header says its range, and Pillow scales it to 16 bits.
    sixteen = image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")
    white, inverted = _grey_range(image)
    image = ImageOps.exif_transpose(image)
    if sixteen:
        if "transparency" in image.info:
            raise BadImage(path, "it is a 16-bit grey with a transparent shade", "save it as 8-bit RGB")
        wide = np.minimum(np.asarray(image).astype(np.uint32), white)
        grey = ((wide * 255 + white // 2) // white).astype(np.uint8)
        grey = 255 - grey if inverted else grey
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("I", "F", "LAB"):
        raise BadImage(path, f"its pixels are of Pillow's mode {image.mode}, of no known range", "save it as 8-bit RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"), np.uint8)
