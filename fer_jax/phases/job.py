"""The one place where a phase trains: a job with a name, a checkpoint slot and a progress line."""

import functools

from fer_jax.phases.fold import Fold
from fer_jax.runs.slots import Slot
from fer_jax.training.fit import Fitted, Job, fit


def train(fold: Fold, name: str, job: Job, images: int, slot: Slot | None, scalars: str | None = None) -> list[Fitted]:
    """Trains the runs of a job, resuming from a saved fit of this name.

    Args:
      images: in an epoch of all runs, at most.
      slot: where the fit in progress is saved; None saves nothing.
      scalars: the tag under which TensorBoard has every epoch; None writes none.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch.
      Interrupted: the run was asked to end.
    """
    progress = fold.progress
    progress.begin(name, job.max_epochs, images)

    def on_epoch(epoch: int, row: dict[str, float]) -> None:
        progress.epoch(epoch, row)
        if scalars:
            progress.scalars(scalars, epoch, row)

    if slot is None:
        return fit(job, on_epoch=on_epoch)
    point = slot.resume(name, [run.state for run in job.runs])
    return fit(job, point, on_epoch, functools.partial(slot.save, name))
