"""Progress of a run: a live line on a terminal, plain log lines elsewhere, and scalars for its tracker."""

import contextlib
import json
import logging
import pathlib
import sys
import time

import rich.console
import rich.logging
import rich.progress
import rich.table

from fer_jax.runs.remaining import Remaining, Work, spoken

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
    """Progress over fits: what is trained, how well, and how long the run still takes (`remaining`).

    On a terminal one live line shows the time left, phase, step, epoch and accuracy; elsewhere a line is logged for
    each finished fit, and at most every `every` seconds within one.

    Args:
      tracked: what scalars go to, a `trackers.Tracked`; None records none.
      file: gets a line of JSON for all that happens, which `remaining.replay` reads; None writes none.
    """

    def __init__(self, tracked=None, console=None, every: float = 20.0, file: pathlib.Path | None = None):
        self._tracked, self._file, self._plan = tracked, file, None
        self._every, self._last = every, time.monotonic()
        self._began, self._began_cpu = time.monotonic(), time.process_time()
        self._remaining, self._unit, self._epochs = Remaining({}), "", 0
        self._waiting: list[dict] = []
        self._live = None
        if console is not None:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.fields[left]} left"),
                rich.progress.BarColumn(bar_width=12),
                rich.progress.TextColumn("{task.description}", table_column=rich.table.Column(no_wrap=True)),
                console=console,
            )
            self._task = self._live.add_task("", total=None, left="?")

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

    @property
    def left(self) -> dict[str, tuple[int, float]]:
        """Fits and images that are left of every kind."""
        return self._remaining.left

    def plan(self, works: dict[str, Work]) -> None:
        """Sets the work of the whole run, by kind; the time is counted from here."""
        self._began, self._began_cpu = time.monotonic(), time.process_time()
        self._remaining, self._plan = Remaining(works), works

    def skip(self, kind: str, fits: int, images: int) -> None:
        """Counts work that an earlier run has done."""
        if fits:
            self._remaining.skip(kind, fits, images)
            self._note(self._now(), "skip", kind=kind, fits=fits, images=images)

    def begin(self, unit: str, kind: str, fits: int, epochs: int, images: int, done: int = 0) -> None:
        """Starts a fit, such as "continual kd_psmr fold 0 order 0, increment 3 happily disgusted".

        Args:
          fits: how many runs it trains side by side.
          images: in an epoch of all of them.
          done: epochs that an interrupted run has done of it.
        """
        self._unit, self._epochs = unit, epochs
        told, now = {"kind": kind, "fits": fits, "epochs": epochs, "images": images, "done": done}, self._now()
        self._remaining.begin(now, **told)
        self._note(now, "begin", **told)
        self._show("")

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """Shows the figures of one epoch."""
        now = self._now()
        self._remaining.epoch(now, epoch + 1)
        self._note(now, "epoch", done=epoch + 1, left=self._left(now))
        self._show(
            f"epoch {epoch + 1}/{self._epochs}, accuracy {row['accuracy']:.3f}, validation {row['val_accuracy']:.3f}, "
            f"loss {row['loss']:.3f}"
        )

    def finish(self, text: str = "") -> None:
        """Ends a fit, whether early or not."""
        now = self._now()
        self._remaining.end(now)
        self._note(now, "end", left=self._left(now))
        if text:
            log.info("%s: %s", self._unit, text)
            self._last = time.monotonic()

    def scalars(self, tag: str, step: int, values: dict[str, float]) -> None:
        """Records scalars under `tag/` in the tracker."""
        if self._tracked is not None:
            self._tracked.scalars({f"{tag}/{name}": value for name, value in values.items()}, step)

    def _now(self) -> float:
        """Returns the seconds since the plan."""
        return time.monotonic() - self._began

    def _left(self, now: float) -> float | None:
        left = self._remaining.seconds(now)
        return None if left is None else round(left, 1)

    def _show(self, text: str) -> None:
        now = self._now()
        left = self._remaining.seconds(now)
        if self._live:
            words = f"{self._unit}: {text}" if text else self._unit
            total = None if left is None else max(now + left, 1e-9)
            self._live.update(self._task, total=total, completed=now, description=words, left=spoken(left))
        elif text and time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            log.info("%s: %s%s", self._unit, text, "" if left is None else f" (about {spoken(left)} left)")

    def _note(self, now: float, event: str, **more) -> None:
        """Writes what happens to the file, the plan first.

        What was done before is written with the first fit: a run that has nothing left to do writes nothing.
        """
        if self._file is None:
            return
        if self._plan is not None:
            self._waiting, self._plan = [{"event": "plan", "seconds": 0.0, "cpu": 0.0, "plan": self._plan}], None
        cpu = time.process_time() - self._began_cpu
        self._waiting.append({"event": event, "seconds": round(now, 3), "cpu": round(cpu, 3), **more})
        if event != "skip":
            with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(one) + "\n" for one in self._waiting)
            self._waiting.clear()


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
