"""The one place where a phase trains: a job with a name, a checkpoint slot and a progress line."""

import functools
from typing import NamedTuple

from fer_jax.phases.fold import Fold
from fer_jax.runs.slots import Slot
from fer_jax.training.fit import Fitted, Job, fit


class Named(NamedTuple):
    """How a fit is called.

    name: in the progress line and in its checkpoint. kind: of `runs.remaining`.
    scalars: the tag under which the tracker has every epoch; None sends none.
    """

    name: str
    kind: str
    scalars: str | None = None


def train(fold: Fold, named: Named, job: Job, images: int, slot: Slot | None) -> list[Fitted]:
    """Trains the runs of a job, resuming from a saved fit of this name.

    Args:
      images: in an epoch of all runs, at most.
      slot: where the fit in progress is saved; None saves nothing.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch.
      Interrupted: the run was asked to end.
    """
    progress, point = fold.progress, slot and slot.resume(named.name, [run.state for run in job.runs])
    done = max(map(len, point.history)) if point else 0
    progress.begin(named.name, named.kind, len(job.runs), job.max_epochs, images, done)

    def on_epoch(epoch: int, row: dict[str, float]) -> None:
        progress.epoch(epoch, row)
        if named.scalars:
            progress.scalars(named.scalars, epoch, row)

    if slot is None:
        return fit(job, on_epoch=on_epoch)
    return fit(job, point, on_epoch, functools.partial(slot.save, named.name))
