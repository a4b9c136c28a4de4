"""The contents of a folder of pictures: files, classes and subjects, before any picture is opened.

Every data set of files makes one `Listing`. Its digest names what is prepared from it, so a changed label or setting,
or a file of another size or time, never gets an old cache. Contents are not read for it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fer_jax.config.rules import TEXT, one_of, several
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

ON_BAD_IMAGE = ("error", "skip")
KEYS = {"data.manual_dir": TEXT, "data.on_bad_image": one_of(*ON_BAD_IMAGE), "data.base_classes": several(TEXT, 0)}
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
)
LITTER = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
SUBJECTS_UNKNOWN = "subjects are unknown: every image counts as its own subject, and people may be in several splits"


class Found(NamedTuple):
    """One picture as a data set's files describe it; a subject of None is unknown."""

    path: pathlib.Path
    class_name: str
    subject: str | None
    official_test: bool | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One picture, numbered. relative: its path under the root."""

    relative: str
    label: int
    subject: int
    size: int
    mtime_ns: int
    official_test: bool | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """A whole data set of files.

    sources: (relative path, size, mtime_ns) of the files that the labels were read from.
    skipped: {"file", "problem"} of everything left out so far.
    units: for every class the numbers of its action units, where the data set tells them.
    """

    root: pathlib.Path
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    sources: tuple[tuple[str, int, int], ...]
    skipped: tuple[dict[str, str], ...]
    metadata: dict
    units: tuple[tuple[int, ...], ...] | None = None

    @property
    def has_official_test(self) -> bool:
        """True if the data set itself reserves images for testing."""
        return any(entry.official_test is not None for entry in self.entries)

    def digest(self, *settings) -> str:
        """Returns sixteen hexadecimal digits of everything that decides the prepared data, which excludes the root."""
        files = [[printable(e.relative), *dataclasses.astuple(e)[1:]] for e in self.entries]
        sources = [[printable(name), *rest] for name, *rest in self.sources]
        everything = [files, sources, self.class_names, self.skipped, self.metadata, self.units, settings]
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]

    def check_unchanged(self, root: pathlib.Path) -> None:
        """Compares every file under a root with the listing.

        Raises:
          UserError: one that is missing there, or of another size or time.
        """
        for relative, size, mtime_ns in (*((e.relative, e.size, e.mtime_ns) for e in self.entries), *self.sources):
            path = root / relative
            try:
                status = os.stat(path)
            except OSError as error:
                raise UserError(f"{printable(path)} cannot be read ({error.strerror}); it was there before") from None
            if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
                raise UserError(f"{printable(path)} has changed since the files were listed; start again")


class Problems:
    """How to handle a bad file: raise at once, or leave it out and note that."""

    def __init__(self, root: pathlib.Path, on_bad_image: str):
        if on_bad_image not in ON_BAD_IMAGE:
            raise UserError(f"config.data.on_bad_image is {on_bad_image!r}; it may be one of {', '.join(ON_BAD_IMAGE)}")
        self.root, self.on_bad_image = root, on_bad_image
        self.skipped: list[dict[str, str]] = []

    def add(self, error: BadImage) -> None:
        """Raises the error, with another remedy, or notes it."""
        if self.on_bad_image == "error":
            remedy = f"{error.remedy}, or leave such files out with config.data.on_bad_image=skip"
            raise BadImage(error.path, error.problem, remedy) from None
        self.skipped.append({"file": printable(relative(self.root, error.path)), "problem": error.problem})


def relative(root: pathlib.Path, path: pathlib.Path) -> str:
    """Returns a path relative to a root, with slashes on every system."""
    return path.relative_to(root).as_posix()


def existing_folder(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder that `config.data.manual_dir` names.

    Raises:
      UserError: it is not there, or a file.
    """
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise UserError(
            f"config.data.manual_dir {printable(path)} {what}; it may be the folder that holds the pictures"
        )
    return path


def files_below(folder: pathlib.Path, problems: Problems) -> Iterator[pathlib.Path]:
    """Yields every file below a folder, sorted; follows links to folders, and reports one to a folder above itself."""
    yield from _walk(folder, {_identity(folder)}, problems)


