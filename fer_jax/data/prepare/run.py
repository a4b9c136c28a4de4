"""Runs `fer-jax data prepare`: crops the pictures and copies all other files.

`folder` has the layout on disk, `worker` prepares one file, and `crop` finds the face. The same source and settings
give the same bytes, however often a run was killed in between.
"""

import concurrent.futures
import contextlib
import functools
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import ml_collections
import PIL

from fer_jax import config as configs
from fer_jax.config import names
from fer_jax.config.places import expanded
from fer_jax.data import crop, listing
from fer_jax.data.images import BadImage, printable, read_image
from fer_jax.data.prepare import unsure_sheet
from fer_jax.data.prepare.folder import HIDDEN, Journal, check_place, digest, find, work_folder, write
from fer_jax.data.prepare.summary import SUMMARY, as_json, summarise
from fer_jax.data.prepare.worker import JPEG_QUALITY, prepare_one, run, unreadable, why
from fer_jax.errors import UserError

log = logging.getLogger("fer_jax")
FORMAT = 1
SIZES = (32, 1024)


class NoBar:
    """A progress bar that shows nothing, where one such as `fer_jax.runs.progress.Bar` may be passed."""

    def __init__(self, what: str, total: int):
        del what, total

    def __enter__(self) -> "NoBar":
        return self

    def __exit__(self, *exception) -> None:
        pass

    def advance(self, n: int) -> None:
        """Counts n more items as done."""


class Work(NamedTuple):
    """The files to prepare, by their paths relative to the source.

    sources: every file of the source.
    journal: what was done before; its folder is the one that is worked in.
    done: files that are done already.
    problems: what becomes of bad pictures.
    """

    sources: dict[str, pathlib.Path]
    journal: Journal
    done: set[str]
    problems: listing.Problems

    @property
    def todo(self) -> list[str]:
        """The new or changed files."""
        return [relative for relative in self.sources if relative not in self.done]

    @property
    def gone(self) -> list[str]:
        """The prepared files without a source."""
        return sorted(self.journal.records.keys() - self.sources.keys())


def prepare(
    config: ml_collections.ConfigDict,
    out: pathlib.Path,
    margin: float | None = None,
    size: int | None = None,
    jobs: int | None = None,
    bar: Callable = NoBar,
    detector: Callable = crop.FaceDetector,
) -> dict:
    """Prepares the data set of `config` (`config.data`: name, manual_dir, image_size, on_bad_image) into `out`.

    With `jobs` above 1 pictures are worked on in processes that import the caller's main module.

    Args:
      margin: what is kept around a face, in sizes of the face, on each side; None for `crop.MARGIN`.
      size: pixels of a prepared picture's side; None for image_size.
      jobs: processes; None for one a CPU core.
      bar: makes what shows progress, of what is done and how many there are; see `NoBar`.
      detector: makes what finds faces in u8[H, W, 3]; can be pickled, and has `name` and `version()`.

    Returns:
      The summary, as in out/.prepare/summary.json.

    Raises:
      UserError: a setting or folder that will not do, a bad picture where that is an error, or a failure to write.
    """
    _check_keys(config)
    size = config.image_size if size is None else size
    margin = crop.MARGIN if margin is None else margin
    jobs = _cores() if jobs is None else jobs
    _check(config, margin, size, jobs)
    root = listing.existing_folder(expanded(config.manual_dir, "config.data.manual_dir"))
    out = pathlib.Path(os.path.abspath(expanded(out, "--out")))
    check_place(out, root)
    problems = listing.Problems(root, config.on_bad_image)
    sources = _sources(root, problems)
    journal = Journal(find(out) or work_folder(out), _settings(config, size, margin, detector))
    journal.read()
    journal.check_strangers(set(sources))
    work = Work(sources, journal, _still_good(journal, sources, jobs, bar), problems)
    if _is_done(work, out):
        return summarise(journal, problems)
    one = functools.partial(prepare_one, root=root, size=size, margin=margin)
    with _writing(work, out):
        one = functools.partial(one, folder=journal.folder)
        with bar("preparing", len(sources)) as shown, contextlib.closing(run(one, work.todo, jobs, detector)) as done:
            shown.advance(len(work.done))
            for record in done:
                _take_in(work, record)
                shown.advance(1)
        return _finish(work, root, out)


