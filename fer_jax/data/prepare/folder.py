"""A prepared folder on disk, with a journal of what was done, so that a killed run can be resumed.

Work is done in `OUT.partial`, which becomes OUT when it is complete, so an existing OUT is complete. `.prepare/` in it,
hidden from every data set's reader, holds journal, summary and contact sheet. A file is written under another name and
renamed, then its record goes into the journal: a record without its file cannot exist.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

from fer_jax.data.images import printable
from fer_jax.data.listing import is_litter
from fer_jax.errors import UserError

HIDDEN = ".prepare"
JOURNAL = "journal.jsonl"
# What a record has beside "file", "sha256" and "prepared", by its outcome.
OUTCOMES: dict[str, dict] = {
    "copied": {},
    "unreadable": {"problem": str, "remedy": str},
    "found": {"faces": int, "score": int | float, "square": list},
    "not found": {"faces": int, "square": list},
}


def digest(path: pathlib.Path) -> str | None:
    """Computes the SHA-256 of a file; None if it cannot be read or is no file, such as a pipe."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def write(folder: pathlib.Path, relative: str, content: bytes) -> str:
    """Writes a file below a folder completely or not at all; returns its SHA-256."""
    with _replacing(folder, relative) as temporary:
        temporary.write_bytes(content)
        return hashlib.sha256(content).hexdigest()


def copy(folder: pathlib.Path, relative: str, source: pathlib.Path) -> str:
    """Copies a file to below a folder completely or not at all; returns its SHA-256."""
    with _replacing(folder, relative) as temporary:
        shutil.copyfile(source, temporary)
        return digest(temporary)


@contextlib.contextmanager
def _replacing(folder: pathlib.Path, relative: str) -> Iterator[pathlib.Path]:
    """A name to write to; what is there at the end takes the file's place."""
    temporary = folder / HIDDEN / f"tmp-{os.getpid()}"
    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, folder / relative)
    finally:
        temporary.unlink(missing_ok=True)


def work_folder(out: pathlib.Path) -> pathlib.Path:
    """Returns the folder in which a folder is prepared before it is renamed into place."""
    return out.with_name(out.name + ".partial")


def check_place(out: pathlib.Path, source: pathlib.Path) -> None:
    """Checks that neither folder lies in the other, with links followed.

    Raises:
      UserError: it does, or the place is no folder's.
    """
    real, real_source = pathlib.Path(os.path.realpath(out)), pathlib.Path(os.path.realpath(source))
    if real == real_source:
        raise UserError(f"--out {printable(out)} is config.data.manual_dir itself; choose another folder")
    if real_source in real.parents:
        raise UserError(f"--out {printable(out)} lies inside config.data.manual_dir; choose a folder outside of it")
    if real in real_source.parents:
        raise UserError(f"--out {printable(out)} holds config.data.manual_dir; choose another folder")
    for folder in (out, work_folder(out)):
        if folder.is_symlink():
            raise UserError(f"--out {printable(folder)} is a link; name the folder itself")
        above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not above.is_dir():
            raise UserError(f"--out {printable(out)}: {printable(above)} is a file; choose another folder")


def find(out: pathlib.Path) -> pathlib.Path | None:
    """Finds the folder that an earlier run left, finished or not; returns None if there is none.

    Raises:
      UserError: both a finished and an unfinished one, or a folder with other things in it.
    """
    there = [f for f in (out, work_folder(out)) if f.is_dir() and any(f.iterdir())]
    for folder in there:
        # An empty journal folder is what a run leaves that was killed at its first breath.
        nothing_else = [p.name for p in folder.iterdir()] == [HIDDEN]
        if not (folder / HIDDEN / JOURNAL).is_file() and not (nothing_else and folder != out):
            raise UserError(f"--out {printable(folder)} holds other things; choose a new or an empty folder")
    if len(there) == 2:
        raise UserError(f"--out {printable(out)} and {printable(there[1])} are both there; remove one of them")
    return there[0] if there else None


