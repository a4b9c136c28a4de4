"""`fer-jax bench`: runs the measurements that its flags name, and prints JSON, a line a measurement."""

import argparse
import json

from fer_jax.bench.measurements import CONFIGS, MEASUREMENTS, measure
from fer_jax.cli import flags
from fer_jax.errors import UserError


def add(commands) -> None:
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
    bench.add_argument("--out", type=flags.path, metavar="FILE", help="write all of it as one JSON file, too")
    flags.add_profile(bench)
    bench.add_argument("--quick", action="store_true", help="fewer rounds, pictures and sizes: minutes")


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the command: prints every measurement as soon as it is made.

    Raises:
      UserError: a mistake in the flags; nothing is measured then.
    """
    names = _names(known.only)
    flags.check_overrides(rest, "bench")
    if rest and known.config is None:
        raise UserError(f"{rest[0]} overrides a key of --config FILE, which is missing")
    if known.out and not known.out.absolute().parent.is_dir():
        raise UserError(f"--out {known.out}: there is no folder {known.out.absolute().parent}")
    if known.out and known.out.is_dir():
        raise UserError(f"--out {known.out} is a folder; it may be a file")
    if known.profile and "epoch" not in names:
        raise UserError("--profile traces two epochs; --only lacks epoch")
    from fer_jax.runs import environment, results, trace

    if known.profile:
        trace.check(known.profile)
    measured = measure(_bench(known, rest), names, lambda row: print(json.dumps(row), flush=True))
    if known.out:
        results.write_json(known.out, {"command": environment.command(), **measured})


def _names(only: str | None) -> list[str]:
    if only is None:
        return list(MEASUREMENTS)
    names = [name for name in only.split(",") if name]
    for name in names or [only]:
        if name not in MEASUREMENTS:
            raise UserError(f"--only has {name!r}; it may be some of {', '.join(MEASUREMENTS)}")
    return [name for name in MEASUREMENTS if name in names]


def _bench(known: argparse.Namespace, rest: list[str]):
    from fer_jax import config as configs
    from fer_jax.bench.record import Bench
    from fer_jax.config.file import read_config
    from fer_jax.runs.progress import start_logging

    files = (known.config,) * 2 if known.config else (str(CONFIGS / "cfee.py"), str(CONFIGS / "quickstart.py"))
    resolved = []
    for file in files:
        config = read_config([f"--config={file}", *rest])
        configs.check(config)
        resolved.append(configs.resolve(config))
    return Bench(*resolved, (files[1], *rest), known.quick, start_logging(), known.profile)
