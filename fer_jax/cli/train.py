"""`fer-jax train`: runs or resumes an experiment, then writes its report and fits its calibration."""

import argparse

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
            run_and_report(config, workdir, console, saving, tracker=known.tracker)
    if not processes.leads():
        return
    print(f"results: {known.workdir}/results.json")
    print(f"report:  {known.workdir}/report/index.html")
