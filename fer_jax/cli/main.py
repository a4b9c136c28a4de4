"""The command `fer-jax`: parses, then calls. A mistake of the user's is one line on stderr and exit code 2.

What passes by itself, such as a full disk or a workdir in use, is one line and exit code 75: a cluster tries again.
"""

import argparse
import importlib.metadata
import pathlib
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags

from fer_jax.bench import command as bench
from fer_jax.cli import models as model_commands
from fer_jax.cli import sweep as command
from fer_jax.config import dotted
from fer_jax.errors import EXIT_MISTAKE, DeviceMemoryError, ExportError, Interrupted, UserError, exit_code
from fer_jax.runs import processes as cluster

EXIT_INTERRUPTED = 130


def read_config(arguments: list[str]):
    """The config of `--config=FILE[:argument]`, which comes first, with the `--config.key=value` overrides after it.

    A config file is a Python program and is executed, because it was named on the command line.

    Raises:
      UserError: no such file, a file without get_config, an unknown key, or a value of another type.
    """
    from fer_jax.config import flatten, missing, suggestion

    file = pathlib.Path(arguments[0].removeprefix("--config=").partition(":")[0])
    if not file.is_file():
        raise UserError(f"--config {file}: no such file")
    overrides = [a for a in arguments if a.startswith("--config.")]
    config = _parse([a for a in arguments if a not in overrides])
    # An override may be of a key that the file leaves out, and which those are depends on data set and backbone.
    named = [a for a in overrides if a.startswith(("--config.data.name=", "--config.model.name="))]
    config = _parse(named, config) if named else config
    with config.unlocked():
        config.update_from_flattened_dict(missing(config))
    known = flatten(config)
    for override in overrides:
        key, equals, _ = override.removeprefix("--config.").partition("=")
        if key not in known:
            raise UserError(f"config.{key} does not exist{suggestion(key, known)}")
        if not equals:
            raise UserError(f"--config.{key} has no value; write --config.{key}=VALUE")
    return _parse(overrides, config)


def _parse(arguments: list[str], config: ml_collections.ConfigDict | None = None):
    """The config of `--config=FILE`, or the one given, with overrides."""
    values = flags.FlagValues()
    argv = ["fer-jax", *arguments]
    if config is None:
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    else:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
        return values.config
    except Exception as error:  # a config file is a program: anything may go wrong in it
        raise UserError(f"--config: {type(error).__name__}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Parser(argparse.ArgumentParser):
    """Tells a mistake as every other one is told: one line, exit code 2. Sub-parsers are of the same class."""

    def error(self, message: str):
        name = self.prog.removeprefix("fer-jax").strip()
        self.exit(EXIT_MISTAKE, f"fer-jax: {name + ': ' if name else ''}{message}; --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fer-jax", description="Class-incremental facial-expression learning in JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fer-jax {importlib.metadata.version('fer-jax')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="run an experiment, or go on with it",
        usage="fer-jax train --config FILE --workdir DIR [--config.key=value ...]",
        description="Runs the three phases of a config and writes results.json, report/index.html and checkpoints "
        "to the workdir. The same command again goes on where it stopped.",
        allow_abbrev=False,
    )
    train.add_argument("--config", required=True, metavar="FILE", help="a Python file with get_config()")
    train.add_argument("--workdir", required=True, type=pathlib.Path, metavar="DIR")
    train.add_argument(
        "--save-every", type=_seconds, default=60.0, metavar="SECONDS",
        help="at most so long between two saves inside a fit (60); an increment is always saved",
    )  # fmt: skip
    cluster.add_arguments(train)
    _add_sweep(commands)
    report = commands.add_parser(
        "report",
        help="make the report of a workdir again, or one of several",
        description="Makes report/index.html of a run's workdir from its results.json. Of a sweep's folder, or of "
        "several, it merges what is finished into one results.json and one page, and says what is missing.",
        allow_abbrev=False,
    )
    report.add_argument("--workdir", required=True, action="append", type=pathlib.Path, metavar="DIR")
    report.add_argument(
        "--out", type=pathlib.Path, metavar="DIR",
        help="where the results and the page of several workdirs go (merged/ in the first one)",
    )  # fmt: skip
    model_commands.add_trust(report)
    data = commands.add_parser("data", help="work on a data set's files", allow_abbrev=False)
    tasks = data.add_subparsers(dest="task", required=True, metavar="TASK")
    prepare = tasks.add_parser(
        "prepare",
        help="cut every picture to its face",
        usage="fer-jax data prepare --config FILE --out DIR [--margin M] [--size S] [--jobs N] "
        "[--config.key=value ...]",
        description="Reads the data set in config.data.manual_dir and writes a folder of the same layout, every "
        "picture cut to its largest face; train on it with --config.data.manual_dir=DIR. The same command again goes "
        "on where it stopped.",
        allow_abbrev=False,
    )
    prepare.add_argument("--config", required=True, metavar="FILE", help="a Python file with get_config()")
    prepare.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    prepare.add_argument("--margin", type=float, metavar="M", help="kept around a face, in sizes of it (default 0.25)")
    prepare.add_argument("--size", type=int, metavar="S", help="pixels of a side (default config.data.image_size)")
    prepare.add_argument("--jobs", type=int, metavar="N", help="processes (default one a CPU core)")
    model_commands.add_arguments(commands)
    bench.add_arguments(commands)
    return parser


def _add_sweep(commands) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="run an experiment over several methods, orders, folds, seeds or other keys",
        usage="fer-jax sweep --config FILE --workdir DIR --over AXIS=VALUE,... [--over ...] [--few-shot] "
        "[--list | --cell I | --emit slurm] [--jobs N] [--config.key=value ...]",
        description="Every combination of the axes' values is a cell, a run of its own in DIR/cells; cells of the same "
        "base task share its base model. The same command again runs what is not finished. Exit code 1: some cell "
        "failed.",
        allow_abbrev=False,
    )
    sweep.add_argument("--config", required=True, metavar="FILE", help="a Python file with get_config()")
    sweep.add_argument("--workdir", required=True, type=pathlib.Path, metavar="DIR")
    command.add_arguments(sweep)
    sweep.add_argument("--save-every", type=_seconds, default=60.0, metavar="SECONDS", help="as with train")
    cluster.add_arguments(sweep)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text}; it may be a number of seconds from 0")
    return value


