"""Prepares one file, and runs the processes that prepare many.

Workers are started afresh and import this module, so it imports little.
"""

import collections
import concurrent.futures
import io
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from fer_jax.data import crop, listing
from fer_jax.data.images import BadImage, printable, read_image
from fer_jax.data.prepare.folder import copy, digest, write
from fer_jax.errors import UserError

JPEG_QUALITY = 95
# By extension; what a file of any other extension is, its content says: PNG.
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".bmp": "BMP", ".tif": "TIFF",
           ".tiff": "TIFF", ".webp": "WEBP", ".ppm": "PPM"}  # fmt: skip
OPTIONS = {"JPEG": {"quality": JPEG_QUALITY, "subsampling": 0}, "WEBP": {"lossless": True}}
CHUNK = 4  # files a worker takes at a time


def why(error: OSError) -> str:
    """Returns the reason of an error without its number and path."""
    return error.strerror or str(error)


def unreadable(source: pathlib.Path) -> str:
    """Returns the error line for a file that exists and cannot be read."""
    return f"{printable(source)} cannot be read; it may be a file, or be removed"


def prepare_one(
    relative: str, find_faces: Callable, root: pathlib.Path, folder: pathlib.Path, size: int, margin: float
):
    """Prepares or copies one file; returns its record, or {"failed": the line that says why there is none}."""
    source, target = root / relative, folder / relative
    record = {"file": relative, "sha256": digest(source), "prepared": None}
    try:
        if not listing.is_picture_name(source):
            if record["sha256"] is None:
                return {"failed": unreadable(source)}
            return record | {"outcome": "copied", "prepared": copy(folder, relative, source)}
        try:
            image = read_image(source)
        except BadImage as error:
            target.unlink(missing_ok=True)  # what an earlier run made of a picture that was whole then
            return record | {"outcome": "unreadable", "problem": error.problem, "remedy": error.remedy}
        found, cut = crop.cut_face(image, find_faces, margin, size)
        return record | found | {"prepared": write(folder, relative, encode(cut, source.suffix))}
    except OSError as error:
        return {"failed": f"{printable(target)} cannot be written ({why(error)}); the same command goes on from here"}


def encode(image: np.ndarray, extension: str) -> bytes:
    """Encodes u8[H, W, 3] as a file of this extension; equal pixels and Pillow versions give equal bytes."""
    kind = FORMATS.get(extension.lower(), "PNG")
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **OPTIONS.get(kind, {}))
    return file.getvalue()


def run(one: Callable, todo: list[str], jobs: int, detector: Callable) -> Iterator[dict]:
    """Yields the records of all files in order; prepares them in this process with one job, else in at most `jobs`
    processes.

    Raises:
      UserError: a worker was killed.
    """
    jobs = min(jobs, max(1, len(todo) // CHUNK))
    if jobs == 1:
        find_faces = detector()
        yield from (one(relative, find_faces) for relative in todo)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _begin_worker, (detector,)
    )
    try:
        # A few chunks ahead for each worker: records come soon, and an error ends the rest soon.
        chunks = iter([todo[at : at + CHUNK] for at in range(0, len(todo), CHUNK)])
        waiting = collections.deque()
        for chunk in chunks:
            waiting.append(pool.submit(_chunk, one, chunk))
            if len(waiting) > 3 * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError("a worker process was killed, perhaps for want of memory; try --jobs=1") from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker: dict = {}


def _begin_worker(detector: Callable) -> None:
    """Runs in each worker: it leaves Ctrl-C to its parent, and ends with it even when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=lambda: (multiprocessing.connection.wait([parent]), os._exit(1)), daemon=True).start()
    _worker["find_faces"] = detector()


def _chunk(one: Callable, chunk: list[str]) -> list[dict]:
    return [one(relative, _worker["find_faces"]) for relative in chunk]
