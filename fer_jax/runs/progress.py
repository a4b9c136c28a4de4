"""Progress of a run: a live line on a terminal, plain log lines elsewhere, and scalars for its tracker."""

import logging
import sys
import time

import rich.console
import rich.logging
import rich.progress

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


class Progress:
    """Progress over fits, each of a known number of epochs at most and images in each.

    Work is counted in images, so that a fit weighs what it costs. tracked: what scalars go to, a `trackers.Tracked`;
    None records none.

    On a terminal a live line shows phase, step, epoch, loss, accuracy and time left; elsewhere a line is logged for
    each finished fit, and at most every `every` seconds within one.
    """

    def __init__(self, tracked=None, console=None, every: float = 20.0):
        self._tracked = tracked
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
        """Records scalars under `tag/` in the tracker."""
        if self._tracked is not None:
            self._tracked.scalars({f"{tag}/{name}": value for name, value in values.items()}, step)

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
