"""Measures in how much of the continual phase's wall time compiled code is at work; the host alone takes the rest.

    python -m fer_jax.bench.profile --out docs/results/profile.json

The paper's method runs on the first class order of a config, all increments, three times: to compile, as it is, and
under JAX's profiler. Compiled code is at work while any device, or any of XLA's threads on the CPU, is inside a
program. Reading and writing checkpoints, drawing pools, early stopping and Python are the rest. The base model is
untrained, and the pictures are noise.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np

from fer_jax import config as configs
from fer_jax import metrics
from fer_jax.bench.measurements import CONFIGS
from fer_jax.bench.timing import compilations
from fer_jax.bench.world import METHOD, fold_of, noise
from fer_jax.config.file import read_config
from fer_jax.methods import METHODS
from fer_jax.models import precision
from fer_jax.phases import base as base_task
from fer_jax.phases.increments import begin, learn
from fer_jax.phases.part import Part, effective
from fer_jax.runs import results
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.environment import command, cores, prepare_environment
from fer_jax.runs.progress import Bar, start_logging

# On the CPU a program is such a span if it hands work to other threads. All of its operations name themselves.
ON_HOST, OPERATION = "ThunkExecutor::Execute", "hlo_op"


def union(spans: list[tuple[float, float]]) -> float:
    """Computes how long at least one of the spans (begin, end) lasts.

    >>> union([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, reached = 0.0, -np.inf
    for begin_, end in sorted(spans):
        total += max(0.0, end - max(begin_, reached))
        reached = max(reached, end)
    return float(total)


def busy_seconds(folder: pathlib.Path) -> float:
    """Computes the seconds of a trace in which compiled code was at work."""
    (file,) = folder.rglob("*.xplane.pb")
    spans = []
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        device = plane.name.startswith("/device:") and "CPU" not in plane.name
        for line in plane.lines:
            for event in line.events:
                if device or event.name.startswith(ON_HOST) or any(name == OPERATION for name, _ in event.stats):
                    spans.append((event.start_ns, event.start_ns + event.duration_ns))
    return union(spans) / 1e9


@contextlib.contextmanager
def traced() -> Iterator[dict[str, float]]:
    """Measures the wall time and the busy time of the block, in seconds; fills them into the dict when it ends."""
    options = jax.profiler.ProfileOptions()
    # Programs and their parts, not every call of Python.
    options.host_tracer_level, options.python_tracer_level = 1, 0
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, profiler_options=options)
        began = time.perf_counter()
        try:
            yield seconds
        finally:
            seconds["wall"] = time.perf_counter() - began
            jax.profiler.stop_trace()
        seconds["busy"] = busy_seconds(pathlib.Path(folder))


def phase(fold, base, part: Part, bar: Bar, trace: bool) -> list[dict[str, float]]:
    """Runs all increments with their checkpoints; returns the seconds of each, and those in which XLA compiled."""
    rows, learned = [], begin(part)
    n = len(part.order) // fold.per_increment
    with fold.slot(METHOD, "order0") as slot:
        for increment in range(n):
            began = time.perf_counter()
            with compilations() as compiled, traced() if trace else contextlib.nullcontext({}) as seconds:
                learned, measured = learn(part, learned, increment, slot)
                slot.steps.save(increment, part.saved(learned), {"steps": [measured]})
            wall = seconds or {"wall": time.perf_counter() - began}
            rows.append({**wall, "compile": compiled.seconds})
            bar.advance(1)
        slot.finish()
    return rows


def measure(config, console=None) -> dict:
    """Runs the phase three times: to compile, as it is, and traced."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        fold = fold_of(config, noise(config))
        base = base_task.initial_params(fold)
        order = np.arange(fold.n_classes - fold.n_base)
        part = Part(fold, base, effective(config, METHODS[METHOD]), 0, order)
        with Bar("increments", 3 * (len(order) // fold.per_increment), console) as bar:
            for name in ("compiling", "plain", "traced"):
                own = dataclasses.replace(fold, checkpoints=pathlib.Path(folder) / name, saving=Saving())
                part.fold = own
                rows[name] = phase(own, base, part, bar, name == "traced")
    shares = [row["busy"] / row["wall"] for row in rows["traced"]]
    wall = {name: sum(row["wall"] for row in own_rows) for name, own_rows in rows.items()}
    return {
        "settings": {
            "method": METHOD, "increments": len(shares), "epochs": config.continual.max_epochs,
            "batch": config.continual.batch_size, "pixels": config.data.image_size, "classes": fold.n_classes,
        },
        "compiled_share": sum(row["busy"] for row in rows["traced"]) / wall["traced"],
        "compiled_share_of_increments": dataclasses.asdict(metrics.estimate(shares)),
        "seconds": {**wall, "busy": sum(row["busy"] for row in rows["traced"])},
        "compile_seconds": [row["compile"] for row in rows["compiling"]],
        "increments": [{"wall": row["wall"], "busy": row["busy"]} for row in rows["traced"]],
        "environment": {
            **results.environment(precision.used(config.model.precision)), "cores": cores(),
        },
    }  # fmt: skip


def main() -> None:
    """Measures the config named on the command line, writes the JSON and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(CONFIGS / "quickstart.py"), metavar="FILE")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    a, rest = parser.parse_known_args()
    prepare_environment()
    console = start_logging()
    config = configs.resolve(read_config([f"--config={a.config}", *rest]))
    load = round(os.getloadavg()[0], 2)
    report = measure(config, console)
    report["environment"]["load_before"] = load
    results.write_json(a.out, {"command": command(), **report})
    print(
        f"compiled code is at work in {100 * report['compiled_share']:.1f} % of {report['seconds']['traced']:.1f} s; "
        f"without the profiler {report['seconds']['plain']:.1f} s"
    )


if __name__ == "__main__":
    main()
