"""`fer-jax train`: runs or resumes an experiment, then writes its report and fits its calibration."""

import argparse
import pathlib

from fer_jax.cli import flags


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
    train = commands.add_parser(
        "train",
        help="run an experiment, or go on with it",
        usage="fer-jax train --config FILE --workdir DIR [--config.key=value ...]",
        description="Runs the three phases of a config and writes results.json, report/index.html and checkpoints "
        "to the workdir. The same command again goes on where it stopped.",
        allow_abbrev=False,
    )
    flags.add_experiment(train, remote=True)
    train.add_argument(
        "--save-every", type=flags.seconds, default=60.0, metavar="SECONDS",
        help="at most so long between two saves inside a fit (60); an increment is always saved",
    )  # fmt: skip
    flags.add_profile(train)
    flags.add_processes(train)


def run(known: argparse.Namespace, rest: list[str]) -> None:
    """Runs the command and prints where its results and its report are.

    Raises:
      UserError: a mistake in the flags or in the config; nothing is written then.
      Interrupted: it was asked to end.
    """
    config = flags.config_of(known, rest, "train")
    from fer_jax.runs import processes, trace

    if known.profile:
        trace.check(known.profile)
    processes.join(known)
    from fer_jax.interface.experiments import run_and_report
    from fer_jax.runs import mirror
    from fer_jax.runs.checkpoints import Saving
    from fer_jax.runs.interruption import Interruption
    from fer_jax.runs.progress import start_logging

    with (
        processes.ending_together(),
        processes.watchdog(known).watching() as watchdog,
        trace.Tracing(known.profile) as tracing,
        Interruption(lambda: (watchdog.feed(), tracing.epoch(), check())).listening() as interruption,
    ):
        console = start_logging(quiet=not processes.leads())
        with mirror.working(known.workdir, processes.patience(known)) as (workdir, check):
            processes.outwait(known, workdir)
            saving = Saving(known.save_every, interruption)
            results = run_and_report(config, workdir, console, saving, tracker=known.tracker)
    if processes.leads():
        _tell(results, known.workdir)


def _tell(results: dict, workdir: pathlib.Path | str) -> None:
    """Prints where the time went, where the results are, and what to do with them."""
    from fer_jax.report.tables import time_table

    spent = sorted(((phase, float(seconds)) for phase, seconds in time_table(results)[1]), key=lambda one: -one[1])
    total = sum(seconds for phase, seconds in spent if not phase.startswith("search"))
    shares = [f"{phase} {seconds:.0f} s" for phase, seconds in spent if seconds >= 0.01 * total]
    print(f"time:    {total:.0f} s: {', '.join(shares)}")
    print(f"results: {workdir}/results.json")
    print(f"report:  {workdir}/report/index.html")
    print(f"next:    open the report; fer-jax predict --workdir {workdir} PICTURE asks the model")