def _walk(folder: pathlib.Path, above: set, problems: Problems) -> Iterator[pathlib.Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{printable(folder)} cannot be read ({error.strerror})") from None
    for child in children:
        if is_litter(child):
            continue
        if not child.is_dir():
            yield child
        elif _identity(child) in above:
            problems.add(BadImage(child, "it is a link to a folder above itself", "remove it"))
        else:
            yield from _walk(child, above | {_identity(child)}, problems)


def _identity(folder: pathlib.Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_litter(path: pathlib.Path) -> bool:
    """Returns True for hidden files and files that desktops leave in folders."""
    return path.name.startswith(".") or path.name.lower() in LITTER


def is_picture_name(path: pathlib.Path) -> bool:
    """Returns True if a name has a picture's extension, one of EXTENSIONS, in upper or lower case."""
    return path.suffix.lower() in EXTENSIONS


def class_name(text: str) -> str:
    """Returns a class's name in the form that is compared and shown: lower case, single spaces, valid UTF-8."""
    return printable(" ".join(text.split())).lower()


def order_classes(names: Iterable[str], base_classes: Iterable[str], where: str) -> tuple[str, ...]:
    """Returns the class names with the base classes first, in their order; the others stay in theirs.

    Raises:
      UserError: a base class that is not among the names.
    """
    names = list(dict.fromkeys(names))
    first = [class_name(name) for name in base_classes]
    if len(set(first)) < len(first):
        raise UserError(f"config.data.base_classes is {tuple(base_classes)}; each may be named once")
    missing = [name for name in first if name not in names]
    if missing:
        raise UserError(f"config.data.base_classes has {missing}; {where} has {', '.join(names) or 'no classes'}")
    return (*first, *(name for name in names if name not in first))


def make(
    problems: Problems,
    found: Iterable[Found],
    class_names: tuple[str, ...],
    sources: Iterable[pathlib.Path] = (),
    notes: Iterable[str] = (),
    units: tuple[tuple[int, ...], ...] | None = None,
    **metadata,
) -> Listing:
    """Makes the listing of the pictures found, numbered in the order of their paths.

    Raises:
      UserError: no picture at all, some subjects known and others not, or a subject on both sides of a split.
      BadImage: a file that cannot be looked at, where that is an error.
    """
    root, present = problems.root, []
    for one in sorted(found, key=lambda f: os.fsencode(f.path)):
        try:
            present.append((one, os.stat(one.path)))
        except OSError as error:
            problems.add(BadImage(one.path, f"it cannot be read ({error.strerror})"))
    if not present:
        raise UserError(f"{printable(root)} holds no pictures of this data set; config.data.manual_dir may be another")
    pictures = [one for one, _ in present]
    labels = [class_names.index(one.class_name) for one in pictures]
    known = {one.subject is not None for one in pictures}
    if len(known) > 1:
        raise UserError(
            f"{printable(root)}: the subject of some pictures is known, that of others not; give all or none"
        )
    _check_sides(root, pictures)
    notes = list(notes)
    if known == {True}:
        number = {subject: i for i, subject in enumerate(sorted({one.subject for one in pictures}))}
        subjects = [number[one.subject] for one in pictures]
    else:
        notes.append(SUBJECTS_UNKNOWN)
        strata = [(label, bool(one.official_test)) for label, one in zip(labels, pictures, strict=True)]
        subjects = spread([relative(root, one.path) for one in pictures], strata)
    entries = tuple(
        Entry(relative(root, one.path), label, subject, status.st_size, status.st_mtime_ns, one.official_test)
        for (one, status), label, subject in zip(present, labels, subjects, strict=True)
    )
    stamped = []
    for path in sources:
        status = os.stat(path)
        stamped.append((os.path.relpath(path, root), status.st_size, status.st_mtime_ns))
    metadata = {**metadata, "split_by": "subject" if known == {True} else "image", "notes": notes}
    return Listing(root, class_names, entries, tuple(stamped), tuple(problems.skipped), metadata, units)


def _check_sides(root: pathlib.Path, pictures: list[Found]) -> None:
    sides: dict[str, Found] = {}
    for one in pictures:
        if one.subject is None:
            continue
        other = sides.setdefault(one.subject, one)
        if other.official_test != one.official_test:
            raise UserError(
                f"subject {one.subject!r} is in both splits: {printable(relative(root, other.path))} and "
                f"{printable(relative(root, one.path))}; a subject may be in train or in test"
            )


def spread(names: list[str], strata: list) -> list[int]:
    """Numbers pictures of unknown people so that any block of consecutive numbers has each stratum in proportion.

    A block of n numbers has n · share of a stratum that is this share of the whole, to within 1 + S · share (S strata).
    Within a stratum the order is that of a hash of the name: the same on every machine, and not that of the folder.

    Returns:
      a permutation of 0 … N - 1.
    """
    members: dict = {}
    for i, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(i)
    position = {}
    for stratum, rows in members.items():
        rows = sorted(rows, key=lambda i: hashlib.sha256(os.fsencode(names[i])).digest())
        for rank, i in enumerate(rows):
            position[i] = ((rank + 0.5) / len(rows), stratum)
    numbers = [0] * len(names)
    for number, i in enumerate(sorted(position, key=position.get)):
        numbers[i] = number
    return numbers
