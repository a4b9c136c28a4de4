"""A run that writes to an object store: it trains in a folder of this machine, whose files follow it to the store.

Orbax writes to gs:// in a way of its own and to s3:// not at all, so checkpoints are made as they always are and copied
whole. At any moment the store holds what a run that was killed then would have left in a folder.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator

from fer_jax.config import ConfigError
from fer_jax.config.places import expanded
from fer_jax.errors import Interrupted, UserError, first_line
from fer_jax.runs import processes
from fer_jax.runs.checkpoints import ASIDE
from fer_jax.runs.environment import prepare_environment
from fer_jax.runs.lease import RENEW_SECONDS, Lease, Lost
from fer_jax.runs.progress import log
from fer_jax.runs.remote import MARK, OWNER, STEP, Store, Workdir, grouped, is_remote, is_whole, written

PUSH_SECONDS = 15.0
FOLDER = "FER_JAX_WORKDIRS"  # the environment's name for where the folders on this machine are
CONFIG, RESULTS, PARTIAL = "config.json", "results.json", "partial"
_UNFINISHED = re.compile(rf"\.|{ASIDE}$|.*\.orbax-checkpoint-tmp")  # and what stays here


@contextlib.contextmanager
def working(workdir: Workdir, wait: float = 0.0) -> Iterator[tuple[pathlib.Path, Callable[[], None]]]:
    """Gives the folder in which a run of this workdir trains, and a function to call after every epoch.

    For a workdir in an object store that is a folder on this machine. At the end all of it is in the store. Then the
    folder is removed, unless the run ended by a signal or an error that is no mistake in the config.

    Args:
      wait: seconds to wait for another run that has the store's folder.

    Raises:
      UserError: the store cannot be used, or not everything could be uploaded.
      InUse, Lost: another run writes there.
    """
    if not is_remote(workdir):
        yield pathlib.Path(workdir), lambda: None
        return
    prepare_environment()
    mirrors: list[Mirror] = []  # of the first process, which alone reads and writes files

    def begin() -> str:
        mirrors.append(Mirror(Store(workdir), wait))
        return str(mirrors[0].folder)

    folder = pathlib.Path(processes.by_leader(begin))
    try:
        yield folder, mirrors[0].check if mirrors else lambda: None
    except BaseException as error:
        if isinstance(error, Interrupted) and error.saved:  # in all processes
            processes.by_leader(lambda: mirrors[0].end(finished=False))
        elif mirrors:
            mirrors[0].end_after(error)
        if mirrors and isinstance(error, ConfigError):
            raise ConfigError(str(error).replace(str(folder), mirrors[0].store.url)) from None
        raise
    processes.by_leader(lambda: mirrors[0].end(finished=True))


class Mirror:
    """The folder of a run on this machine, and two threads: one uploads what is new, one renews the lease.

    Raises:
      UserError: as `working`.
    """

    def __init__(self, store: Store, wait: float):
        self.store, self.folder = store, _folder(store.url)
        self._lease, self._there, self._lost = Lease(store), {}, None
        with store.reported("used"):
            before = self._lease.take(wait)
            try:
                self._begin(before)
            except BaseException:
                if before:
                    self._lease.renew(ended=True)
                else:
                    self._lease.end()
                raise
        written[self.folder] = store.url
        log.info("%s: this run trains in %s and uploads what it saves", store.url, self.folder)
        self._threads = [
            _Repeated(self._guarded(what), seconds)
            for what, seconds in ((self.push, PUSH_SECONDS), (self._lease.renew, RENEW_SECONDS))
        ]

    def check(self) -> None:
        """Checks that the run still has the store's folder.

        Raises:
          Lost: another run has it.
        """
        if self._lost:
            raise self._lost

    def push(self) -> None:
        """Copies what is new in the folder to the store, then removes from the store what is gone.

        The config comes first, which tells a run's folder from others, then files before the checkpoints made with
        them, and results last.

        Raises:
          UserError: the folder was emptied; the store keeps what it has.
        """
        self._lease.check()
        # In reverse: what is listed first was written last, and what it relies on is in the later lists.
        wanted = (RESULTS.__eq__, STEP.fullmatch, _is_file, CONFIG.__eq__)
        lists = [self._listed(one) for one in wanted]
        here = {unit: version for one in reversed(lists) for unit, version in one.items()}
        if CONFIG in self._there and CONFIG not in here:
            raise UserError(
                f"{self.folder} was emptied while a run used it; {self.store.url} keeps what was uploaded before, and "
                "the same command goes on from there"
            )
        for unit, version in here.items():
            if self._there.get(unit, PARTIAL) != version:
                (self._upload_step if STEP.fullmatch(unit) else self._upload)(unit, version)
        for unit in self._there.keys() - here.keys():
            self._remove(unit)

    def end(self, finished: bool) -> None:
        """Copies the rest and gives the lease back; removes the folder after a run that finished.

        Raises:
          UserError: it could not be uploaded.
          Lost: another run has the store's folder.
        """
        push, renew = self._threads
        push.stop()
        with self.store.reported(
            "uploaded to", f"; everything is in {self.folder}, and the same command on this machine goes on"
        ):
            try:
                self.push()
            except Exception:
                with contextlib.suppress(Exception):
                    self._lease.renew(ended=True)
                raise
            finally:
                renew.stop()
            over = finished or not self._there
            self._lease.end() if over else self._lease.renew(ended=True)
        if over:
            shutil.rmtree(self.folder.parent, ignore_errors=True)
        log.info("%s has everything", self.store.url)

    def end_after(self, error: BaseException) -> None:
        """Ends after an error, which tells more than what may go wrong here."""
        try:
            self.end(finished=isinstance(error, ConfigError))
        except UserError as failed:
            if type(failed) is not type(error):
                log.warning("%s", failed)

    def _begin(self, before: str | None) -> None:
        """Makes the folder what the store holds, unless the run that was here before left more in it.

        Beside it are the tokens of all owners whose work it has.

        Raises:
          UserError: the store's folder is not of a run.
        """
        tokens = self.folder.parent / "tokens"
        more = tokens.is_file() and before in tokens.read_text().split()
        if more:
            with tokens.open("a") as file:  # at once: the next run goes on here, even if this one does not begin
                file.write(f"{self._lease.token}\n")
        units = self.store.units()
        units.pop(OWNER, None)
        if units and CONFIG not in units:
            raise UserError(
                f"--workdir {self.store.url} holds other files; it may be a new or empty folder, or one of the same "
                "config"
            )
        whole = {unit: paths for unit, paths in units.items() if is_whole(unit, paths)}
        more = more and (CONFIG not in units or (self.folder / CONFIG).is_file())
        if not more:
            shutil.rmtree(self.folder.parent, ignore_errors=True)
            self.folder.mkdir(parents=True)
            paths = [path for paths in whole.values() for path in paths]
            self.store.get([path for path in paths if not path.endswith(f"/{MARK}")], self.folder)
        marks = {unit: self.store / f"{unit}/{MARK}" for unit in whole if STEP.fullmatch(unit)}
        versions = self.store.fs.cat(list(marks.values())) if marks else {}
        self._there = dict.fromkeys(units, PARTIAL) | {unit: versions[mark].decode() for unit, mark in marks.items()}
        if not more:
            for unit in marks:
                os.utime(self.folder / unit, ns=(int(self._there[unit]),) * 2)
            self._there |= self._listed(lambda unit: unit in whole)
            tokens.write_text(f"{self._lease.token}\n")

    def _listed(self, wanted: Callable[[str], object]) -> dict[str, str]:
        """Lists what is in the folder with its version: when it changed, and a file's size."""
        found = {}
        for unit in self._units():
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                if wanted(unit):
                    found[unit] = self._version(unit)
        return found

    def _units(self) -> dict[str, list[str]]:
        paths = []
        for folder, names, files in os.walk(self.folder):
            names[:] = [name for name in names if not _UNFINISHED.match(name)]
            names.sort(key=lambda name: (len(name), name))  # steps in the order in which they were made
            inside = pathlib.Path(folder).relative_to(self.folder)
            paths += [(inside / name).as_posix() for name in files if not _UNFINISHED.match(name)]
        return grouped(paths)

    def _version(self, unit: str) -> str:
        of = (self.folder / unit).stat()
        return f"{of.st_mtime_ns}" if STEP.fullmatch(unit) else f"{of.st_mtime_ns} {of.st_size}"

    def _upload(self, unit: str, version: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            # A file that changed since it was listed may rely on what was not: its turn comes with the next list.
            if self._version(unit) == version:
                self.store.put([unit], self.folder)
                self._there[unit] = version

    def _upload_step(self, unit: str, version: str) -> None:
        """Uploads a step and then its mark, which has its version; a step that is being removed here gets none."""
        if unit in self._there:
            self._remove(unit)
        paths = sorted(self._units().get(unit, ()))
        self._there[unit] = PARTIAL
        try:
            self.store.put(paths, self.folder)
        except FileNotFoundError:
            if all((self.folder / path).exists() for path in paths):
                raise
        if paths and sorted(self._units().get(unit, ())) == paths:
            self.store.fs.pipe_file(self.store / f"{unit}/{MARK}", version.encode())
            self._there[unit] = version

    def _remove(self, unit: str) -> None:
        paths = [self.store / f"{unit}/{MARK}"] if STEP.fullmatch(unit) else [self.store / unit]
        with contextlib.suppress(FileNotFoundError):
            self.store.fs.rm_file(paths[0])
        rest = self.store.fs.find(self.store / unit) if STEP.fullmatch(unit) else []
        if rest:
            self.store.fs.rm(rest)
        del self._there[unit]

    def _guarded(self, act: Callable[[], None]) -> Callable[[], bool]:
        """Returns a function that acts and returns True unless the lease is lost; tells a failure once."""
        told = [""]

        def guarded() -> bool:
            try:
                act()
                told[0] = ""
            except Lost as error:
                self._lost = error
            except Exception as error:  # of any package; `end` tries once more and reports it
                if told[0] != (reason := f"{type(error).__name__}: {first_line(error)}"):
                    log.warning("%s cannot be written to at the moment (%s); tried again", self.store.url, reason)
                told[0] = reason
            return self._lost is None

        return guarded


class _Repeated:
    """Calls a function every some seconds in a thread, until it returns False or `stop` is called."""

    def __init__(self, act: Callable[[], bool], seconds: float):
        self._act, self._seconds, self._over = act, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for a call in progress, and makes no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._seconds) and self._act():
            pass


def _folder(url: str) -> pathlib.Path:
    """Returns the folder on this machine for a store's address; its last name is the run's, which trackers show."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = expanded(os.environ.get(FOLDER) or cache / "fer_jax" / "workdirs")
    return home / hashlib.sha256(url.encode()).hexdigest()[:16] / pathlib.PurePosixPath(url).name


def _is_file(unit: str) -> bool:
    return unit != RESULTS and not STEP.fullmatch(unit)
