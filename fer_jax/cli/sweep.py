"""`fer-jax sweep`: lists, submits, merges or runs the cells of a sweep, as its flags ask."""

import argparse
import pathlib
import sys

from fer_jax.cli import flags
from fer_jax.errors import UserError

EXIT_UNFINISHED = 1


def add(commands) -> None:
    """Adds the command to argparse's subparsers."""
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
    flags.add_experiment(sweep, remote=False)
    sweep.add_argument(
        "--over", action="append", required=True, metavar="AXIS=VALUE,...",
        help="an axis: method, order, fold, seed or a key of the config; give several for their product",
    )  # fmt: skip
    sweep.add_argument(
        "--few-shot", action="store_true", help="run the few-shot phase, too, with the first method and order of each"
    )
    sweep.add_argument(
        "--jobs", type=_count, metavar="N",
        help="cells at a time (1); with --emit, the most tasks of the array at a time (no limit)",
    )  # fmt: skip
    one = sweep.add_mutually_exclusive_group()
    one.add_argument("--list", action="store_true", help="say which cells there are and how far they came")
    one.add_argument("--cell", type=int, metavar="I", help="run one cell by its number")
    one.add_argument("--emit", choices=("slurm",), help="print the line that submits what is not finished")
    sweep.add_argument("--save-every", type=flags.seconds, default=60.0, metavar="SECONDS", help="as with train")
    flags.add_processes(sweep)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}; it may be a whole number from 1")
    return int(text)


def run(known: argparse.Namespace, rest: list[str]) -> int:
    """Runs the command; returns its exit code.

    Raises:
      UserError: a mistake in the flags, or a folder of another sweep; nothing is written then.
      Interrupted: it was asked to end.
    """
    config = flags.config_of(known, rest, "sweep")
    from fer_jax.sweeps import cells
    from fer_jax.sweeps.axes import Sweep, read_axes

    overridden = {a.removeprefix("--config.").partition("=")[0] for a in rest}
    sweep = Sweep(config, tuple(read_axes(known.over, config, overridden)), known.few_shot)
    if known.cell is not None:
        return _run_one(known, sweep)
    if known.distributed or (known.coordinator, known.num_processes, known.process_id) != (None, None, None):
        raise UserError("several processes go with --cell: they run one cell together")
    cells.claim(known.workdir, sweep, write=False)
    if known.list:
        return _list(known.workdir, sweep)
    todo = cells.unfinished(known.workdir, sweep)
    if known.emit:
        return _emit(known, rest, todo)
    return _run_all(known, rest, sweep, todo)


def _run_one(known: argparse.Namespace, sweep) -> int:
    if not 0 <= known.cell < len(sweep):
        raise UserError(f"--cell is {known.cell}; it may be 0 to {len(sweep) - 1}")
    from fer_jax.runs import processes

    processes.join(known)
    from fer_jax.interface.experiments import finish
    from fer_jax.runs.checkpoints import Saving
    from fer_jax.runs.interruption import Interruption
    from fer_jax.runs.progress import start_logging
    from fer_jax.sweeps import cells

    with (
        processes.ending_together(),
        processes.watchdog(known).watching() as watchdog,
        Interruption(watchdog.feed).listening() as interruption,
    ):
        processes.outwait(known, cells.folder(known.workdir, sweep.names[known.cell]))
        console = start_logging(quiet=not processes.leads())
        saving = Saving(known.save_every, interruption)
        ran = cells.run(sweep, known.cell, known.workdir, console, saving, finish, known.tracker)
    if processes.leads():
        name = sweep.names[known.cell]
        outcome = f"results: {cells.folder(known.workdir, name) / 'results.json'}" if ran else "finished already"
        print(f"cell {known.cell} {name}: {outcome}")
    return 0


def _list(workdir: pathlib.Path, sweep) -> int:
    from fer_jax.sweeps import cells

    states = [cells.state(workdir, name) for name in sweep.names]
    for number, (name, state) in enumerate(zip(sweep.names, states, strict=True)):
        print(f"{number}\t{name}\t{state}")
    print(f"{len(sweep)} cells: {_counted(states)}", file=sys.stderr)
    return 0


def _counted(states: list) -> str:
    from fer_jax.sweeps.cells import STATES

    words = [state.word for state in states]
    return ", ".join(f"{words.count(word)} {word}" for word in STATES if word in words)


def _emit(known: argparse.Namespace, rest: list[str], todo: list[int]) -> int:
    from fer_jax.sweeps import slurm

    if todo:
        print(slurm.line(todo, _common(known, rest), known.jobs))
    else:
        print("fer-jax: every cell is finished, there is nothing to submit", file=sys.stderr)
    return 0


def _common(known: argparse.Namespace, rest: list[str]) -> list[str]:
    """The arguments that the command of every cell has."""
    return [
        "--config", known.config, "--workdir", str(known.workdir),
        *(argument for text in known.over for argument in ("--over", text)),
        *(["--few-shot"] if known.few_shot else []),
        *(["--tracker", known.tracker] if known.tracker != "tensorboard" else []),
        "--save-every", f"{known.save_every:g}", *flags.of_processes(known), *rest,
    ]  # fmt: skip


def _run_all(known: argparse.Namespace, rest: list[str], sweep, todo: list[int]) -> int:
    from fer_jax.report import page
    from fer_jax.runs.progress import log, start_logging
    from fer_jax.sweeps import cells, runner

    console = start_logging()
    cells.claim(known.workdir, sweep, write=True)
    if len(todo) < len(sweep):
        log.info("%d of %d cells are finished already", len(sweep) - len(todo), len(sweep))
    arguments = _common(known, rest)
    running = runner.Runner(sweep, known.workdir, lambda number: runner.command(arguments, number), known.jobs or 1)
    failed = running.run(todo, console)
    if len(failed) < len(sweep):
        page.tell(*page.write_merged([known.workdir], known.workdir))
    if not failed:
        return 0
    print(f"fer-jax: {len(failed)} of {len(sweep)} cells are not finished:", file=sys.stderr)
    for name, reason in failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    return EXIT_UNFINISHED
