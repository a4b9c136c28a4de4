"""Timing: runs several functions in turn, and summarises their times and the memory that they took."""

import contextlib
import resource
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.monitoring
import numpy as np
from scipy import stats

_COMPILED = "/jax/core/compile/backend_compile_duration"


class Clock:
    """The rest of a time budget."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds left; negative once they are over."""
        return self._end - time.monotonic()


class OutOfTime(BaseException):
    """The end of a time budget; not an `Exception`, so that no handler of errors catches it."""


@contextlib.contextmanager
def within(clock: Clock) -> Iterator[None]:
    """Ends the block with the clock, between two calls of compiled code; for the main thread.

    Raises:
      OutOfTime: the budget is over.
    """

    def ring(number, frame):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, clock.left()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Warm(NamedTuple):
    """The cost of a function's first call: seconds of XLA's compilation, and peak memory in bytes."""

    compile_seconds: float
    peak_bytes: int
    peak_of: str


class _Compilations:
    """Adds up the time that XLA compiles."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self, event: str, seconds: float, **_) -> None:
        if event == _COMPILED:
            self.seconds += seconds


@contextlib.contextmanager
def compilations() -> Iterator[_Compilations]:
    """Counts the seconds that XLA compiles within the block."""
    listener = _Compilations()
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield listener
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


def warm(function: Callable[[], Any]) -> Warm:
    """Calls a function for the first time; returns the cost of that."""
    _forget_peak()
    with compilations() as compiled:
        jax.block_until_ready(function())
    return Warm(compiled.seconds, *peak_memory())


def peak_memory() -> tuple[int, str]:
    """Returns the peak memory in bytes and whose it is: the device's if it reports it, else the process's."""
    memory = jax.local_devices()[0].memory_stats()
    if memory and "peak_bytes_in_use" in memory:
        return int(memory["peak_bytes_in_use"]), "device, since the process began"
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]), "process"
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "process, since it began"


def _forget_peak() -> None:
    """The process's peak is counted from here on, on Linux."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def interleaved(
    functions: dict[str, Callable[[], Any]], rounds: int, budget: float = 120.0, least: int = 3
) -> dict[str, list[float]]:
    """Times each function in each round; every round calls all of them, starting with a different one.

    Args:
      rounds: at most; after `least` it ends when `budget` seconds are used up.
    """
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    began = time.perf_counter()
    for number in range(rounds):
        if number >= least and time.perf_counter() - began > budget:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            jax.block_until_ready(functions[name]())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(values: list[float]) -> dict[str, float]:
    """Computes median, lowest, highest and n.

    >>> summary([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0, 'n': 3}
    """
    return {"median": float(np.median(values)), "min": float(min(values)), "max": float(max(values)), "n": len(values)}


def rates(images: int, seconds: list[float]) -> dict[str, float]:
    """Computes images a second, in the form of `summary`.

    >>> rates(8, [2.0, 4.0])
    {'median': 3.0, 'min': 2.0, 'max': 4.0, 'n': 2}
    """
    return summary([images / s for s in seconds])


def times_as_fast(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Computes how much faster `fast` is than `slow`: the median ratio of rounds, with a 95 % bootstrap interval.

    >>> found = times_as_fast([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    >>> found['median'], found['low'], found['high'], found['n']
    (2.0, 2.0, 2.0, 3)
    """
    ratios = np.asarray(slow) / np.asarray(fast)
    low = high = float("nan")
    if len(ratios) > 1:
        interval = stats.bootstrap(
            (ratios,), np.median, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return {"median": float(np.median(ratios)), "low": low, "high": high, "n": len(ratios)}


def growth(sizes: list[float], seconds: list[float]) -> dict[str, float]:
    """Fits `seconds ~ sizes ** exponent` over all sizes, and finds the steepest growth from one size to the next.

    >>> found = growth([1, 10, 100], [1.0, 1.0, 10.0])
    >>> round(found['exponent'], 3), round(found['steepest'], 3)
    (0.5, 1.0)
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    return {"exponent": float(np.polyfit(x, y, 1)[0]), "steepest": float(np.max(np.diff(y) / np.diff(x)))}
