"""Estimates how long a run still takes, from what its fits have taken so far and what is known of the others.

Work is of kinds: what is trained in the same way costs the same. A kind that has begun is measured: the seconds of an
image, those between two fits, and those of its start, in which programs are compiled. A kind that has not begun has its
planned cost, on the scale of those that were measured. Nothing here reads a clock.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

PRIOR = 0.05  # of a kind's images, which its planned cost is worth


class Work(NamedTuple):
    """The work of one kind.

    fits: how many; a fit of several runs side by side counts as that many.
    images: that all fits together pass through at most, epochs counted.
    cost: of one image, as a multiple of the network's forward pass.
    overhead: of one fit beside its epochs, in the same unit: what is validated, answered and stored.
    family: kinds of one family share their programs, so that the first of them compiles for all; "" compiles nothing.
    together: how many runs are trained at once. They share the processor, so they say little of one alone.
    """

    fits: int
    images: int
    cost: float = 1.0
    overhead: float = 0.0
    family: str = ""
    together: int = 1

    def __add__(self, other: "Work") -> "Work":
        return self._replace(fits=self.fits + other.fits, images=self.images + other.images)


@dataclasses.dataclass
class _Kind:
    """What is left of a kind, and what was measured of it.

    fits, images: that are left.
    epochs, most_epochs: of the fits that ended, run and at most.
    training: seconds in which `trained` images were trained.
    between: seconds beside the epochs, of `counted` fits.
    start: seconds of the first fit beside its later epochs, in which programs are compiled.
    first: images of its first epoch.
    """

    work: Work
    fits: int = 0
    images: float = 0.0
    epochs: int = 0
    most_epochs: int = 0
    training: float = 0.0
    trained: float = 0.0
    between: float = 0.0
    counted: int = 0
    start: float = 0.0
    first: float = 0.0
    begun: bool = False
    started: bool = False

    @property
    def compiled(self) -> float | None:
        """The seconds that the start took beside its first epoch; None where that is not known."""
        return max(self.start - self.first * self.training / self.trained, 0.0) if self.trained else None


class Remaining:
    """The seconds that a run still takes, by what it was told of; every time is in seconds since any moment.

    plan: the work of every kind. A fit of a kind that is not planned is measured, too.
    """

    def __init__(self, plan: Mapping[str, Work]):
        self._kinds = {name: _Kind(work, work.fits, work.images) for name, work in plan.items()}
        self._now, self._last, self._fit = 0.0, 0.0, None

    @property
    def left(self) -> dict[str, tuple[int, float]]:
        """Fits and images that are left of every kind."""
        return {name: (kind.fits, kind.images) for name, kind in self._kinds.items()}

    def skip(self, name: str, fits: int, images: int) -> None:
        """Counts work that an earlier run has done."""
        kind = self._kind(name)
        kind.fits, kind.images = kind.fits - fits, kind.images - images

    def begin(self, now: float, kind: str, fits: int, epochs: int, images: int, done: int = 0) -> None:
        """Starts a fit of so many runs, and of so many epochs at most with so many images each, of all runs.

        done: epochs that an interrupted run has done of it.
        """
        of = self._kind(kind)
        self._between(now, of)
        of.begun = True
        of.images -= done * images
        self._fit, self._epochs, self._images, self._done, self._first = (of, fits), epochs, images, done, done

    def epoch(self, now: float, done: int) -> None:
        """Counts so many epochs of the fit as done."""
        kind, images = self._fit[0], (done - self._done) * self._images
        if kind.started or self._done > self._first:
            kind.training, kind.trained = kind.training + now - self._last, kind.trained + images
        else:  # compiles
            kind.start, kind.first = kind.start + now - self._last, images
        kind.images -= images
        self._done, self._last = done, now

    def end(self, now: float) -> None:
        """Ends the fit, whether early or not."""
        (kind, fits), self._fit = self._fit, None
        self._between(now, kind)
        kind.images -= (self._epochs - self._done) * self._images
        kind.epochs, kind.most_epochs = kind.epochs + self._done, kind.most_epochs + self._epochs
        kind.fits -= fits
        kind.counted += fits if kind.started else 0
        kind.started = True

    def _between(self, now: float, kind: _Kind) -> None:
        """Counts the time since the last event as a kind's start, if it has finished no fit yet, or as overhead."""
        if kind.started:
            kind.between += now - self._last
        else:
            kind.start += now - self._last
        self._last = now

    def _kind(self, name: str) -> _Kind:
        return self._kinds.setdefault(name, _Kind(Work(0, 0)))

    def seconds(self, now: float) -> float | None:
        """Returns the seconds that are left; None before the second epoch: the first one compiles, and tells little."""
        scale, share = self._scale(), self._share()
        if scale is None:
            return None
        total = self._starts()
        for kind in self._kinds.values():
            ended = kind.epochs / kind.most_epochs if kind.most_epochs else share
            images = kind.images
            if self._fit and self._fit[0] is kind:
                # A fit that has gone on for longer than others has half of its epochs left, for all that is known.
                here = self._epochs - self._done
                expected = ended * self._epochs - self._done
                images += (min(here, max(expected, here / 2)) / ended - here) * self._images if ended else 0.0
            total += max(images, 0.0) * ended * self._of_image(kind, scale)
            total += max(kind.fits, 0) * self._of_fit(kind, scale)
        return max(total - (now - self._last), 0.0)

    def _scale(self) -> float | None:
        """Returns the seconds of one image's forward pass, from the kinds that are trained alone if there are any."""
        every = [kind for kind in self._kinds.values() if kind.trained]
        measured = [kind for kind in every if kind.work.together == 1] or every
        if not measured:
            return None
        return sum(kind.training for kind in measured) / sum(kind.trained * kind.work.cost for kind in measured)

    def _share(self) -> float:
        """Returns the share of its epochs that a fit has run before it ended, over all kinds."""
        most = sum(kind.most_epochs for kind in self._kinds.values())
        return sum(kind.epochs for kind in self._kinds.values()) / most if most else 1.0

    def _starts(self) -> float:
        """Returns the seconds in which programs will be compiled: the mean so far for every family to come."""
        found = [kind.compiled for kind in self._kinds.values() if kind.compiled is not None]
        there = {kind.work.family for kind in self._kinds.values() if kind.begun or not kind.fits}
        ahead = {kind.work.family for kind in self._kinds.values()} - there - {""}
        return len(ahead) * sum(found) / len(found) if found else 0.0

    @staticmethod
    def _of_image(kind: _Kind, scale: float) -> float:
        """Returns the seconds of an image; what was planned counts as much as a twentieth of the images would."""
        planned = PRIOR * kind.work.images
        return (kind.training + planned * kind.work.cost * scale) / max(kind.trained + planned, 1)

    @staticmethod
    def _of_fit(kind: _Kind, scale: float) -> float:
        """Returns the seconds of a fit beside its epochs; what was planned counts as much as one fit would."""
        planned = kind.work.together
        return (kind.between + planned * kind.work.overhead * scale) / (kind.counted + planned)


