"""Rehearses the paper's continual phase slice by slice within a time budget, and extrapolates what all of it takes.

    fer-jax bench cfee --budget 240 --out FILE

A slice is some epochs of one increment, with all that a run does around them: pool, training, validation, memory, test,
checkpoint. It is trained by the code of a run, from an untrained base model on noise, neither of which changes what is
computed. Slices take increments, class orders and the two forms of the phase by turns until the budget ends. On
accelerators they have the phase's full size; on the CPU fewer subjects (`extrapolation` says what that changes).
"""

import contextlib
import dataclasses
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import protocol, replay
from fer_jax.bench import arithmetic, extrapolation
from fer_jax.bench.extrapolation import Once, Plan, Sizes, Slice
from fer_jax.bench.profile import traced
from fer_jax.bench.record import described
from fer_jax.bench.timing import Clock, compilations, peak_memory
from fer_jax.bench.world import METHOD, fold_of, noise, split_of
from fer_jax.methods import METHODS
from fer_jax.phases import answers, trunk_cache
from fer_jax.phases import base as base_task
from fer_jax.phases import forms as forms_of_runs
from fer_jax.phases.fold import Fold, Params, build_network
from fer_jax.phases.increments import begin, learn_together
from fer_jax.phases.part import Learned, Part, effective, epochs_and_images
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Bar, Progress, log
from fer_jax.training import encoding

VIEWS = 8  # of the cached form, unless the config caches views itself
FORMS = ("exact", "cached")
SLICE_SECONDS, MOST_EPOCHS = 3.0, 50  # what a slice aims at; it has one epoch at least
# On the CPU: the share of the budget in which images run through the trunk, and the share of the matrix peak that the
# trunk has.
TRUNK_SHARE, TRUNK_SPEED = 0.15, 0.5


class Stopwatch(Progress):
    """Notes when a fit begins and when each of its epochs ends."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def begin(self, unit: str, kind: str, fits: int, epochs: int, images: int, done: int = 0) -> None:
        """Starts a fit."""
        self.times = [time.perf_counter()]

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """Records the end of an epoch."""
        self.times.append(time.perf_counter())

    def finish(self, text: str = "") -> None:
        """Ends a fit; there is nothing to tell."""


def subjects_for(config: ml_collections.ConfigDict, budget: float) -> int:
    """Returns how many subjects the slices have: all, or on the CPU as many as run through the trunk in time."""
    data = noise(config, blank=True)
    every, n_classes = len(np.unique(data.subject)), len(data.class_names)
    if jax.default_backend() != "cpu":
        return every
    network = build_network(config, n_classes)
    trunk, _ = arithmetic.forward(network, config.data.image_size, config.continual.cut)
    # Each image as it is, and in one view.
    seconds = 2 * n_classes * trunk / (TRUNK_SPEED * arithmetic.matmul_peak().per_second)
    return int(np.clip(TRUNK_SHARE * budget / seconds, config.protocol.n_folds, every))


def sizes(fold: Fold) -> Sizes:
    """Returns the counts of the phase on a fold, of which only the labels are read."""
    c, order = fold.config.continual, np.arange(fold.n_classes - fold.n_base)
    method = effective(fold.config, METHODS[METHOD])
    increments = range(protocol.n_increments(len(order), fold.per_increment))
    steps = [max(1, epochs_and_images(fold, method, order, i)[1] // c.batch_size) for i in increments]
    first = protocol.learned_at(order, fold.n_base, fold.per_increment) == 1
    return Sizes(
        len(fold.data.label), len(fold.train_rows(fold.base_mask())), len(fold.train_rows(first)),
        len(fold.split.validation), len(fold.split.test), tuple(steps),
    )  # fmt: skip


def full_size(fold: Fold) -> Sizes:
    """Returns the counts of the phase with all subjects."""
    data = noise(fold.config, blank=True)
    return sizes(dataclasses.replace(fold, data=data, split=split_of(fold.config, data)))


def changed(config: ml_collections.ConfigDict, changes: dict[str, Any]) -> ml_collections.FrozenConfigDict:
    """Returns a resolved config with other values."""
    copied = ml_collections.ConfigDict(config.to_dict())
    copied.update_from_flattened_dict(changes)
    return ml_collections.FrozenConfigDict(copied)


def _timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Calls a function; returns what it returns, its seconds without compilation, and those of compilation."""
    with compilations() as compiled:
        began = time.perf_counter()
        found = jax.block_until_ready(function())
        seconds = time.perf_counter() - began
    return found, seconds - compiled.seconds, compiled.seconds


