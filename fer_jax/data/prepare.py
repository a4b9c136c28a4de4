"""`fer-jax data prepare`: a data set's folder once more, every picture cut to its face; all other files are copied.

Where and how things are kept is `prepared_folder`'s, where the face is `crop`'s. The same source and settings give the
same bytes, however often a run was killed in between.
"""

import concurrent.futures
import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterable

import ml_collections
import PIL

from fer_jax import config as configs
from fer_jax.data import crop, listing, unsure_sheet
from fer_jax.data.images import BadImage, printable, read_image
from fer_jax.data.prepare_worker import JPEG_QUALITY, prepare_one, run, unreadable, why
from fer_jax.data.prepared_folder import HIDDEN, Journal, check_place, digest, find, work_folder, write
from fer_jax.data.summary import SUMMARY, as_json, summarise
from fer_jax.errors import UserError
from fer_jax.runs.progress import Bar, log

FORMAT = 1
MARGIN = 0.25
SIZES = (32, 1024)


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
    problems = listing.Problems(root, config.on_bad_image)
    sources = {listing.relative(root, path): path for path in listing.files_below(root, problems)}
    if not any(map(listing.is_picture_name, sources.values())):
        raise UserError(f"config.data.manual_dir {printable(root)} has no pictures ({_words(listing.EXTENSIONS)})")

    journal = Journal(find(out) or work_folder(out), _settings(config, size, margin, detector))
    journal.read()
    journal.check_strangers(set(sources))
    kept = _still_good(journal, sources, jobs, console)
    for relative in kept:
        _judge(journal.records[relative], sources[relative], problems)
    todo = [relative for relative in sources if relative not in kept]
    gone = sorted(journal.records.keys() - sources.keys())
    if journal.folder == out:
        if not todo and not gone and (out / HIDDEN / SUMMARY).is_file():
            log.info("%s is prepared already: %d files", printable(out), len(kept))
            return summarise(journal, problems)
        log.info("%s: %d files are new or changed, %d gone", printable(out), len(todo), len(gone))
        _look_at(todo, sources, problems)
    elif kept:
        log.info("going on: %d of %d files are there", len(kept), len(sources))
    try:
        if journal.folder == out:
            os.replace(out, work_folder(out))
            journal.folder = work_folder(out)
        journal.open()
        for relative in gone:
            journal.forget(relative)
        one = functools.partial(prepare_one, root=root, folder=journal.folder, size=size, margin=margin)
        bar = Bar("preparing", len(sources), console)
        with bar, contextlib.closing(run(one, todo, jobs, detector)) as records:
            bar.advance(len(kept))
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
            f"--out {printable(out)} cannot be written ({why(error)}); the same command goes on from here"
        ) from None
    finally:
        journal.close()
    return summary


def _settings(config: ml_collections.ConfigDict, size: int, margin: float, detector: Callable) -> dict:
    """All that the bytes of a prepared folder depend on, besides the source."""
    return {
        "format": FORMAT,
        "data": config.name,
        "size": size,
        "margin": float(margin),
        "detector": detector.name,
        "detector_version": detector.version(),
        "pillow": PIL.__version__,
        "jpeg_quality": JPEG_QUALITY,
    }


def _check_keys(config: ml_collections.ConfigDict) -> None:
    if config.get("name") == "facs_faces":
        raise UserError("config.data.name is facs_faces; rendered faces need no preparation")
    configs.check_data(config, ("name", "manual_dir", "image_size", "on_bad_image"))


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


def _look_at(todo: list[str], sources: dict[str, pathlib.Path], problems: listing.Problems) -> None:
    """New files, before a finished folder is touched: one that would end the run ends it while the folder is whole."""
    for relative in todo:
        source = sources[relative]
        if not listing.is_picture_name(source):
            if digest(source) is None:
                raise UserError(unreadable(source))
        elif problems.on_bad_image == "error":
            try:
                read_image(source)
            except BadImage as error:
                problems.add(error)


def _judge(record: dict, source: pathlib.Path, problems: listing.Problems) -> None:
    """A picture that could not be read is an error, or counted."""
    if record["outcome"] == "unreadable":
        problems.add(BadImage(source, record["problem"], record["remedy"]))
