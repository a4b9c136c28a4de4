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

from fer_jax.errors import DeviceMemoryError, Interrupted, PassingError, UserError, exit_code, first_line, passes
from fer_jax.runs import workdir as workdirs
from fer_jax.runs.lock import WAIT_SECONDS
from fer_jax.runs.watchdog import STALL_SECONDS, Watchdog
from fer_jax.training.devices import agreed

JOIN_SECONDS = 300


def _several(known: argparse.Namespace) -> bool:
    return known.distributed or known.coordinator is not None


def watchdog(known: argparse.Namespace) -> Watchdog:
    """Returns a watchdog that ends a stuck run, such as one whose file system does not answer."""
    seconds = known.stall if known.stall is not None else STALL_SECONDS * _several(known)
    return Watchdog(
        seconds, f"no epoch was finished in {seconds:g} s (--stall): ended; the same command goes on from the last save"
    )


def patience(known: argparse.Namespace) -> float:
    """Returns how many seconds to wait for a workdir whose holder runs on another machine."""
    launched = known.distributed or any(name in os.environ for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"))
    return known.wait if known.wait is not None else WAIT_SECONDS * launched


def outwait(known: argparse.Namespace, workdir: pathlib.Path) -> None:
    """Waits, in the first process, for a workdir whose holder runs on another machine."""
    if leads():
        workdirs.outwait(workdir, patience(known))


def join(known: argparse.Namespace) -> None:
    """Joins the other processes of the run before JAX is used; ends this process if they do not come.

    Raises:
      UserError: flags that do not go together, or the others cannot be found or reached.
    """
    where_given = (known.coordinator, known.num_processes, known.process_id)
    if not known.distributed and where_given == (None, None, None):
        return
    if None in where_given and where_given != (None, None, None):
        raise UserError("--coordinator, --num-processes and --process-id go together")
    if known.num_processes is not None and not 0 <= known.process_id < known.num_processes:
        raise UserError(f"--process-id is {known.process_id}; it may be 0 to {known.num_processes - 1}")
    where = f" at --coordinator {known.coordinator}" if known.coordinator else ""
    late = Watchdog(JOIN_SECONDS, f"--distributed: the other processes were not found{where} in {JOIN_SECONDS:g} s")
    try:
        with late.watching():
            jax.distributed.initialize(
                *where_given,
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
    outcome: dict = {}
    failed: UserError | None = None
    if leads():
        try:
            outcome = {"value": function()}
        except UserError as error:
            outcome, failed = {"error": str(error), "passes": passes(error)}, error
    text = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
    length = int(agreed(np.int32(len(text))))
    # As whole numbers of four bytes: it is sent by summing up, which not every backend can do with single ones.
    text = agreed(np.resize(text, length).astype(np.int32))
    outcome = json.loads(bytes(text.astype(np.uint8)))
    if "error" in outcome:
        failed = failed or (PassingError if outcome["passes"] else UserError)(outcome["error"])
        failed.agreed = True
        raise failed
    return outcome["value"]


def by_each(function: Callable[[], Any]) -> Any:
    """Calls `function` in every process and returns its own result; a mistake that one meets ends all.

    Raises:
      UserError: in every process, where any raised it.
    """
    value, failed = None, None
    try:
        value = function()
    except UserError as error:
        failed = error
    if anywhere(failed is not None):
        failed = failed or UserError("another process of the run cannot go on; its own line says why")
        failed.agreed = True
        raise failed
    return value


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
        anywhere(False)  # the others wait here for what the first does alone, as JAX's own end would not for long
    except Interrupted as interrupted:
        if interrupted.saved:
            anywhere(False)
        raise
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