class Rehearsed:
    """One form of the phase on a fold: what is done once is measured as it is made, then one slice after another.

    once: seconds of what is done once. slices: the measured ones. busy: the share of a slice in which compiled code was
    at work. longest: seconds of the longest slice. memory: the peak so far, and whose. took: seconds before the slices.
    """

    def __init__(self, fold: Fold, base: Params, form: str, saved: contextlib.ExitStack):
        began, views = time.monotonic(), fold.config.feature_cache.views or VIEWS
        self.form, self.views = form, views if form == "cached" else 0
        # One view of each image has the cost of all: on the CPU no more are made.
        made = min(self.views, 1) if jax.default_backend() == "cpu" else self.views
        self.fold = dataclasses.replace(fold, config=changed(fold.config, {"feature_cache.views": made}))
        self.base, self.slices = base, []
        self.here = sizes(self.fold)
        p = self.fold.config.protocol
        self.orders = protocol.class_orders(self.fold.n_classes - self.fold.n_base, p.n_orders, p.order_seed)
        self.at_once = min(self.fold.config.continual.side_by_side, p.n_orders)
        self._made = 0
        names = [f"order{i}" for i in range(self.at_once)] + ["together"]
        *self._slots, self._shared = [saved.enter_context(self.fold.slot(form, name)) for name in names]
        self._folds: dict[int, Fold] = {}
        self.once = self._prepared(made)
        self._warm()
        self.memory, self.took = peak_memory(), time.monotonic() - began

    def _prepared(self, made: int) -> Once:
        """Makes what the slices read; returns its seconds, without compilation."""
        fold, cut, base = self.fold, self.fold.config.continual.cut, self.base
        clean, trunk, compiled = _timed(lambda: trunk_cache.clean(fold, base, cut))
        views, compiled_views = 0.0, 0.0
        if made:
            _, seconds, compiled_views = _timed(lambda: trunk_cache.views(fold, base, cut))
            _, taught, compiled_taught = _timed(lambda: trunk_cache.taught(fold, base, cut))
            views, compiled_views = (seconds + taught) / made, compiled_views + compiled_taught
        part = self._part(0, 1)
        (self._begun, _), begun, compiled_begun = _timed(lambda: self._begin(part))
        some = clean[: 2 * encoding.BATCH]
        answered = [_timed(lambda: encoding.logits_from(base, some, fold.network, cut))[1] for _ in range(4)]
        compiled += compiled_views + compiled_begun
        return Once(float(np.median(answered[1:])) / len(some), trunk, views, begun, compiled)

    def _begin(self, part: Part) -> tuple[Learned, dict]:
        """Starts a class order, as `phases.continual` does."""
        learned = begin(part)
        return learned, answers.confusions(part, learned, part.fold.base_mask())[0]

    def _part(self, number: int, epochs: int) -> Part:
        """Returns a class order of its own number, which trains so many epochs."""
        if epochs not in self._folds:
            own = {"continual.max_epochs": epochs, "continual.patience": epochs}
            self._folds[epochs] = dataclasses.replace(self.fold, config=changed(self.fold.config, own))
        fold, order = self._folds[epochs], self.orders[number % len(self.orders)]
        return Part(fold, self.base, effective(fold.config, METHODS[METHOD]), number, order)

    def _at(self, part: Part, increment: int) -> Learned:
        """Returns the state in which an order comes to an increment, with any images of the classes learned before."""
        memory = self._begun.memory
        for c in np.flatnonzero((part.steps > 0) & (part.steps <= increment)):
            rows = part.fold.train_rows(np.arange(part.fold.n_classes) == c)[: memory.index.shape[1]]
            padded = np.pad(rows, (0, memory.index.shape[1] - len(rows)), constant_values=-1)
            memory = replay.remember(memory, c, jnp.asarray(padded, jnp.int32))
        return self._begun._replace(memory=replay.truncate(memory, part.fold.exemplars(increment)))

    def _slice(self, increment: int, epochs: int, trace: bool = False) -> tuple[Slice, float, float]:
        """Trains a slice; returns it, its seconds of compilation and the share of compiled code if it is traced."""
        numbers = range(self._made * self.at_once, (self._made + 1) * self.at_once)
        parts = [self._part(number, epochs) for number in numbers]
        learned = [self._at(part, increment) for part in parts]
        watch = self.fold.progress
        with compilations() as compiled, traced() if trace else contextlib.nullcontext({}) as seconds:
            began = time.perf_counter()
            learned, measured = learn_together(parts, learned, increment, self._shared)
            for slot, part, one, of in zip(self._slots, parts, learned, measured, strict=True):
                slot.steps.save(self._made, part.saved(one), {"steps": [of]})
            whole = time.perf_counter() - began
        self._made += 1
        training, done = watch.times[-1] - watch.times[0], len(watch.times) - 1
        found = Slice(increment, self.here.steps[increment], done, training, whole - training)
        return found, compiled.seconds, seconds["busy"] / seconds["wall"] if trace else math.nan

    def _warm(self) -> None:
        """Compiles, measures what a slice may take at most, and traces one."""
        last = len(self.here.steps) - 1
        _, compiled, _ = self._slice(last, 1)
        self.once = self.once._replace(compile=self.once.compile + compiled)
        again, _, _ = self._slice(last, 1)
        self.epochs = int(np.clip(SLICE_SECONDS / again.training, 1, MOST_EPOCHS))
        self.longest = self.epochs * again.training + again.rest
        _, _, self.busy = self._slice(last, self.epochs, trace=True)

    def measure(self) -> None:
        """Measures a slice more."""
        n = len(self.here.steps)
        # Increments far from each other follow one another, and all have their turn.
        stride = next(s for s in range(round(0.7 * n), 2 * n + 2) if math.gcd(s, n) == 1)
        found, _, _ = self._slice(len(self.slices) * stride % n, self.epochs)
        self.longest = max(self.longest, found.training + found.rest)
        self.slices.append(found)

    def record(self, full: Sizes, epochs: int) -> dict:
        """Returns what the slices say of the whole phase, ready for JSON."""
        fold, c = self.fold, self.fold.config.continual
        plan = Plan(len(self.orders), self.at_once, epochs)
        size, kind = fold.images.shape[1], self.form
        forward = arithmetic.forward(fold.network, size, c.cut)
        step = arithmetic.step(fold.network, size, c.cut, c.batch_size, kind)
        work = extrapolation.multiply_adds(full, plan, step, forward, self.views)
        peak = arithmetic.matmul_peak().per_second * jax.device_count()
        whole = extrapolation.total(self.slices, self.once, self.here, full, plan, self.views)
        images = extrapolation.image_steps(full, plan, c.batch_size)
        return {
            "name": "rehearsal",
            "settings": {
                "form": self.form, "method": METHOD, "cut": c.cut, "views": self.views, **plan._asdict(),
                "increments": len(full.steps), **described(fold, c.batch_size), "sizes": full._asdict(),
                "sizes_of_slices": self.here._asdict(), "devices": jax.device_count(),
            },
            "total_seconds": whole and {"estimate": whole.estimate, "low": whole.low, "high": whole.high},
            "parts_seconds": whole and whole.parts,
            "step_seconds": whole and whole.step,
            "image_steps": images,
            "images_per_second": whole and images / whole.estimate,
            "multiply_adds": work,
            "limit_seconds": work / peak,
            "share_of_matmul_peak": whole and work / peak / whole.estimate,
            "share_of_matmul_peak_in_steps": whole and self.at_once * step / peak / whole.step,
            "host_share": 1 - self.busy,
            "peak_memory_bytes": self.memory[0],
            "peak_memory_of": self.memory[1],
            "measured_forms": forms_of_runs.stored(fold.checkpoints),
            "once_seconds": self.once._asdict(),
            "slices": [one._asdict() for one in self.slices],
        }  # fmt: skip


