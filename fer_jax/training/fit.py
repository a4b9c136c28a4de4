"""The one fit: epochs until validation stops improving, of one run or of several side by side."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.objectives import Context
from fer_jax.training import devices, together
from fer_jax.training import epoch as epochs
from fer_jax.training.batch import Pool
from fer_jax.training.epoch import Validate
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe, TrainState


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stops by Keras' rule, worked out without Keras.

    An epoch is better when its value beats the best by more than min_delta. Training stops once `patience` epochs
    in a row were not better. restore: "always" ends with the best weights; "on_stop", as Keras has it, ends
    with the last weights when the epochs run out before patience does.
    """

    mode: str
    patience: int
    min_delta: float = 0.0
    restore: str = "always"

    @property
    def watched(self) -> str:
        """The figure that decides: "min" watches the validation loss, "max" its accuracy."""
        return "val_loss" if self.mode == "min" else "val_accuracy"

    def improves(self, value: float, best: float) -> bool:
        """Returns whether a value is better than the best by more than `min_delta`."""
        if self.mode == "min":
            return value < best - self.min_delta
        return value > best + self.min_delta

    @property
    def worst(self) -> float:
        """Initial best value; any finite value improves on it."""
        return math.inf if self.mode == "min" else -math.inf


# No validation image has a say: all epochs are run, and the last one is taken.
NEVER = EarlyStopping("max", 2**31, restore="on_stop")


class Run(NamedTuple):
    """One of the runs of a job.

    draw: from an epoch's number to its pool and key.
    validate: measures the trainable parameters: `val_loss` and `val_accuracy`.
    """

    state: TrainState
    source: Source
    context: Context
    draw: Callable[[int], tuple[Pool, jax.Array]]
    validate: Validate


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything one fit needs.

    by: how several runs go side by side, one of `together.WAYS`; what is usual here unless given.
    falling: whether the learning rate falls from epoch to epoch, by the same amount each, to 1 / max_epochs of itself.
    """

    runs: tuple[Run, ...]
    recipe: Recipe
    stopping: EarlyStopping
    max_epochs: int
    by: str | None = None
    falling: bool = False

    def context(self, run: Run, epoch: int) -> Context:
        """Returns a run's context in an epoch, from 0."""
        if not self.falling:
            return run.context
        given = run.context.learning_rate
        rate = self.recipe.learning_rate if given is None else given
        return run.context._replace(learning_rate=jnp.float32(rate * (1 - epoch / self.max_epochs)))


class FitPoint(NamedTuple):
    """The state of a fit after an epoch, from which the rest of it follows; an entry a run.

    states, best: training states after the last epoch and after the best one.
    best_epoch: of `best`, from 0; -1 before the first.
    history: one row an epoch.
    """

    states: list[TrainState]
    best: list[TrainState]
    best_epoch: list[int]
    history: list[list[dict[str, float]]]


class Fitted(NamedTuple):
    """A finished fit: the state to continue with, its epoch (0-based), and one row an epoch."""

    state: TrainState
    epoch: int
    history: list[dict[str, float]]
    stopped: bool


def fit(
    job: Job,
    resume: FitPoint | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
    save: Callable[[FitPoint], None] = lambda point: None,
) -> list[Fitted]:
    """Trains every run of a job until its validation stops improving or the epochs run out.

    Args:
      resume: where an earlier, interrupted fit stood; the runs' states are not used then.
      on_epoch: receives every epoch's figures, the means over the runs that go on.
      save: receives every point from which the fit could go on; the next epoch gives the memory of its states away, so
        that what outlives the call is a copy.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch.
    """
    n, stopping = len(job.runs), job.stopping
    states = [run.state for run in job.runs]
    best, best_epoch, history = list(states), [-1] * n, [[] for _ in range(n)]
    if resume is not None:
        states, best, best_epoch = map(list, resume[:3])
        history = [list(rows) for rows in resume.history]
    started = max(map(len, history))
    for epoch in range(started, job.max_epochs):
        going = [i for i in range(n) if not _over(history[i], best_epoch[i], stopping)]
        if not going:
            break
        for i in going:
            if best_epoch[i] == epoch - 1:
                # The next step donates its state; what was best must outlive that.
                best[i] = jax.tree.map(jnp.copy, states[i])
        try:
            trained = train_epoch(job, [(job.runs[i], states[i]) for i in going], epoch, traced=epoch > started)
            for i, (state, row) in zip(going, trained, strict=True):
                states[i] = state
                history[i].append(row)
                if stopping.improves(row[stopping.watched], _best_value(history[i], best_epoch[i], stopping)):
                    best_epoch[i] = epoch
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch + 1}: {error}") from None
        on_epoch(epoch, _mean([history[i][-1] for i in going]))
        if epoch + 1 < job.max_epochs and not all(map(_over, history, best_epoch, [stopping] * n)):
            now = [states[i] if best_epoch[i] == epoch else best[i] for i in range(n)]
            save(FitPoint(list(states), now, list(best_epoch), [list(rows) for rows in history]))
    return [_fitted(*run, stopping) for run in zip(states, best, best_epoch, history, strict=True)]


def _over(history: list[dict], best_epoch: int, stopping: EarlyStopping) -> bool:
    """Returns whether patience has run out."""
    return len(history) - 1 - best_epoch >= stopping.patience


def _best_value(history: list[dict], best_epoch: int, stopping: EarlyStopping) -> float:
    return history[best_epoch][stopping.watched] if best_epoch >= 0 else stopping.worst


def train_epoch(job: Job, going: list[tuple[Run, TrainState]], epoch: int, traced: bool) -> together.Trained:
    """Trains an epoch of the runs that go on, in their states; one process decides for all when to stop.

    Raises:
      FloatingPointError: a loss is NaN or infinite.
    """
    turns = [together.Turn(state, run.source, *_turn(job, run, epoch)) for run, state in going]
    by = job.by or together.usual_form(turns[0].source)
    if len(job.runs) == 1 or by == "one_by_one":
        trained = [epochs.run_epoch(*given, job.recipe, validate) for *given, validate in turns]
    elif by == "threads":
        trained = together.by_threads(turns, job.recipe, traced)
    else:
        trained = together.by_vmap(turns, job.recipe, together.axis_size(len(turns), len(job.runs)))
    agreed = [(state, {name: float(value) for name, value in devices.agreed(row).items()}) for state, row in trained]
    for _, row in agreed:
        if not math.isfinite(row["val_loss"]):
            whose = "the validation loss" if len(job.runs) == 1 else "the validation loss of a run"
            raise FloatingPointError(f"{whose} is {row['val_loss']}")
    return agreed


def _turn(job: Job, run: Run, epoch: int) -> tuple[Pool, Context, jax.Array, Validate]:
    pool, key = run.draw(epoch)
    return pool, job.context(run, epoch), key, run.validate


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return rows[0] if len(rows) == 1 else {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _fitted(
    state: TrainState, best: TrainState, best_epoch: int, history: list[dict], stopping: EarlyStopping
) -> Fitted:
    last = len(history) - 1
    stopped = last - best_epoch >= stopping.patience
    if not stopped and (best_epoch == last or stopping.restore == "on_stop"):
        return Fitted(state, last, history, False)
    return Fitted(best, best_epoch, history, stopped)