def _sources(root: pathlib.Path, problems: listing.Problems) -> dict[str, pathlib.Path]:
    sources = {listing.relative(root, path): path for path in listing.files_below(root, problems)}
    if not any(map(listing.is_picture_name, sources.values())):
        raise UserError(f"config.data.manual_dir {printable(root)} has no pictures ({_words(listing.EXTENSIONS)})")
    return sources


def _is_done(work: Work, out: pathlib.Path) -> bool:
    """Judges what is done already, says how far that is, and checks new files before a finished folder is touched."""
    journal, todo, gone = work.journal, work.todo, work.gone
    for relative in work.done:
        _judge(work, journal.records[relative])
    if journal.folder != out:
        if work.done:
            log.info("going on: %d of %d files are there", len(work.done), len(work.sources))
        return False
    if not todo and not gone and (out / HIDDEN / SUMMARY).is_file():
        log.info("%s is prepared already: %d files", printable(out), len(work.done))
        return True
    log.info("%s: %d files are new or changed, %d gone", printable(out), len(todo), len(gone))
    _look_at(todo, work.sources, work.problems)
    return False


@contextlib.contextmanager
def _writing(work: Work, out: pathlib.Path) -> Iterator[None]:
    """Opens the journal in the work folder, a finished folder moved there first, and forgets what is gone.

    Raises:
      UserError: something cannot be written.
    """
    journal, gone = work.journal, work.gone
    try:
        if journal.folder == out:
            os.replace(out, work_folder(out))
            journal.folder = work_folder(out)
        journal.open()
        for relative in gone:
            journal.forget(relative)
        yield
    except OSError as error:
        raise UserError(
            f"--out {printable(out)} cannot be written ({why(error)}); the same command goes on from here"
        ) from None
    finally:
        journal.close()


def _take_in(work: Work, record: dict) -> None:
    if "failed" in record:
        raise UserError(record["failed"])
    _judge(work, record)
    work.journal.add(record)


def _finish(work: Work, root: pathlib.Path, out: pathlib.Path) -> dict:
    """Writes summary and contact sheet, and puts the folder in its place."""
    summary = summarise(work.journal, work.problems)
    write(work.journal.folder, f"{HIDDEN}/{SUMMARY}", as_json(summary))
    unsure_sheet.write(work.journal, root)
    work.journal.close(out)
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
    configs.check_data(config, ("name",))
    if "data.on_bad_image" not in names.data_set(config.name).keys:
        raise UserError(f"config.data.name is {config.name}; it has no picture files to prepare")
    configs.check_data(config, ("manual_dir", "image_size", "on_bad_image"))


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


def _still_good(journal: Journal, sources: dict[str, pathlib.Path], jobs: int, bar: Callable) -> set[str]:
    """Paths whose source is as it was recorded and whose prepared file is what was written then."""

    def good(relative: str) -> bool:
        record = journal.records[relative]
        if digest(sources[relative]) != record["sha256"]:
            return False
        target = journal.folder / relative
        return digest(target) == record["prepared"] and not target.is_symlink()

    known = [relative for relative in sources if relative in journal.records]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool, bar("checking", len(known)) as shown:
        done = set()
        for relative, same in zip(known, pool.map(good, known), strict=True):
            shown.advance(1)
            if same:
                done.add(relative)
    return done


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


def _judge(work: Work, record: dict) -> None:
    """A picture that could not be read is an error, or counted."""
    if record["outcome"] == "unreadable":
        work.problems.add(BadImage(work.sources[record["file"]], record["problem"], record["remedy"]))