class Journal:
    """The records of a prepared folder: a line of settings, then one JSON line a file.

    records: by path relative to the folder, links and bytes that are not UTF-8 as Python has them.
    """

    def __init__(self, folder: pathlib.Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.records: dict[str, dict] = {}
        self._file = None

    def read(self) -> None:
        """Reads the records of an earlier run; ignores an incomplete last line.

        Raises:
          UserError: that run had other settings, or a line is not one that `data prepare` writes.
        """
        lines = []
        path = self.folder / HIDDEN / JOURNAL
        for line in path.read_text("ascii", "replace").splitlines() if path.is_file() else ():
            try:
                lines.append(json.loads(line))
            except (ValueError, RecursionError):
                break
        if not lines:
            return
        for number, line in enumerate(lines, 1):
            if not (_is_record(line) if number > 1 else isinstance(line, dict)):
                said = f"{printable(path)}, line {number} is not what data prepare wrote"
                raise UserError(f"{said}; choose another --out")
        there = lines[0]
        different = [k for k in sorted({*there, *self.settings}) if there.get(k) != self.settings.get(k)]
        if different:
            said = ", ".join(f"{k} {there.get(k)} there, {self.settings.get(k)} here" for k in different)
            raise UserError(f"--out {printable(self.folder)} was prepared otherwise: {said}; choose another folder")
        self.records = {record["file"]: record for record in lines[1:]}

    def check_strangers(self, sources: set[str]) -> None:
        """Checks that every file in the folder was prepared or is about to be.

        Raises:
          UserError: another file, a link, which would lead out of the folder, or records of another source altogether.
        """
        if self.records and sources.isdisjoint(self.records):
            raise UserError(
                f"--out {printable(self.folder)} was prepared from other files than config.data.manual_dir has; "
                "choose another folder"
            )
        link = next((path for path in self.folder.rglob("*") if path.is_symlink()), None)
        if link:
            raise UserError(f"--out {printable(link)} is a link, which was not prepared; remove it")
        for where, folders, files in os.walk(self.folder):
            folders[:] = [f for f in folders if not is_litter(pathlib.Path(f))]
            for name in files:
                relative = (pathlib.Path(where) / name).relative_to(self.folder)
                if not is_litter(relative) and relative.as_posix() not in self.records.keys() | sources:
                    raise UserError(
                        f"--out {printable(self.folder)} holds {printable(relative)}, which was not prepared; "
                        "move it away or choose another folder"
                    )

    def open(self) -> None:
        """Starts recording; no other run may record at the same time.

        Raises:
          UserError: another run is at work in the folder.
        """
        hidden = self.folder / HIDDEN
        hidden.mkdir(parents=True, exist_ok=True)
        self._file = open(hidden / JOURNAL, "ab+")  # noqa: SIM115  stays open as the lock
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"another run is at work in {printable(self.folder)}; wait for it or end it") from None
        for left in hidden.glob("tmp-*"):
            left.unlink()
        self._rewrite()

    def add(self, record: dict) -> None:
        """Adds the record of a file, and writes it at once."""
        self.records[record["file"]] = record
        self._file.write(_line(record))
        self._file.flush()

    def forget(self, relative: str) -> None:
        """Removes a file whose source is gone, and the folders that it leaves empty."""
        target = self.folder / relative
        target.unlink(missing_ok=True)
        del self.records[relative]
        for folder in target.parents:
            if folder == self.folder or any(folder.iterdir()):
                break
            folder.rmdir()

    def close(self, out: pathlib.Path | None = None) -> None:
        """Ends recording; with `out`, sorts the records and renames the folder to it."""
        if self._file is None:
            return
        if out is not None:
            self._rewrite()
            os.replace(self.folder, out)
            self.folder = out
        self._file.close()
        self._file = None

    def _rewrite(self) -> None:
        """One line a file, sorted. In place, under the lock: what is lost when killed here is only done again."""
        records = sorted(self.records.values(), key=lambda r: os.fsencode(r["file"]))
        self._file.seek(0)
        self._file.truncate()
        self._file.write(b"".join(_line(one) for one in (self.settings, *records)))
        self._file.flush()


def _is_record(value) -> bool:
    """Whether a line of a journal is a file's record, and names a file that can be in the folder."""
    if not isinstance(value, dict) or not isinstance(value.get("file"), str):
        return False
    path = pathlib.PurePosixPath(value["file"])
    # Nothing hidden is prepared, and a name of dots is hidden too.
    inside = path.parts and not path.is_absolute() and not any(is_litter(pathlib.Path(part)) for part in path.parts)
    outcome = value.get("outcome")
    digests = all(key in value and isinstance(value[key], str | None) for key in ("sha256", "prepared"))
    if not inside or "\0" in value["file"] or not digests or not isinstance(outcome, str):
        return False
    if outcome not in OUTCOMES or not all(isinstance(value.get(key), kind) for key, kind in OUTCOMES[outcome].items()):
        return False
    square = value.get("square", [0, 0, 0])
    return len(square) == 3 and all(isinstance(v, int) for v in square)


def _line(value: dict) -> bytes:
    return (json.dumps(value, sort_keys=True) + "\n").encode("ascii")
