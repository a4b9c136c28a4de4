"""Extrapolates a whole continual phase from slices of it; pure functions of sizes and seconds.

An epoch takes a part of its own and as much again for each step: two numbers, fitted to the slices. What an increment
takes beside its epochs is the mean of the slices. Where the slices have fewer subjects than the phase, what is computed
of every image is added, at the measured rate at which the network answers.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

LEAST_SLICES = 4  # two numbers are fitted, and their error is estimated


class Sizes(NamedTuple):
    """The counts of a phase that its cost depends on.

    images: of the data set; base: training images of the base classes; new: those of an increment's classes;
    validation, test: held-out images; steps: of an epoch, by increment.
    """

    images: int
    base: int
    new: int
    validation: int
    test: int
    steps: tuple[int, ...]


class Plan(NamedTuple):
    """How often a phase does what: class orders, how many of them go side by side, and epochs of an increment."""

    orders: int
    at_once: int
    epochs: int


class Slice(NamedTuple):
    """Some epochs of one increment: seconds of these epochs, and seconds of the rest of the increment."""

    increment: int
    steps: int
    epochs: int
    training: float
    rest: float


class Once(NamedTuple):
    """Seconds of what is done once and not in every increment, at the size of the slices.

    answer: of the network's answer for one image, from the cached trunk.
    trunk: of the trunk's output for all images, clean; views: for one augmented view of each, and the teacher's answers
      of it; 0 where the phase reads none.
    begin: of a class order's start: the base classes ranked and tested.
    compile: of XLA.
    """

    answer: float
    trunk: float
    views: float
    begin: float
    compile: float


class Total(NamedTuple):
    """Seconds of the whole phase with a 95 % interval, seconds of its parts by name, and seconds of a step."""

    estimate: float
    low: float
    high: float
    parts: dict[str, float]
    step: float


def total(slices: list[Slice], once: Once, here: Sizes, full: Sizes, plan: Plan, views: int = 0) -> Total | None:
    """Estimates the phase of sizes `full` by slices of sizes `here`; returns None for fewer than LEAST_SLICES.

    The interval is Student's t over the slices. It knows nothing of what all slices have in common, such as other work
    on the machine.

    Args:
      views: augmented views of each image that the phase reads from a cache.

    >>> sizes = Sizes(100, 10, 5, 10, 10, (2, 4))
    >>> slices = [Slice(i % 2, (2, 4)[i % 2], 3, 3 * (1 + 0.5 * (2, 4)[i % 2]), 2.0) for i in range(4)]
    >>> found = total(slices, Once(0.0, 7.0, 0.0, 1.0, 5.0), sizes, sizes, Plan(orders=3, at_once=1, epochs=10))
    >>> round(found.estimate, 6), round(found.step, 6)  # 7 + 5 + 3 · (1 + 2 · 2 + 10 · (2 + 0.5 · 6))
    (177.0, 0.5)
    """
    if len(slices) < LEAST_SLICES:
        return None
    groups, increments = plan.orders / plan.at_once, len(full.steps)
    # How often the fitted numbers count: epochs of a group of orders, and steps of these epochs.
    counts = groups * plan.epochs * np.array([increments, sum(full.steps)])
    a, b, variance = _fitted(slices, counts)
    rest = np.array([one.rest for one in slices])
    variance += (groups * increments) ** 2 * rest.var(ddof=1) / len(rest)
    answer = once.answer * plan.at_once
    of_epoch = a + answer * (full.validation - here.validation)
    of_increment = rest.mean() + answer * (full.new + full.test - here.new - here.test)
    of_order = once.begin + once.answer * (full.base + full.test - here.base - here.test)
    grown = full.images / here.images
    parts = {
        "compilation": once.compile,
        "trunk": once.trunk * grown,
        "cached views": once.views * grown * views,
        "begin": of_order * plan.orders,
        "steps": b * counts[1],
        "epochs beside their steps": of_epoch * counts[0],
        "increments beside their epochs": of_increment * groups * increments,
    }
    estimate, half = float(sum(parts.values())), float(stats.t.ppf(0.975, len(slices) - 2) * np.sqrt(variance))
    return Total(
        estimate, max(0.0, estimate - half), estimate + half, {k: float(v) for k, v in parts.items()}, float(b)
    )


def _fitted(slices: list[Slice], counts: np.ndarray) -> tuple[float, float, float]:
    """Fits seconds of an epoch, a + b · steps; returns a, b and the variance of counts · (a, b)."""
    x = np.array([(1.0, one.steps) for one in slices])
    y = np.array([one.training / one.epochs for one in slices])
    inverse = np.linalg.pinv(x)  # of epochs with the same number of steps, too
    fitted = inverse @ y
    scatter = np.sum((y - x @ fitted) ** 2) / (len(y) - 2)
    return float(fitted[0]), float(fitted[1]), float(scatter * np.sum((inverse.T @ counts) ** 2))


def image_steps(full: Sizes, plan: Plan, batch: int) -> int:
    """Counts the images that all steps of a phase pass through."""
    return plan.orders * plan.epochs * sum(full.steps) * batch


def multiply_adds(full: Sizes, plan: Plan, step: int, forward: tuple[int, int], views: int = 0) -> int:
    """Counts the multiply-adds of a phase by formula.

    Args:
      step: those of a training step; forward: those of trunk and tail for one image.
    """
    trunk, tail = forward
    increments = len(full.steps)
    answered = full.base + full.test + increments * (full.new + full.test + plan.epochs * full.validation)
    return plan.orders * (plan.epochs * sum(full.steps) * step + answered * tail) + full.images * (
        trunk + views * (trunk + tail)
    )
