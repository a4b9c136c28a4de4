"""Several processes as one run: how they find each other, what they agree on, and how they end.

JAX finds them (SLURM, Kubernetes, Open MPI, TPU virtual machines), or flags say where they are. The first process alone
reads and writes files.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fer_jax.errors import DeviceMemoryError, PassingError, UserError, exit_code, first_line, passes
from fer_jax.runs import workdir as workdirs
from fer_jax.runs.watchdog import Watchdog
from fer_jax.training.devices import agreed

JOIN_SECONDS = 300
STALL_SECONDS = 1800
# Longer than the lease of an NFS client that died with a lock (90 s).
WAIT_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
        "--heartbeat", type=int, default=60, metavar="SECONDS",
        help="a process that says nothing for so long is taken for dead, and the others end (60)",
    )  # fmt: skip
    group.add_argument(
        "--stall", type=float, metavar="SECONDS",
        help=f"a process that finishes no epoch in so long ends ({STALL_SECONDS} of several processes, else never)",
    )  # fmt: skip
    group.add_argument(
        "--wait", type=float, metavar="SECONDS",
        help="how long to wait for a workdir that a process of another machine holds, which may be dead "
        f"({WAIT_SECONDS} on a cluster, else 0)",
    )  # fmt: skip


def _several(known: argparse.Namespace) -> bool:
    return known.distributed or known.coordinator is not None


def watchdog(known: argparse.Namespace) -> Watchdog:
    """Returns a watchdog that ends a stuck run, such as one whose file system does not answer."""
    seconds = known.stall if known.stall is not None else STALL_SECONDS * _several(known)
    return Watchdog(
        seconds, f"no epoch was finished in {seconds:g} s (--stall): ended; the same command goes on from the last save"
    )


def outwait(known: argparse.Namespace, workdir: pathlib.Path) -> None:
    """Waits, in the first process, for a workdir whose holder runs on another machine."""
    launched = known.distributed or any(name in os.environ for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"))
    seconds = known.wait if known.wait is not None else WAIT_SECONDS * launched
    if leads():
        workdirs.outwait(workdir, seconds)


def join(known: argparse.Namespace) -> None:
    """Joins the other processes of the run before JAX is used; ends this process if they do not come.

    Raises:
      UserError: flags that do not go together, or the others cannot be found or reached.
    """
    for flag in ("stall", "wait"):
        if getattr(known, flag) is not None and not 0 <= getattr(known, flag) < float("inf"):
            raise UserError(f"--{flag} is {getattr(known, flag)}; it may be a number of seconds from 0")
    told = (known.coordinator, known.num_processes, known.process_id)
    if not known.distributed and told == (None, None, None):
        return
    if None in told and told != (None, None, None):
        raise UserError("--coordinator, --num-processes and --process-id go together")
    if known.num_processes is not None and not 0 <= known.process_id < known.num_processes:
        raise UserError(f"--process-id is {known.process_id}; it may be 0 to {known.num_processes - 1}")
    if known.heartbeat < 5:
        raise UserError(f"--heartbeat is {known.heartbeat}; it may be a number of seconds from 5")
    where = f" at --coordinator {known.coordinator}" if known.coordinator else ""
    late = Watchdog(JOIN_SECONDS, f"--distributed: the other processes were not found{where} in {JOIN_SECONDS:g} s")
    try:
        with late.watching():
            jax.distributed.initialize(
                *told,
                initialization_timeout=2 * int(JOIN_SECONDS) + 60,  # at which JAX aborts, with a page of addresses
                heartbeat_timeout_seconds=known.heartbeat,
                shutdown_timeout_seconds=known.heartbeat,
            )
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"--distributed: the other processes were not found ({reason})") from None


def by_leader(function: Callable[[], Any]) -> Any:
    """Calls `function` in the first process alone and returns its result in all; JSON must be able to hold it.

    Raises:
      UserError: in every process, where the first one raised it.
    """
    if jax.process_count() == 1:
        return function()
    said: dict = {}
    failed: UserError | None = None
    if leads():
        try:
            said = {"value": function()}
        except UserError as error:
            said, failed = {"error": str(error), "passes": passes(error)}, error
    text = np.frombuffer(json.dumps(said).encode(), np.uint8)
    length = int(agreed(np.int32(len(text))))
    # As whole numbers of four bytes: it is sent by summing up, which not every backend can do with single ones.
    text = agreed(np.resize(text, length).astype(np.int32))
    said = json.loads(bytes(text.astype(np.uint8)))
    if "error" in said:
        failed = failed or (PassingError if said["passes"] else UserError)(said["error"])
        failed.agreed = True
        raise failed
    return said["value"]


def anywhere(flag: bool) -> bool:
    """Returns True if any process sets the flag; every process must call it."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def leads() -> bool:
    """Returns True in the process that reads and writes files."""
    return jax.process_index() == 0


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process at once if an error is raised inside that the other processes may not have met.

    Leaving in order would mean to wait for processes that wait for this one; they see it gone and end, too.
    """
    try:
        yield
    except Exception as error:
        # A mistake is every process's own; what passes, such as a full disk, one may meet alone.
        common = getattr(error, "agreed", isinstance(error, UserError) and not passes(error))
        if jax.process_count() == 1 or common:
            raise
        if isinstance(error, UserError | OSError | FloatingPointError | DeviceMemoryError):  # as the command tells them
            print(f"fer-jax: {first_line(error)}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(exit_code(error))
