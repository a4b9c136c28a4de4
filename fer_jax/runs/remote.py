"""Workdirs in an object store, such as gs://BUCKET/RUN: their addresses, and copies of them to read.

fsspec speaks to the store. A step of checkpoints is there once its file `uploaded.txt` is, which is written last. How a
run writes to a store is in `mirror.py`.
"""

import contextlib
import importlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from fer_jax.errors import PassingError, UserError, first_line, import_extra

URL = re.compile(r"[a-z][a-z0-9]+:/.+")
PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}
MARK, OWNER = "uploaded.txt", "owner.json"
STEP = re.compile(r"checkpoints/(?:.*?/)??\d+(?=/|$)")
# What no command reads of a run; copies of a run to read are without it.
WRITTEN_ONLY = ("report/", "explain/", "tensorboard/", "taught/")

Workdir = str | os.PathLike
_copies: dict[pathlib.Path, "Store"] = {}
written: dict[pathlib.Path, str] = {}  # addresses of the folders that `mirror.py` uploads
_folders: list[tempfile.TemporaryDirectory] = []


def is_remote(workdir: Workdir) -> bool:
    """Returns True for an address in an object store, also one whose `//` pathlib has made a `/`."""
    return URL.fullmatch(os.fspath(workdir)) is not None


class Store:
    """A run's folder in an object store; paths are relative to it.

    Raises:
      UserError: an address of no known kind, or a package that is not installed.
    """

    def __init__(self, workdir: Workdir):
        text = os.fspath(workdir).rstrip("/")
        self.url = text if "://" in text else text.replace(":/", "://", 1)
        kind = self.url.partition(":")[0]
        if kind in PACKAGES:
            import_extra(PACKAGES[kind], "storage", f"--workdir {self.url} needs {PACKAGES[kind]}")
        fsspec = importlib.import_module("fsspec.core")  # only now: it takes time
        try:
            self.fs, self.root = fsspec.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
        except (ValueError, ImportError) as error:
            raise UserError(
                f"--workdir {self.url}: {first_line(error)}; it may be a folder, gs://BUCKET/NAME or s3://BUCKET/NAME"
            ) from None

    def __truediv__(self, path: str) -> str:
        return f"{self.root}/{path}"

    def units(self) -> dict[str, list[str]]:
        """Lists what is there: the paths of every step of checkpoints, and each other file by itself."""
        there = self.fs.find(self.root)
        return grouped(path[len(self.root) :].lstrip("/") for path in there)

    def get(self, paths: list[str], folder: pathlib.Path) -> None:
        """Copies files to a folder."""
        if paths:
            self.fs.get([self / path for path in paths], [str(folder / path) for path in paths])

    def put(self, paths: list[str], folder: pathlib.Path) -> None:
        """Copies files of a folder to the store; each is there whole or not at all."""
        self.fs.put([str(folder / path) for path in paths], [self / path for path in paths])

    @contextlib.contextmanager
    def reported(self, doing: str, then: str = "") -> Iterator[None]:
        """Converts what a store's package raises into an error of one line.

        Raises:
          PassingError: the store cannot be reached, or does not answer.
          UserError: there is no such bucket, or no right to use it.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # every package has its own
            mistake = isinstance(error, FileNotFoundError | PermissionError | ValueError)
            # Of google.auth and botocore, which belong to packages that may not be installed.
            mistake = mistake or "Credential" in type(error).__name__
            kind = UserError if mistake else PassingError
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise kind(f"--workdir {self.url} cannot be {doing} ({reason}){then}") from None


def grouped(paths: Iterable[str]) -> dict[str, list[str]]:
    """Groups relative paths: those of a step of checkpoints by its folder, each other path by itself."""
    units: dict[str, list[str]] = {}
    for path in paths:
        step = STEP.match(path)
        units.setdefault(step[0] if step else path, []).append(path)
    return units


def is_whole(unit: str, paths: list[str]) -> bool:
    """Returns True unless this is a step of checkpoints that was not uploaded to its end."""
    return paths == [unit] or f"{unit}/{MARK}" in paths


def readable(workdir: Workdir) -> pathlib.Path:
    """Returns a folder to read a run in: its workdir, or a copy of one in a store, which goes with this process.

    The copy has no checkpoints yet; `complete` adds those that are read.

    Raises:
      UserError: there is no run, or the store cannot be read.
    """
    if not is_remote(workdir):
        return pathlib.Path(workdir)
    store = Store(workdir)
    with store.reported("read"):
        units = {unit: paths for unit, paths in store.units().items() if is_whole(unit, paths)}
        if not {"config.json", "results.json"} & units.keys():
            raise UserError(f"--workdir {store.url} is not that of a run: it has no config.json")
        _folders.append(tempfile.TemporaryDirectory(prefix="fer_jax-", ignore_cleanup_errors=True))
        folder = pathlib.Path(_folders[-1].name).resolve() / pathlib.PurePosixPath(store.url).name
        small = [unit for unit, paths in units.items() if paths == [unit] and not unit.startswith(WRITTEN_ONLY)]
        store.get([unit for unit in small if unit != OWNER], folder)
    for unit in units.keys() - set(small):
        if STEP.match(unit):
            (folder / unit).parent.mkdir(parents=True, exist_ok=True)
    _copies[folder] = store
    return folder


def complete(part: pathlib.Path) -> None:
    """Copies the newest step of a part's checkpoints, where the part lies in a copy that `readable` made.

    Raises:
      UserError: it cannot be read.
    """
    for folder, store in _copies.items():
        if part.is_relative_to(folder) and part.is_dir() and not any(part.iterdir()):
            with store.reported("read", "; if it is being trained, the same command tries again"):
                inside = part.relative_to(folder).as_posix()
                units = grouped(f"{inside}/{path[len(store / inside) + 1 :]}" for path in store.fs.find(store / inside))
                steps = [unit for unit, paths in units.items() if STEP.fullmatch(unit) and is_whole(unit, paths)]
                for newest in sorted(steps, key=lambda unit: int(unit.rpartition("/")[2]))[-1:]:
                    store.get(units[newest], folder)


def publish(folder: pathlib.Path) -> None:
    """Copies a folder that a command has written to a copy of `readable` to the store; does nothing to another one.

    Raises:
      UserError: the store cannot be written to.
    """
    for copy, store in _copies.items():
        if folder.is_relative_to(copy):
            paths = [path.relative_to(copy).as_posix() for path in folder.rglob("*") if path.is_file()]
            with store.reported("written to"):
                store.put(paths, copy)


def named(value: Any) -> str:
    """Returns a text or path with the store's address in place of a copy that `readable` made."""
    text = str(value)
    for folder, store in _copies.items():
        text = text.replace(str(folder), store.url)
    return text


def published(path: pathlib.Path) -> str:
    """Returns how a path is called in what goes to the store: by the store's address, if it lies in a copy."""
    text = named(path)
    for folder, url in written.items():
        text = text.replace(str(folder), url)
    return text
