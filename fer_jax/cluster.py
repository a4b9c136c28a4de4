"""Several processes as one run: found by JAX (SLURM, Kubernetes, Open MPI, TPU virtual machines) or told by flags."""

import argparse

from fer_jax.errors import UserError

JOIN_SECONDS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a command that may run as several processes."""
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
        "--heartbeat", type=int, default=60, metavar="SECONDS",
        help="a process that says nothing for so long is taken for dead, and the others end (60)",
    )  # fmt: skip


def join(known: argparse.Namespace) -> None:
    """Joins the other processes, before JAX is used for anything else.

    Raises:
      UserError: flags that do not go together, or the others cannot be found or reached.
    """
    told = (known.coordinator, known.num_processes, known.process_id)
    if not known.distributed and told == (None, None, None):
        return
    if None in told and told != (None, None, None):
        raise UserError("--coordinator, --num-processes and --process-id go together")
    if known.num_processes is not None and not 0 <= known.process_id < known.num_processes:
        raise UserError(f"--process-id is {known.process_id}; it may be 0 to {known.num_processes - 1}")
    if known.heartbeat < 5:
        raise UserError(f"--heartbeat is {known.heartbeat}; it may be a number of seconds from 5")
    import jax

    try:
        jax.distributed.initialize(
            *told,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=known.heartbeat,
            shutdown_timeout_seconds=known.heartbeat,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"--distributed: the other processes were not found ({reason})") from None
