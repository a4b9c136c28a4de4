"""Progress of a run: a live line on a terminal, plain log lines elsewhere, and TensorBoard scalars."""

import contextlib
import logging
import pathlib
import sys
import time
from collections.abc import Iterator

import rich.console
import rich.logging
import rich.progress
from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

log = logging.getLogger("fer_jax")


def start_logging(stream=sys.stderr, quiet: bool = False) -> rich.console.Console | None:
    """Sends the package's log lines, or only its warnings, to a stream; returns a console if that is a terminal."""
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False
    logging.getLogger("absl").setLevel(logging.WARNING)  # Orbax tells every step of every save
    for handler in list(log.handlers):
        log.removeHandler(handler)
    if stream.isatty() and not quiet:
        console = rich.console.Console(file=stream)
        log.addHandler(rich.logging.RichHandler(console=console, show_path=False, show_level=False))
        return console
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    return None


class _Scalars:
    """TensorBoard's event file, written as values come: its own writer is a thread that dies of a full disk, and what
    is given to it then waits for ever. A file that cannot be written costs the scalars and is said once."""

    _flush_every = 20.0  # seconds

    def __init__(self, folder: pathlib.Path | None):
        self._file: event_file_writer.EventsWriter | None = None
        self._flushed = time.monotonic()
        if folder is not None:
            with self._told():
                folder.mkdir(parents=True, exist_ok=True)
                self._file = event_file_writer.EventsWriter(str(folder / "events"))

    def add(self, name: str, value: float, step: int) -> None:
        if self._file is None:
            return
        with self._told():
            self._file.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            if time.monotonic() - self._flushed >= self._flush_every:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            with self._told():
                self._file.close()
            self._file = None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("TensorBoard's scalars cannot be written (%s); the run goes on without them", error)
            failed, self._file = self._file, None
            with contextlib.suppress(OSError):
                if failed is not None:
                    failed.close()


class Progress:
    """Progress over fits, each of a known number of epochs at most and images in each.

    Work is counted in images, so that a fit weighs what it costs. Without a workdir no scalars are written.

    On a terminal a live line shows phase, step, epoch, loss, accuracy and time left; elsewhere a line is logged for
    each finished fit, and at most every `every` seconds within one.
    """

    def __init__(self, workdir: pathlib.Path | None, console=None, every: float = 20.0):
        self._scalars = _Scalars(workdir / "tensorboard" if workdir else None)
        self._live = None
        self._every, self._last = every, time.monotonic()
        self._unit, self._epochs, self._work = "", 1, 0
        self._done, self._total = 0, 1
        if console is not None:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.TaskProgressColumn(),
                rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
                console=console,
            )
            self._task = self._live.add_task("", total=None)

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.stop()
        self._scalars.close()

    @property
    def unit(self) -> str:
        """The name of the current fit."""
        return self._unit

    def plan(self, work: int) -> None:
        """Sets the number of images that the whole run passes through, counting every epoch."""
        self._total = max(1, work)
        if self._live:
            self._live.update(self._task, total=self._total)

    def skip(self, work: int) -> None:
        """Counts work that an earlier run has done."""
        self._done += work

    def begin(self, unit: str, epochs: int, images: int) -> None:
        """Starts a fit, such as "continual kd_psmr order 0, increment 3 happily disgusted"."""
        self._unit, self._epochs, self._work = unit, epochs, epochs * images
        self._show(0.0, "")

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """Shows the figures of one epoch."""
        text = (
            f"epoch {epoch + 1}/{self._epochs} loss {row['loss']:.3f} "
            f"accuracy {row['accuracy']:.3f} validation {row['val_accuracy']:.3f}"
        )
        self._show((epoch + 1) / self._epochs, text)

    def finish(self, text: str = "") -> None:
        """Ends a fit, whether early or not."""
        self._done += self._work
        if text:
            log.info("%s: %s", self._unit, text)
            self._last = time.monotonic()
        if self._live:
            self._live.update(self._task, completed=self._done)

    def scalars(self, tag: str, step: int, values: dict[str, float]) -> None:
        """Writes TensorBoard scalars under `tag/`."""
        for name, value in values.items():
            self._scalars.add(f"{tag}/{name}", value, step)

    def _show(self, share: float, text: str) -> None:
        done = self._done + share * self._work
        if self._live:
            self._live.update(self._task, completed=done, description=f"{self._unit} {text}")
        elif text and time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            log.info("%s: %s (%.0f %% of the run)", self._unit, text, 100 * done / self._total)


class Bar:
    """Progress over items of one kind: a bar on a terminal, elsewhere a line at most every `every` seconds."""

    def __init__(self, what: str, total: int, console=None, every: float = 20.0):
        self._what, self._total, self._done = what, total, 0
        self._every, self._last = every, time.monotonic()
        self._live = None
        if console is not None:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
                console=console,
            )
            self._task = self._live.add_task(what, total=total)

    def __enter__(self) -> "Bar":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.stop()

    def advance(self, n: int) -> None:
        """Counts n more items as done."""
        self._done += n
        if self._live:
            self._live.update(self._task, completed=self._done)
        elif time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            log.info("%s: %d of %d", self._what, self._done, self._total)
