"""`fer-jax bench`: what its flags ask for, measured and printed as JSON, a line a measurement."""

import argparse
import json
import os
import pathlib
from collections.abc import Callable

from fer_jax.errors import UserError

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
# Measurements by their names, in the order in which they are made: module and function of `fer_jax.bench`.
MEASUREMENTS = {
    "step": ("step", "measure"),
    "evaluation": ("inference", "measure_evaluation"),
    "grad-cam": ("inference", "measure_grad_cam"),
    "input": ("pipeline", "measure"),
    "epoch": ("epoch", "measure"),
    "runs": ("runs", "measure"),
    "devices": ("devices", "measure"),
    "scaling": ("scaling", "measure"),
    "selection": ("selection", "measure"),
}


def add_arguments(commands) -> None:
    """Adds the command to argparse's subparsers."""
    bench = commands.add_parser(
        "bench",
        help="measure throughput, memory and scaling on the devices that are there",
        usage="fer-jax bench [--config FILE] [--only NAME,...] [--out FILE] [--quick] [--config.key=value ...]",
        description="Prints JSON, a line a measurement: images a second, seconds of compilation, peak memory, "
        "multiply-adds by formula and by XLA, and the share of the device's measured matmul peak. Pictures are noise: "
        "no data set is needed. docs/performance.md says what the figures mean.",
        allow_abbrev=False,
    )
    bench.add_argument(
        "--config", metavar="FILE",
        help="what to measure (default configs/cfee.py for steps, evaluation, maps, input and selection, "
        "configs/quickstart.py for epochs, runs, devices and scaling)",
    )  # fmt: skip
    bench.add_argument("--only", metavar="NAME,...", help=f"some of {', '.join(MEASUREMENTS)}")
    bench.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write all of it as one JSON file, too")
    bench.add_argument("--quick", action="store_true", help="fewer rounds, pictures and sizes: minutes")


def run(known: argparse.Namespace, rest: list[str], read_config: Callable) -> None:
    """Runs the command.

    Raises:
      UserError: a mistake in the flags; nothing is measured then.
    """
    names = _names(known.only)
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an argument of bench; overrides are written --config.key=value")
    if rest and known.config is None:
        raise UserError(f"{rest[0]} overrides a key of --config FILE, which is missing")
    if known.out and not known.out.absolute().parent.is_dir():
        raise UserError(f"--out {known.out}: there is no folder {known.out.absolute().parent}")
    if known.out and known.out.is_dir():
        raise UserError(f"--out {known.out} is a folder; it may be a file")
    found = measure(_bench(known, rest, read_config), names, lambda row: print(json.dumps(row), flush=True))
    if known.out:
        from fer_jax.runs import results

        results.write_json(known.out, found)


def measure(bench, names: list[str], tell: Callable[[dict], None] = lambda row: None) -> dict:
    """Makes the named measurements; all of them with where they were made, ready for JSON."""
    import importlib

    from fer_jax.bench import arithmetic
    from fer_jax.models import precision
    from fer_jax.runs import results
    from fer_jax.runs.progress import Bar, log

    load = round(os.getloadavg()[0], 2)
    peak = arithmetic.matmul_peak()
    rows = [{"name": "matmul peak", **peak._asdict()}]
    tell(rows[0])
    with Bar("measurements", len(names), bench.console) as bar:
        for name in names:
            module, function = MEASUREMENTS[name]
            for row in getattr(importlib.import_module(f"fer_jax.bench.{module}"), function)(bench):
                tell(row)
                rows.append(row)
            log.info("bench %s: measured", name)
            bar.advance(1)
    computed_in = precision.used(bench.large.model.precision)
    environment = {**results.environment(computed_in), "cores": len(os.sched_getaffinity(0)), "load_before": load}
    return {"environment": environment, "measurements": rows}


def _names(only: str | None) -> list[str]:
    if only is None:
        return list(MEASUREMENTS)
    names = [name for name in only.split(",") if name]
    for name in names or [only]:
        if name not in MEASUREMENTS:
            raise UserError(f"--only has {name!r}; it may be some of {', '.join(MEASUREMENTS)}")
    return [name for name in MEASUREMENTS if name in names]


def _bench(known: argparse.Namespace, rest: list[str], read_config: Callable):
    from fer_jax import config as configs
    from fer_jax.bench.record import Bench
    from fer_jax.runs.progress import start_logging

    files = (known.config,) * 2 if known.config else (str(CONFIGS / "cfee.py"), str(CONFIGS / "quickstart.py"))
    resolved = []
    for file in files:
        config = read_config([f"--config={file}", *rest])
        configs.check(config)
        resolved.append(configs.resolve(config))
    return Bench(*resolved, (files[1], *rest), known.quick, start_logging())
