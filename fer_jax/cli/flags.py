"""Flags that several commands share, and the values read from them."""

import argparse
import pathlib

from fer_jax.errors import UserError
from fer_jax.runs import remote as stores
from fer_jax.runs.lock import WAIT_SECONDS
from fer_jax.runs.watchdog import STALL_SECONDS

HEARTBEAT_SECONDS = 60
REMOTE = "--workdir of train, report, predict, explain and export may be gs://… or s3://…"
CONFIG = "a Python file with get_config(), or fer_jax:NAME, such as fer_jax:quickstart"


def add_experiment(parser: argparse.ArgumentParser, remote: bool) -> None:
    """Adds the flags of a command that runs experiments: the config, and where it writes, perhaps a store."""
    add_config(parser)
    parser.add_argument("--workdir", required=True, type=workdir if remote else path, metavar="DIR")
    parser.add_argument(
        "--tracker", default="tensorboard", metavar="NAME",
        help="where scalars and results go: tensorboard (default), mlflow, wandb or the dotted path of your own",
    )  # fmt: skip


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of a command that reads a config."""
    parser.add_argument("--config", required=True, metavar="FILE", help=CONFIG)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a command that may run as several processes."""
    group = parser.add_argument_group(
        "several processes", "start the same command in every process; --workdir is used by the first of them"
    )
    group.add_argument(
        "--distributed", action="store_true", help="find the others by the cluster's own means (SLURM, Kubernetes, TPU)"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where the first process listens")
    group.add_argument("--num-processes", type=int, metavar="N")
    group.add_argument("--process-id", type=int, metavar="I", help="from 0")
    group.add_argument(
        "--heartbeat", type=lambda text: int(seconds(text, 5)), default=HEARTBEAT_SECONDS, metavar="SECONDS",
        help=f"a process that says nothing for so long is taken for dead, and the others end ({HEARTBEAT_SECONDS})",
    )  # fmt: skip
    group.add_argument(
        "--stall", type=seconds, metavar="SECONDS",
        help=f"a process that finishes no epoch in so long ends ({STALL_SECONDS} of several processes, else never)",
    )  # fmt: skip
    group.add_argument(
        "--wait", type=seconds, metavar="SECONDS",
        help="how long to wait for a workdir that a process of another machine holds, which may be dead "
        f"({WAIT_SECONDS} on a cluster, else 0)",
    )  # fmt: skip


def of_processes(known: argparse.Namespace) -> list[str]:
    """Returns the flags of a run that were given to a command which starts it, but for where its processes are."""
    given = [] if known.heartbeat == HEARTBEAT_SECONDS else ["--heartbeat", str(known.heartbeat)]
    for name in ("stall", "wait"):
        if getattr(known, name) is not None:
            given += [f"--{name}", f"{getattr(known, name):g}"]
    return given + ["--no-compilation-cache"] * known.no_compilation_cache


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of a command that can trace what it trains."""
    parser.add_argument(
        "--profile", type=path, metavar="DIR",
        help="trace two epochs with JAX's profiler, for TensorBoard or Perfetto",
    )  # fmt: skip


def add_model(parser: argparse.ArgumentParser, remote: bool) -> None:
    """Adds the flags that choose a trained model, perhaps one in a store, for `restored`."""
    parser.add_argument("--workdir", required=True, type=workdir if remote else path, metavar="DIR", help="of a run")
    parser.add_argument("--method", metavar="NAME", help="default: the run's first; base is the base model")
    parser.add_argument("--fold", type=int, metavar="K", help="default the first that has the model")
    parser.add_argument("--order", type=int, metavar="O", help="number of a class order, default the first")
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of a command that reads a run's model."""
    parser.add_argument(
        "--trust", action="store_true",
        help="run the modules that the workdir's config names, where they are not of fer_jax; only if it is yours",
    )  # fmt: skip


def path(text: str) -> pathlib.Path:
    """Parses a path, for argparse: a leading `~` is a home. Imports no config, which imports JAX."""
    if stores.is_remote(text):
        raise argparse.ArgumentTypeError(f"is {text}, and may be on this machine alone; {REMOTE}")
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"is {text}, and this process has no such home; set HOME") from None


def workdir(text: str) -> pathlib.Path | str:
    """Parses a workdir, for argparse: a path, or an address in an object store as it is."""
    return text if stores.is_remote(text) else path(text)


def places(rest: list[str], command: str) -> dict[str, str]:
    """Reads where a model's data set lies now, from `--config.data.manual_dir=DIR` and `--config.data.dir=DIR`.

    Raises:
      UserError: another argument.
    """
    from fer_jax.config import PLACES

    flags = {f"--config.{key}": key for key in PLACES}
    given = [argument.partition("=") for argument in rest]
    check_nothing_more(["".join(one) for one in given if one[0] not in flags or not one[1]], command)
    return {flags[flag]: place for flag, _, place in given}


def restored(known: argparse.Namespace, places: dict[str, str] | None = None):
    """Restores the chosen model, whose data set may lie elsewhere now; warns if its run has not finished."""
    from fer_jax.inference import trained
    from fer_jax.runs.progress import log

    model = trained.restore(stores.readable(known.workdir), known.method, known.fold, known.order, places=places)
    if model.increment is not None and not model.class_mask.all():
        log.warning(
            "the run has not ended: the model knows %d of %d classes, after increment %d (the first is 0)",
            model.class_mask.sum(), len(model.class_names), model.increment,
        )  # fmt: skip
    return model


def config_of(known: argparse.Namespace, rest: list[str], command: str):
    """Reads the config that `--config` names, and applies its overrides.

    Raises:
      UserError: as `config.file.read_config` says, or an argument that is no override.
    """
    return read(known.config, rest, command)


def read(file: str, overrides: list[str], command: str):
    """Reads a config file, and applies `--config.key=value` overrides; raises as `config_of`."""
    from fer_jax.config.file import read_config

    check_overrides(overrides, command)
    return read_config([f"--config={file}", *overrides])


def check_overrides(rest: list[str], command: str) -> None:
    """Checks that the remaining arguments are overrides of config keys.

    Raises:
      UserError: an argument that the command does not know and that is no override.
    """
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an argument of {command}; overrides are written --config.key=value")


def check_nothing_more(rest: list[str], command: str) -> None:
    """Checks that no arguments remain.

    Raises:
      UserError: an argument that the command does not know.
    """
    if rest:
        raise UserError(f"{rest[0]} is not an argument of {command}")


def seconds(text: str, least: float = 0) -> float:
    """Parses a number of seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text}; it may be a number of seconds from {least:g}")
    return value