def replay(rows: Iterable[Mapping[str, Any]], clock: str = "seconds") -> list[tuple[float, float | None]]:
    """Returns (elapsed, seconds left as estimated then) at every epoch and every end, from a run's `progress.jsonl`.

    Args:
      rows: of one start of the run: the first is its plan.
      clock: "seconds" by the clock, or "cpu", those of all of the process' threads.
    """
    found, remaining = [], Remaining({})
    for row in rows:
        now = row[clock]
        if row["event"] == "plan":
            remaining = Remaining({name: Work(*work) for name, work in row["plan"].items()})
        elif row["event"] == "skip":
            remaining.skip(row["kind"], row["fits"], row["images"])
        elif row["event"] == "begin":
            remaining.begin(now, *(row[key] for key in ("kind", "fits", "epochs", "images", "done")))
        elif row["event"] == "epoch":
            remaining.epoch(now, row["done"])
        else:
            remaining.end(now)
        if row["event"] in ("epoch", "end"):
            found.append((now, remaining.seconds(now)))
    return found


def spoken(seconds: float | None) -> str:
    """Formats seconds that are left as one would say them.

    >>> [spoken(s) for s in (None, 7.2, 48, 200, 4000, 200000)]
    ['?', '10 s', '50 s', '3 min', '1 h 7 min', '2 d 7 h']
    """
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{max(10 * round(seconds / 10), 10)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
