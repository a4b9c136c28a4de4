"""`fer-jax bench`: runs the measurements that its flags name, and prints JSON, a line a measurement.

`fer-jax bench cfee` rehearses the paper's continual phase at full size.
"""

import argparse
import json
import logging
import os
import sys

from fer_jax.bench.measurements import CONFIGS, MEASUREMENTS, measure
from fer_jax.cli import flags
from fer_jax.errors import UserError

# Of `bench cfee`: seconds, and epochs that an increment is taken to need. Patience is 100 epochs, and the best comes
# later than the first.
BUDGET, EPOCHS = 240, 200


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    bench = commands.add_parser(
        "bench",
        help="measure throughput, memory and scaling on the devices that are there",
        usage="fer-jax bench [--config FILE] [--only NAME,...] [--out FILE] [--quick] [--config.key=value ...]\n"
        "       fer-jax bench cfee [--budget SECONDS] [--epochs N] [--config FILE] [--out FILE] ...",
        description="Prints JSON, a line a measurement: images a second, seconds of compilation, peak memory, "
        "multiply-adds by formula and by XLA, and the share of the device's measured matmul peak. Pictures are noise: "
        "no data set is needed. docs/performance.md says what the figures mean. `bench cfee` runs slices of the "
        "paper's whole continual phase and says what all of it takes.",
        allow_abbrev=False,
    )
    bench.add_argument("what", nargs="?", choices=("cfee",), help="the paper's continual phase, slice by slice")
    bench.add_argument(
        "--budget", type=flags.seconds, metavar="SECONDS", help=f"of `bench cfee` ({BUDGET}); it ends with them"
    )
    bench.add_argument(
        "--epochs", type=int, metavar="N", help=f"that `bench cfee` takes an increment to need ({EPOCHS})"
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


def run(known: argparse.Namespace, rest: list[str]) -> int | None:
    """Runs the command: prints every measurement as soon as it is made.

    Raises:
      UserError: a mistake in the flags; nothing is measured then.
    """
    names = _names(known.only)
    flags.check_overrides(rest, "bench")
    if rest and known.config is None and not known.what:
        raise UserError(f"{rest[0]} overrides a key of --config FILE, which is missing")
    if known.out and not known.out.absolute().parent.is_dir():
        raise UserError(f"--out {known.out}: there is no folder {known.out.absolute().parent}")
    if known.out and known.out.is_dir():
        raise UserError(f"--out {known.out} is a folder; it may be a file")
    if known.what:
        return _rehearse(known, rest)
    for flag in ("budget", "epochs"):
        if getattr(known, flag) is not None:
            raise UserError(f"--{flag} is of `fer-jax bench cfee`; the word cfee is missing")
    if known.profile and "epoch" not in names:
        raise UserError("--profile traces two epochs; --only lacks epoch")
    from fer_jax.runs import trace

    if known.profile:
        trace.check(known.profile)
    measured = measure(_bench(known, rest), names, lambda row: print(json.dumps(row), flush=True))
    if known.out:
        _write(known, measured)
    return None


def _rehearse(known: argparse.Namespace, rest: list[str]) -> int:
    """Rehearses the continual phase; returns the exit code. What the slices say so far outlives an interruption.

    Raises:
      UserError: a mistake in the flags or in the config; nothing is measured then.
      Interrupted: it was asked to end.
    """
    budget, epochs = (
        usual if given is None else given for given, usual in ((known.budget, BUDGET), (known.epochs, EPOCHS))
    )
    for flag in ("only", "quick", "profile"):
        if getattr(known, flag):
            raise UserError(f"--{flag} is of bench without the word cfee")
    if epochs < 1:
        raise UserError(f"--epochs is {epochs}; it may be from 1")
    from fer_jax.bench.timing import Clock, OutOfTime, within

    clock = Clock(budget)
    from fer_jax.bench import measurements, rehearsal
    from fer_jax.runs.interruption import Interruption
    from fer_jax.runs.progress import start_logging

    config = _resolved(known.config or str(CONFIGS / "cfee.py"), rest)
    console, rows, described, cut_short = start_logging(), [], measurements.machine(config), False
    try:
        with Interruption().listening(), within(clock):
            subjects = rehearsal.subjects_for(config, budget)
            for rows in rehearsal.measure(config, clock, subjects, epochs, console=console):
                if known.out:
                    _write(known, {"budget_seconds": budget, "environment": described, "measurements": rows})
    except OutOfTime:
        logging.getLogger("fer_jax").warning("the budget ended within a part of the rehearsal")
        cut_short = True
    finally:
        for row in rows:
            print(json.dumps(row), flush=True)
            print(rehearsal.sentence(row), file=sys.stderr)
    code = int(not any(row["total_seconds"] for row in rows))
    if cut_short:  # what the device still computes would crash an interpreter that takes itself apart
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _write(known: argparse.Namespace, measured: dict) -> None:
    from fer_jax.runs import environment, results

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
    from fer_jax.bench.record import Bench
    from fer_jax.runs.progress import start_logging

    files = (known.config,) * 2 if known.config else (str(CONFIGS / "cfee.py"), str(CONFIGS / "quickstart.py"))
    resolved = [_resolved(file, rest) for file in files]
    return Bench(*resolved, (files[1], *rest), known.quick, start_logging(), known.profile)


def _resolved(file: str, rest: list[str]):
    from fer_jax import config as configs
    from fer_jax.config.file import read_config

    config = read_config([f"--config={file}", *rest])
    configs.check(config)
    return configs.resolve(config)
