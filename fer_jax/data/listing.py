"""The contents of a folder of pictures: files, classes and subjects, before any picture is opened.

Every data set of files makes one `Listing`. Its digest names what is prepared from it, so a changed label or setting,
or a file of another size or time, never gets an old cache. Contents are not read for it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fer_jax.data.images import FOREIGN, BadImage, printable
from fer_jax.errors import UserError

ON_BAD_IMAGE = ("error", "skip")
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
)
# What desktops, file servers and notebooks leave in folders beside what is hidden: names of files and folders.
LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "@recycle", "#recycle", "@tmp", "#snapshot",
     "@__thumb", "__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "lost.dir",
     "found.000", "network trash folder", "temporary items", "__pycache__", "@synoeastream", "@synoresource"}
)  # fmt: skip
JOINERS = "\u200c\u200d"  # without width, too, but some scripts write words with them
SUBJECTS_UNKNOWN = "subjects are unknown: every image counts as its own subject, and people may be in several splits"


Targets = tuple[tuple[str, tuple[float, ...] | float], ...]


class Found(NamedTuple):
    """One picture as a data set's files describe it; a subject of None is unknown.

    official_test: None where the data set has no split. official_validation: it is set apart for validation.
    row: its number in a file of many pictures. targets: pairs of a name and a number, or several.
    """

    path: pathlib.Path
    class_name: str
    subject: str | None
    official_test: bool | None = None
    official_validation: bool = False
    row: int | None = None
    targets: Targets = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """One picture, numbered. relative: its path under the root; the other fields are `Found`'s."""

    relative: str
    label: int
    subject: int
    size: int
    mtime_ns: int
    official_test: bool | None = None
    official_validation: bool = False
    row: int | None = None
    targets: Targets = ()

    @property
    def shown(self) -> str:
        """The picture's file, and its row where the file has many, as one line of text."""
        name = printable(pathlib.PurePath(self.relative))
        return name if self.row is None else f"{name}, row {self.row}"

    def described(self) -> list:
        """Returns what a digest is over; what few data sets have counts only where it is there."""
        own = [self.label, self.subject, self.size, self.mtime_ns, self.official_test]
        more = [self.official_validation, self.row, self.targets]
        return [printable(self.relative), *own, *(more if any(one not in (False, None, ()) for one in more) else [])]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A whole data set of files.

    sources: (relative path, size, mtime_ns) of the files that the labels were read from.
    skipped: {"file", "problem"} of everything left out so far.
    units: for every class the numbers of its action units, where the data set tells them.
    read: from an entry to u8[H, W, 3], for files of many pictures; None reads a picture file.
    ignored: how many files there are besides, those of desktops and file servers included.
    """

    root: pathlib.Path
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    sources: tuple[tuple[str, int, int], ...]
    skipped: tuple[dict[str, str], ...]
    metadata: dict
    units: tuple[tuple[int, ...], ...] | None = None
    read: Callable[[Entry], np.ndarray] | None = dataclasses.field(default=None, compare=False, repr=False)
    ignored: int = dataclasses.field(default=0, compare=False)

    @property
    def has_official_validation(self) -> bool:
        """True if the data set itself reserves images for validation."""
        return any(entry.official_validation for entry in self.entries)

    @property
    def has_official_test(self) -> bool:
        """True if the data set itself reserves images for testing."""
        return any(entry.official_test is not None for entry in self.entries)

    def digest(self, *settings) -> str:
        """Returns sixteen hexadecimal digits of everything that decides the prepared data, which excludes the root."""
        files = [entry.described() for entry in self.entries]
        sources = [[printable(name), *rest] for name, *rest in self.sources]
        everything = [files, sources, self.class_names, self.skipped, self.metadata, self.units, settings]
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]

    def check_unchanged(self, root: pathlib.Path) -> None:
        """Compares every file under a root with the listing.

        Raises:
          UserError: one that is missing there, or of another size or time.
        """
        files = dict.fromkeys((e.relative, e.size, e.mtime_ns) for e in self.entries)
        for relative, size, mtime_ns in (*files, *self.sources):
            path = root / relative
            try:
                status = os.stat(path)
            except OSError as error:
                raise UserError(f"{printable(path)} cannot be read ({error.strerror}); it was there before") from None
            if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
                raise UserError(f"{printable(path)} has changed since the files were listed; start again")


class Problems:
    """How to handle a bad file: raise at once, or leave it out and note that.

    litter: how many files of desktops and file servers were passed over. ignored: how many others, by their kind.
    left_out: the bad files.
    """

    def __init__(self, root: pathlib.Path, on_bad_image: str):
        if on_bad_image not in ON_BAD_IMAGE:
            raise UserError(f"config.data.on_bad_image is {on_bad_image!r}; it may be one of {', '.join(ON_BAD_IMAGE)}")
        self.root, self.on_bad_image = root, on_bad_image
        self.skipped: list[dict[str, str]] = []
        self.left_out: set[pathlib.Path] = set()
        self._first: dict[str, pathlib.Path] = {}
        self.litter = 0
        self.ignored: dict[str, int] = {}

    def ignore(self, what: str, n: int = 1) -> None:
        """Counts what is no picture of the data set, such as "files without a picture's extension"."""
        if n:
            self.ignored[what] = self.ignored.get(what, 0) + n

    def notes(self) -> list[str]:
        """Returns a line for every kind of what was ignored, other than litter."""
        return [f"{n} {what} were left alone" for what, n in self.ignored.items()]

    def add(self, error: BadImage) -> None:
        """Raises the error, with another remedy, or notes it."""
        if self.on_bad_image == "error":
            remedy = f"{error.remedy}, or leave such files out with config.data.on_bad_image=skip"
            raise BadImage(error.path, error.problem, remedy) from None
        shown = printable(pathlib.PurePath(relative(self.root, error.path)))
        self.skipped.append({"file": shown, "problem": error.problem})
        self.left_out.add(error.path)

    def is_first(self, name: str, path: pathlib.Path) -> bool:
        """Returns True for the first file of a name that says what is in it; another one is a bad file."""
        first = self._first.setdefault(name, path)
        if first != path:
            other = printable(pathlib.PurePath(relative(self.root, first)))
            self.add(BadImage(path, f"it has the name of {other}", "remove one of them"))
        return first == path


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


def pictures_below(folder: pathlib.Path, problems: Problems) -> Iterator[pathlib.Path]:
    """Yields every file below a folder that is named as a picture, as `files_below`; counts the others."""
    for path in files_below(folder, problems):
        if is_picture_name(path):
            yield path
        else:
            problems.ignore("files without a picture's extension")


def _walk(folder: pathlib.Path, above: set, problems: Problems) -> Iterator[pathlib.Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{printable(folder)} cannot be read ({error.strerror})") from None
    for child in children:
        if is_litter(child):
            problems.litter += sum(len(files) for _, _, files in os.walk(child)) if child.is_dir() else 1
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
    """Returns True for hidden files, and for files and folders that desktops and file servers leave in folders."""
    return path.name.startswith(".") or path.name.lower() in LITTER


def is_picture_name(path: pathlib.Path) -> bool:
    """Returns True if a name has a picture's extension, in upper or lower case.

    It may be one of EXTENSIONS, or one of FOREIGN, which no decoder here takes: such a picture is reported, not passed
    over.
    """
    return path.suffix.lower() in EXTENSIONS or path.suffix.lower() in FOREIGN


def class_name(text: str) -> str:
    """Returns a class's name in the form that is compared and shown: lower case, single spaces, valid UTF-8, NFC.

    A letter with an accent is one character in NFC, and two as macOS writes names of files. Characters that nobody
    sees, such as a space of no width, are no part of it, but joiners within words are.
    """
    seen = "".join(one for one in text if unicodedata.category(one) != "Cf" or one in JOINERS).strip(JOINERS)
    return printable(one_spelling(" ".join(seen.split())).lower())


def subject_name(text: str) -> str:
    """Returns a subject's name in the form that is compared, as a class's: one person may be spelled in two ways."""
    return class_name(text)


def one_spelling(text: str) -> str:
    """Returns a text in Unicode's composed form, NFC."""
    return unicodedata.normalize("NFC", text)


