"""`fer-jax data prepare`: a data set's folder once more, every picture cut to its face; all other files are copied.

Where and how things are kept is `prepared_folder`'s, where the face is `crop`'s. The same source and settings give the
same bytes, however often a run was killed in between.
"""

import collections
import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator

import ml_collections
import numpy as np
import PIL
from PIL import Image

from fer_jax.data import crop, listing, unsure_sheet
from fer_jax.data.images import BadImage, printable, read_image
from fer_jax.data.prepared_folder import HIDDEN, Journal, check_place, copy, digest, find, work_folder, write
from fer_jax.data.summary import SUMMARY, as_json, summarise
from fer_jax.errors import UserError
from fer_jax.progress import Bar, log

FORMAT = 1
JPEG_QUALITY = 95
MARGIN = 0.25
SIZES = (32, 1024)
# By extension; what a file of any other extension is, its content says: PNG.
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".bmp": "BMP", ".tif": "TIFF",
           ".tiff": "TIFF", ".webp": "WEBP", ".ppm": "PPM"}  # fmt: skip
OPTIONS = {"JPEG": {"quality": JPEG_QUALITY, "subsampling": 0}, "WEBP": {"lossless": True}}
CHUNK = 4  # files a worker takes at a time


def prepare(
    config: ml_collections.ConfigDict,
    out: pathlib.Path,
    margin: float | None = None,
    size: int | None = None,
    jobs: int | None = None,
    console=None,
    detector: Callable = crop.FaceDetector,
) -> dict:
    """Prepares the data set of `config` (`config.data`: name, manual_dir, image_size, on_bad_image) into `out`.

    With `jobs` above 1 pictures are worked on in processes that import the caller's main module.

    Args:
      margin: what is kept around a face, in sizes of the face, on each side; None for MARGIN.
      size: pixels of a prepared picture's side; None for image_size.
      jobs: processes; None for one a CPU core.
      detector: makes what finds faces in u8[H, W, 3]; can be pickled, and has `name` and `version()`.

    Returns:
      The summary, as in out/.prepare/summary.json.

    Raises:
      UserError: a setting or folder that will not do, a bad picture where that is an error, or a failure to write.
    """
    _check_keys(config)
    size = config.image_size if size is None else size
    margin = MARGIN if margin is None else margin
    jobs = _cores() if jobs is None else jobs
    _check(config, margin, size, jobs)
    root = listing.existing_folder(pathlib.Path(config.manual_dir).expanduser())
    out = pathlib.Path(os.path.abspath(out.expanduser()))
    check_place(out, root)
    settings = {"format": FORMAT, "data": config.name, "size": size, "margin": float(margin), "detector": detector.name,
                "detector_version": detector.version(), "pillow": PIL.__version__,
                "jpeg_quality": JPEG_QUALITY}  # fmt: skip
    problems = listing.Problems(root, config.on_bad_image)
    sources = {listing.relative(root, path): path for path in listing.files_below(root, problems)}
    if not any(map(listing.is_picture_name, sources.values())):
        raise UserError(f"config.data.manual_dir {printable(root)} has no pictures ({_words(listing.EXTENSIONS)})")

    journal = Journal(find(out) or work_folder(out), settings)
    journal.read()
    journal.check_strangers(set(sources))
    kept = _still_good(journal, sources, jobs, console)
    for relative in kept:
        _judge(journal.records[relative], sources[relative], problems)
    todo = [relative for relative in sources if relative not in kept]
    gone = sorted(journal.records.keys() - sources.keys())
    if journal.folder == out:
        if not todo and not gone:
            log.info("%s is prepared already: %d files", printable(out), len(kept))
            return summarise(journal, problems)
        log.info("%s: %d files are new or changed, %d gone", printable(out), len(todo), len(gone))
        os.replace(out, work_folder(out))
        journal.folder = work_folder(out)
    elif kept:
        log.info("going on: %d of %d files are there", len(kept), len(sources))
    try:
        journal.open()
        for relative in gone:
            journal.forget(relative)
        one = functools.partial(_one, root=root, folder=journal.folder, size=size, margin=margin)
        with Bar("preparing", len(sources), console) as bar:
            bar.advance(len(kept))
            with contextlib.closing(_run(one, todo, min(jobs, max(1, len(todo) // CHUNK)), detector)) as records:
                for record in records:
                    if "failed" in record:
                        raise UserError(record["failed"])
                    _judge(record, sources[record["file"]], problems)
                    journal.add(record)
                    bar.advance(1)
        summary = summarise(journal, problems)
        write(journal.folder, f"{HIDDEN}/{SUMMARY}", as_json(summary))
        unsure_sheet.write(journal, root)
        journal.close(out)
    except OSError as error:
        raise UserError(
            f"--out {printable(out)} cannot be written ({_why(error)}); the same command goes on from here"
        ) from None
    finally:
        journal.close()
    return summary


def _check_keys(config: ml_collections.ConfigDict) -> None:
    if config.get("name") == "facs_faces":
        raise UserError("config.data.name is facs_faces; rendered faces need no preparation")
    for key in ("name", "manual_dir", "image_size", "on_bad_image"):
        if key not in config:
            raise UserError(f"config.data.{key} is missing; a data set of files has it, as configs/cfee.py shows")


def _check(config: ml_collections.ConfigDict, margin: float, size: int, jobs: int) -> None:
    if not config.manual_dir:
        raise UserError("config.data.manual_dir is empty; it may be the folder that holds the pictures")
    if not 0 <= margin <= 2:
        raise UserError(f"--margin is {margin}; it may be a number from 0 to 2")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"--size is {size}; it may be a whole number from {SIZES[0]} to {SIZES[1]}")
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it may be a whole number from 1")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _still_good(journal: Journal, sources: dict[str, pathlib.Path], jobs: int, console) -> set[str]:
    """Paths whose source is as it was recorded and whose prepared file is what was written then."""

    def good(relative: str) -> bool:
        record = journal.records[relative]
        if digest(sources[relative]) != record["sha256"]:
            return False
        target = journal.folder / relative
        return digest(target) == record["prepared"] and not target.is_symlink()

    known = [relative for relative in sources if relative in journal.records]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool, Bar("checking", len(known), console) as bar:
        kept = set()
        for relative, same in zip(known, pool.map(good, known), strict=True):
            bar.advance(1)
            if same:
                kept.add(relative)
    return kept


def _judge(record: dict, source: pathlib.Path, problems: listing.Problems) -> None:
    """A picture that could not be read is an error, or counted."""
    if record["outcome"] == "unreadable":
        problems.add(BadImage(source, record["problem"], record["remedy"]))


def _one(relative: str, find_faces: Callable, root: pathlib.Path, folder: pathlib.Path, size: int, margin: float):
    """Prepares or copies one file; its record, or {"failed"}: the line that says why there is none."""
    source, target = root / relative, folder / relative
    record = {"file": relative, "sha256": digest(source), "prepared": None}
    try:
        if not listing.is_picture_name(source):
            if record["sha256"] is None:
                return {"failed": f"{printable(source)} cannot be read; it may be a file, or be removed"}
            return record | {"outcome": "copied", "prepared": copy(folder, relative, source)}
        try:
            image = read_image(source)
        except BadImage as error:
            target.unlink(missing_ok=True)  # what an earlier run made of a picture that was whole then
            return record | {"outcome": "unreadable", "problem": error.problem, "remedy": error.remedy}
        found, cut = cut_face(image, find_faces, margin, size)
        return record | found | {"prepared": write(folder, relative, encode(cut, source.suffix))}
    except OSError as error:
        return {"failed": f"{printable(target)} cannot be written ({_why(error)}); the same command goes on from here"}


def cut_face(image: np.ndarray, find_faces: Callable, margin: float, size: int) -> tuple[dict, np.ndarray]:
    """What was found in u8[H, W, 3], and the square around its largest face, or its centre, as u8[size, size, 3]."""
    height, width = image.shape[:2]
    faces = find_faces(image)
    if faces:
        where = crop.square_around(faces[0], height, width, margin)
        score, box = round(faces[0].score, 4), [round(float(v), 2) for v in faces[0][:4]]
    else:
        where, score, box = crop.centre_square(height, width), None, None
    found = {"outcome": "found" if faces else "not found", "faces": len(faces), "score": score, "face": box,
             "square": list(where)}  # fmt: skip
    return found, crop.crop(image, where, size)


def encode(image: np.ndarray, extension: str) -> bytes:
    """u8[H, W, 3] as a file of this extension; the same bytes for the same pixels and Pillow."""
    kind = FORMATS.get(extension.lower(), "PNG")
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **OPTIONS.get(kind, {}))
    return file.getvalue()


def _run(one: Callable, todo: list[str], jobs: int, detector: Callable) -> Iterator[dict]:
    """Records of all files to do, in order; with one job in this process."""
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