def _train(known: argparse.Namespace, rest: list[str]) -> None:
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an argument of train; overrides are written --config.key=value")
    config = read_config([f"--config={known.config}", *rest])
    cluster.join(known)
    from fer_jax import experiment
    from fer_jax.runs.checkpoints import Saving
    from fer_jax.runs.interruption import Interruption
    from fer_jax.runs.progress import start_logging
    from fer_jax.training import devices as parallel

    with (
        parallel.ending_together(),
        cluster.watchdog(known).watching() as watchdog,
        Interruption(watchdog.feed).listening() as interruption,
    ):
        cluster.outwait(known, known.workdir)
        saving = Saving(known.save_every, interruption)
        experiment.train(config, known.workdir, start_logging(quiet=not parallel.leads()), saving)
    if not parallel.leads():
        return
    print(f"results: {known.workdir / 'results.json'}")
    print(f"report:  {known.workdir / 'report' / 'index.html'}")


def _sweep(known: argparse.Namespace, rest: list[str]) -> int:
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an argument of sweep; overrides are written --config.key=value")
    return command.run(known, rest, read_config)


def _bench(known: argparse.Namespace, rest: list[str]) -> None:
    bench.run(known, rest, read_config)


def _prepare(known: argparse.Namespace, rest: list[str]) -> None:
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an argument of data prepare; overrides are written --config.key=value")
    config = read_config([f"--config={known.config}", *rest])
    from fer_jax.data.prepare import prepare
    from fer_jax.runs.progress import start_logging

    summary = prepare(config.data, known.out, known.margin, known.size, known.jobs, start_logging())
    counts = summary["counts"]
    print(
        f"pictures: {counts['pictures']}, of which face found {counts['found']} (several {counts['several_found']}, "
        f"low score {counts['low_score']}), not found {counts['not_found']}, unreadable {counts['unreadable']}"
    )
    print(f"summary:  {known.out / '.prepare' / 'summary.json'}")
    if (known.out / ".prepare" / "unsure.png").exists():
        print(f"unsure:   {known.out / '.prepare' / 'unsure.png'}")


def _report(known: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]} is not an argument of report")
    from fer_jax.report import page
    from fer_jax.sweep.cells import SWEEP

    first = known.workdir[0]
    if len(known.workdir) > 1:
        page.tell(*page.write_merged(known.workdir, known.out or first / "merged"))
    elif (first / SWEEP).exists():
        page.tell(*page.write_merged(known.workdir, known.out or first))
    elif known.out:
        raise UserError("--out goes with several --workdir, or with that of a sweep")
    else:
        print(f"report:  {page.write(first)}")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    known, rest = _parser().parse_known_args(arguments)
    commands = {
        "train": _train,
        "sweep": _sweep,
        "report": _report,
        "data": _prepare,
        "bench": _bench,
        **model_commands.COMMANDS,
    }
    try:
        with dotted.trusting(getattr(known, "trust", False)):
            return commands[known.command](known, rest) or 0
    except (UserError, OSError, FloatingPointError, DeviceMemoryError, ExportError) as error:
        # An OSError is of a file or folder that cannot be read or written; the message has its name.
        print(f"fer-jax: {_first_line(error)}", file=sys.stderr)
        return exit_code(error)
    except Interrupted as error:
        print(f"fer-jax: {_first_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("fer-jax: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