def text_of(path: pathlib.PurePath) -> str:
    """Returns a path as text: names of files are UTF-8, whatever the locale takes them for."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


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
    read: Callable[[Entry], np.ndarray] | None = None,
    **metadata,
) -> Listing:
    """Makes the listing of the pictures found, numbered in the order of their paths and rows.

    Raises:
      UserError: no picture at all, some subjects known and others not, or a subject on both sides of a split.
      BadImage: a file that cannot be looked at, where that is an error.
    """
    root, present = problems.root, []
    for one in sorted(found, key=lambda f: (os.fsencode(f.path), f.row or 0)):
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
        unknown, other = (next(one for one in pictures if (one.subject is None) == none) for none in (True, False))
        names = (printable(pathlib.PurePath(_unique_name(root, one))) for one in (unknown, other))
        raise UserError("{} has no subject, and {} has one; give all or none".format(*names))
    check_sides((_unique_name(root, one), one.subject, one.official_test, one.official_validation) for one in pictures)
    notes = [*notes, *problems.notes()]
    if not any(one.official_test for one in pictures) and any(one.official_test is not None for one in pictures):
        present = [(one._replace(official_test=None), status) for one, status in present]
        pictures = [one for one, _ in present]
        notes.append("no picture is of an official test set: folds of subjects are tested on")
    if known == {True}:
        subjects = _numbered([one.subject for one in pictures])
    else:
        notes.append(SUBJECTS_UNKNOWN)
        subjects = _spread(root, pictures, labels)
    entries = tuple(
        Entry(
            relative(root, one.path), label, subject, status.st_size, status.st_mtime_ns, one.official_test,
            one.official_validation, one.row, one.targets,
        )
        for (one, status), label, subject in zip(present, labels, subjects, strict=True)
    )  # fmt: skip
    stamped = []
    for path in sources:
        status = os.stat(path)
        stamped.append((os.path.relpath(path, root), status.st_size, status.st_mtime_ns))
    metadata = {**metadata, "split_by": "subject" if known == {True} else "image", "notes": notes}
    ignored = _count_others(root, {*problems.left_out, *sources, *(one.path for one in pictures)})
    return Listing(root, class_names, entries, tuple(stamped), tuple(problems.skipped), metadata, units, read, ignored)


def _count_others(root: pathlib.Path, used: set[pathlib.Path]) -> int:
    """Counts the files below a root that are not among these, those of desktops and file servers included."""
    walk = Problems(root, "skip")
    others = sum(path not in used for path in files_below(root, walk))
    return others + walk.litter


def _spread(root: pathlib.Path, pictures: list[Found], labels: list[int]) -> list[int]:
    """Numbers pictures of unknown people, each class and official part in proportion."""
    parts = [(bool(one.official_test), one.official_validation) for one in pictures]
    strata = [(label, *part) for label, part in zip(labels, parts, strict=True)]
    return spread([_unique_name(root, one) for one in pictures], strata)


def _unique_name(root: pathlib.Path, one: Found) -> str:
    return relative(root, one.path) + ("" if one.row is None else f":{one.row}")


def _numbered(subjects: list[str]) -> list[int]:
    """Numbers subjects in the order of their names, as they are spelled first; two spellings of one are one."""
    spelled: dict[str, str] = {}
    for name in sorted(set(subjects)):
        spelled.setdefault(subject_name(name), name)
    number = {key: i for i, key in enumerate(sorted(spelled, key=spelled.get))}
    return [number[subject_name(name)] for name in subjects]


def check_sides(pictures: Iterable[tuple[str, str | None, bool | None, bool]]) -> None:
    """Checks that no subject is in two splits.

    Args:
      pictures: name, subject (None if unknown), `Found.official_test` and `Found.official_validation` of each.

    Raises:
      UserError: a subject is in two; two pictures of it are named.
    """
    first: dict[str, tuple[str, list]] = {}
    for name, subject, *side in pictures:
        if subject is None:
            continue
        other, others = first.setdefault(subject_name(subject), (name, side))
        if others != side:
            parts = "train, in validation or in test" if side[1] or others[1] else "train or in test"
            two = " and ".join(printable(pathlib.PurePath(one)) for one in (other, name))
            raise UserError(f"subject {subject!r} is in both splits: {two}; a subject may be in {parts}")


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