def sentence(row: dict) -> str:
    """Describes in words what a record says of the whole phase."""
    s, whole = row["settings"], row["total_seconds"]
    what = (
        f"{s['form']}: {s['orders']} class orders × {s['increments']} increments × {s['epochs']} epochs, "
        f"{row['image_steps'] / 1e6:.3g} M image steps"
    )
    if whole is None:
        return f"{what}: {len(row['slices'])} slices say nothing of all of it"
    return (
        f"{what}: {duration(whole['estimate'])} [{duration(whole['low'])}, {duration(whole['high'])}], "
        f"{row['images_per_second']:.4g} images/s; the matrix peak would take {duration(row['limit_seconds'])}"
    )


def duration(seconds: float) -> str:
    """Returns seconds in the unit that people take.

    >>> duration(42.0), duration(600.0), duration(90000.0)
    ('42 s', '10.0 min', '25.0 h')
    """
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def measure(
    config: ml_collections.ConfigDict,
    clock: Clock,
    subjects: int | None,
    epochs: int,
    forms: tuple[str, ...] = FORMS,
    console=None,
) -> Iterator[list[dict]]:
    """Yields the records of all forms so far, whenever one is ready and after each slice, until the budget ends.

    Args:
      clock: begins no slice that may not end in time.
      subjects: of the slices; None is all.
      epochs: that an increment is taken to need.
    """
    rehearsed: list[Rehearsed] = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at, bar = clock.left(), stack.enter_context(Bar("seconds of the rehearsal", round(clock.left()), console))
        fold = fold_of(config, noise(config, subjects))
        fold = dataclasses.replace(fold, checkpoints=folder, progress=Stopwatch(), saving=Saving())
        forms_of_runs.begin(folder)
        full, base = full_size(fold), base_task.initial_params(fold)
        while True:
            if len(rehearsed) < len(forms):
                if rehearsed and clock.left() < rehearsed[-1].took:
                    log.warning("the budget leaves no time for the %s form", forms[len(rehearsed)])
                    forms = forms[: len(rehearsed)]
                    continue
                rehearsed.append(Rehearsed(fold, base, forms[len(rehearsed)], stack))
            else:
                going = [one for one in rehearsed if 1.3 * one.longest < clock.left() - 1]
                if not going:
                    return
                min(going, key=lambda one: len(one.slices)).measure()
            yield [one.record(full, epochs) for one in rehearsed]
            at, before = clock.left(), at
            bar.advance(before - at)
