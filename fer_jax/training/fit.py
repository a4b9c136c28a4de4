"""A fit: epochs until validation stops improving, from the first or from where an interrupted fit stood."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.training import devices as parallel
from fer_jax.training import epoch as training


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Keras' rule, worked out without Keras.

    An epoch is better when its value beats the best by more than min_delta. Training stops once `patience` epochs
    in a row were not better. restore: "always" ends with the best weights; "on_stop", as Keras has it, ends
    with the last weights when the epochs run out before patience does.
    """

    mode: str
    patience: int
    min_delta: float = 0.0
    restore: str = "always"

    def improves(self, value: float, best: float) -> bool:
        """Whether a value is better than the best by more than `min_delta`."""
        if self.mode == "min":
            return value < best - self.min_delta
        return value > best + self.min_delta

    @property
    def worst(self) -> float:
        """What any value is better than."""
        return math.inf if self.mode == "min" else -math.inf


class FitPoint(NamedTuple):
    """Where a fit stands after an epoch: all that the rest of it follows from.

    state, best: training states after the last epoch and after the best one.
    best_epoch: of `best`, from 0.
    history: one row an epoch.
    """

    state: training.TrainState
    best: training.TrainState
    best_epoch: int
    history: list[dict[str, float]]


class Fitted(NamedTuple):
    """A finished fit: the state to go on with, the epoch (0-based) it is from, and one row an epoch."""

    state: training.TrainState
    epoch: int
    history: list[dict[str, float]]
    stopped: bool


def fit(
    state: training.TrainState,
    train_epoch: Callable[[training.TrainState, int], tuple[training.TrainState, float, float, float, float]],
    stopping: EarlyStopping,
    max_epochs: int,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
    resume: FitPoint | None = None,
    keep: Callable[[FitPoint], None] = lambda point: None,
) -> Fitted:
    """Trains until validation stops improving or the epochs run out.

    Args:
      train_epoch: (state, epoch) to the new state, mean loss and accuracy, and validation loss and accuracy;
        `stopping.mode` "min" watches the validation loss, "max" its accuracy.
      on_epoch: is told every epoch's row of history.
      resume: where an earlier, interrupted fit stood; `state` is not used then.
      keep: is given every point from which the fit could go on; the next epoch gives the memory of its `state` away,
        so that what outlives the call is a copy.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch.
    """
    watched = "val_loss" if stopping.mode == "min" else "val_accuracy"
    best_value, best_epoch, best = stopping.worst, -1, state
    history: list[dict[str, float]] = []
    if resume is not None:
        state, best, best_epoch, history = resume.state, resume.best, resume.best_epoch, list(resume.history)
        best_value = history[best_epoch][watched] if best_epoch >= 0 else stopping.worst
    for epoch in range(len(history), max_epochs):
        if best_epoch == epoch - 1:
            # The next step donates its state; what was best must outlive that.
            best = jax.tree.map(jnp.copy, state)
        try:
            state, loss, accuracy, *validated = train_epoch(state, epoch)
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch + 1}: {error}") from None
        # One process decides for all when to stop.
        val_loss, val_accuracy = map(float, parallel.agreed(validated))
        if not math.isfinite(val_loss):
            raise FloatingPointError(f"epoch {epoch + 1}: the validation loss is {val_loss}")
        row = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
        history.append(row)
        on_epoch(epoch, row)
        if stopping.improves(row[watched], best_value):
            best_value, best_epoch = row[watched], epoch
        elif epoch - best_epoch >= stopping.patience:
            return Fitted(best, best_epoch, history, True)
        if epoch + 1 < max_epochs:
            keep(FitPoint(state, state if best_epoch == epoch else best, best_epoch, list(history)))
    if best_epoch == len(history) - 1 or stopping.restore == "on_stop":
        return Fitted(state, len(history) - 1, history, False)
    return Fitted(best, best_epoch, history, False)
