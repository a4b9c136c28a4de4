"""Several runs of one recipe side by side, such as one method on several class orders.

On an accelerator runs are an axis: `vmap` on a device, `pmap` over several, each with its part of the runs. On the CPU,
and where images are on the host, they are threads, each with the compiled step of a run alone: small networks leave
most cores idle, and a stack of them is no faster there. Every run has its own batches, keys and early stopping. A
thread that has stopped costs nothing; along an axis, where every number of runs is a program of its own, the number is
halved when half have stopped.
"""

import concurrent.futures
import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import methods
from fer_jax.data import residency
from fer_jax.training import devices as parallel
from fer_jax.training import epoch as training
from fer_jax.training import fit as fitting

Params = Any


class Program(NamedTuple):
    """What the runs share: recipe, frozen parameters, base model, images and labels, and what a loss is told of the
    images beside, after the runs' own notes."""

    recipe: training.Recipe
    frozen: Params
    base: Params
    images: np.ndarray | jax.Array
    labels: jax.Array
    notes: tuple[jax.Array, ...] = ()


class Runs(NamedTuple):
    """What differs from run to run, stacked along a first axis of n runs.

    teacher: parameters; None where it is the base model of all.
    notes: what a loss is told of the images beside, each [n, N, ...]; `Program.notes` come after them.
    """

    teacher: Params | None
    notes: tuple[jax.Array, ...]
    context: methods.Context


def stack(trees: list[Any]) -> Any:
    """Trees of the same structure as one, every leaf with a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def rows(tree: Any, chosen) -> Any:
    """Some of the runs, or one."""
    return jax.tree.map(lambda leaf: leaf[chosen], tree)


def across(recipe: training.Recipe, form: str = "product") -> training.Recipe:
    """The recipe for a step that is mapped over runs: a device has all of a run's batch, and convolutions are matrix
    products. Mapped over kernels, the library's own become convolutions in groups (form "library")."""
    backbone = recipe.network.backbone.clone(form=form)
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, backbone=backbone), devices=1)


def _one_step(state, totals, n_steps, order, key, runs, program, step, recipe):
    facts = (program.labels, *runs.notes, *program.notes)
    teacher = program.base if runs.teacher is None else runs.teacher
    after = training.indexed_step(
        state, totals, program.frozen, teacher, program.images, facts, order, order, step, runs.context, key, recipe
    )
    return jax.tree.map(lambda new, old: jnp.where(step < n_steps, new, old), after, (state, totals))


def _step(states, totals, n_steps, orders, keys, runs, program, step, recipe):
    """A step of every run that has as many."""
    one = functools.partial(_one_step, recipe=recipe)
    return jax.vmap(one, in_axes=(0, 0, 0, 0, 0, 0, None, None))(
        states, totals, n_steps, orders, keys, runs, program, step
    )


def _steps(states, totals, n_steps, orders, keys, runs, program, recipe):
    def body(step, carry):
        return _step(*carry, n_steps, orders, keys, runs, program, step, recipe)

    return jax.lax.fori_loop(0, jnp.max(n_steps), body, (states, totals))


_AXES = (0, 0, 0, 0, 0, 0, None)
_shuffled = jax.jit(
    jax.vmap(lambda key, pool, size: training.shuffled(jax.random.fold_in(key, 0), pool, size), in_axes=(0, 0, None)),
    static_argnums=2,
)
_step_keys = jax.jit(jax.vmap(lambda key: jax.random.fold_in(key, 1)))


class Epoch(NamedTuple):
    """What an epoch of n runs makes: states, and of each mean loss and accuracy in training and on the validation
    images, f64[n]."""

    states: training.TrainState
    loss: np.ndarray
    accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray


def run_epochs(
    states: training.TrainState,
    program: Program,
    runs: Runs,
    pools: training.Pool,
    keys: jax.Array,
    validate: list[training.Validate],
    by: str | None = None,
    loop: str | None = None,
    traced: bool = False,
    form: str = "product",
) -> Epoch:
    """One epoch of each of n runs; as `training.run_epoch` for each.

    Args:
      states: of n runs; with "vmap" n is a multiple of the number of devices.
      pools: i32[n, L], or two of them.
      keys: [n].
      validate: of each of the n runs, to validation loss and accuracy; of those at the end, which fill up the devices,
        there may be none.
      by: "threads", which gives bit for bit what a run alone gives, or "vmap"; threads on the CPU, and of images on
        the host, unless given.
      loop: of "vmap", as `training.run_epoch` has it.
      traced: whether an epoch of these runs was trained before, so that nothing is left to be compiled.
      form: of convolutions with "vmap", as `across` has it.

    Raises:
      ValueError: a pool without an image.
      FloatingPointError: a loss that is not finite.
    """
    if (by or _usual(program)) == "threads":
        return _by_threads(states, program, runs, pools, keys, validate, traced)
    return _by_vmap(states, program, runs, pools, keys, validate, loop, form)


def _usual(program: Program) -> str:
    """Images on the host are streamed a run at a time."""
    return "threads" if jax.default_backend() == "cpu" or residency.on_host(program.images) else "vmap"


def _by_threads(states, program: Program, runs: Runs, pools, keys, validate, traced: bool) -> Epoch:
    recipe = dataclasses.replace(program.recipe, devices=1)

    def one(place: int):
        state, own, pool = rows((states, runs, pools), place)
        teacher = program.base if own.teacher is None else own.teacher
        arrays = (program.images, program.labels, *own.notes, *program.notes)
        return training.run_epoch(
            state, program.frozen, teacher, arrays, pool, own.context, keys[place], recipe, validate=validate[place]
        )

    # What is not traced yet every thread would compile for itself: the first run goes ahead.
    done = [] if traced else [one(0)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done += pool.map(one, range(len(done), len(keys)))
    after, *values = zip(*done, strict=True)
    return Epoch(stack(list(after)), *map(np.asarray, values))


def _by_vmap(states, program: Program, runs: Runs, pools, keys, validate, loop, form) -> Epoch:
    if residency.on_host(program.images):
        raise ValueError("images on the host are streamed a run at a time: by is 'vmap'; it may be 'threads'")
    recipe, shared = across(program.recipe, form), program._replace(recipe=None)
    orders, n_steps = _shuffled(keys, pools, recipe.batch_size)
    totals = jax.vmap(lambda _: training.Totals.zero())(n_steps)
    loop = loop or ("host" if jax.default_backend() == "cpu" else "device")
    devices = jax.local_device_count()
    spread = functools.partial(parallel.spread_runs, static=(("recipe", recipe),), donate=(0, 1), devices=devices)
    of_runs = (states, totals, n_steps, orders, _step_keys(keys), runs)
    states, totals, *given = parallel.cut_runs(of_runs, devices)
    if loop == "device":
        states, totals = spread(_steps, axes=_AXES)(states, totals, *given, shared)
    else:
        one = spread(_step, axes=(*_AXES, None))
        for step in range(int(n_steps.max())):
            states, totals = one(states, totals, *given, shared, np.int32(step))
    states, totals = parallel.join_runs((states, totals), devices)
    scores = [one(rows(states.trainable, place)) for place, one in enumerate(validate)]
    totals, scores = jax.device_get((totals, scores))
    measured = [training.means(rows(totals, run), orders[run], recipe.batch_size) for run in range(len(keys))]
    return Epoch(states, *np.array(measured).T, *np.array(scores).T)


class _Standing(NamedTuple):
    """Where each of n runs stands: the best value so far, its epoch, and whether the run goes on."""

    best_value: np.ndarray
    best_epoch: np.ndarray
    active: np.ndarray

    @classmethod
    def after(cls, history: list[list[dict | None]], n: int, stopping: fitting.EarlyStopping) -> "_Standing":
        """After some epochs' rows, None where a run had stopped; the rule of `fitting.fit`."""
        watched = "val_loss" if stopping.mode == "min" else "val_accuracy"
        value, epoch, active = np.full(n, stopping.worst), np.full(n, -1), np.full(n, True)
        for number, row in enumerate(history):
            for run in np.flatnonzero(active):
                if stopping.improves(row[run][watched], value[run]):
                    value[run], epoch[run] = row[run][watched], number
                elif number - epoch[run] >= stopping.patience:
                    active[run] = False
        return cls(value, epoch, active)


def fit(
    program: Program,
    states: training.TrainState,
    runs: Runs,
    draw: Callable[[int, int], tuple[training.Pool, jax.Array]],
    validate: Callable[[int, Params], tuple[jax.Array, jax.Array]],
    stopping: fitting.EarlyStopping,
    max_epochs: int,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
    resume: fitting.FitPoint | None = None,
    keep: Callable[[fitting.FitPoint], None] = lambda point: None,
    by: str | None = None,
) -> list[fitting.Fitted]:
    """Trains every run until its validation stops improving or the epochs run out; as `fitting.fit` for each.

    Args:
      states: stacked, of n runs.
      draw: (run, epoch) to the epoch's pool and key.
      validate: (run, its trainable parameters) to validation loss and accuracy.
      on_epoch: is told the means over the runs that go on.
      resume, keep: as there; states are stacked, `best_epoch` has a number a run and a row of `history` one a run,
        None where it had stopped.
      by: as `run_epochs` has it.

    Raises:
      FloatingPointError: a loss that is NaN or infinite; names the epoch.
    """
    by = by or _usual(program)
    n = len(runs.context.class_mask)
    best, history = states, []
    if resume is not None:
        states, best, history = resume.state, resume.best, list(resume.history)
    standing = _Standing.after(history, n, stopping)
    started = len(history)
    for epoch in range(started, max_epochs):
        going = np.flatnonzero(standing.active)
        if not len(going):
            break
        chosen = going if by == "threads" else _padded(going, n)
        drawn = stack([draw(run, epoch) for run in chosen])
        of_run = [functools.partial(validate, run) for run in going]
        try:
            done = run_epochs(
                rows(states, chosen), program, rows(runs, chosen), *drawn, of_run, by, traced=epoch > started
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch + 1}: {error}") from None
        found = np.stack([values[: len(going)] for values in done[1:]], 1).astype(float)
        if not np.isfinite(found).all():
            raise FloatingPointError(f"epoch {epoch + 1}: the validation loss of a run is not finite")
        states = _put(states, done.states, going)
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        row: list[dict | None] = [None] * n
        for run, values in zip(going, found.tolist(), strict=True):
            row[run] = dict(zip(names, values, strict=True))
        history.append(row)
        on_epoch(epoch, dict(zip(names, found.mean(0).tolist(), strict=True)))
        standing = _Standing.after(history, n, stopping)
        better = np.flatnonzero(standing.best_epoch == epoch)
        best = _put(best, rows(states, better), better)
        if epoch + 1 < max_epochs and standing.active.any():
            keep(fitting.FitPoint(states, best, standing.best_epoch.tolist(), list(history)))
    return [_fitted(run, states, best, history, standing, stopping) for run in range(n)]


def _padded(going: np.ndarray, n: int) -> np.ndarray:
    """The runs that go on, repeated to one of a few sizes: all, half, a quarter, …; each is compiled once.

    With several devices a multiple of their number.
    """
    sizes = [math.ceil(n / 2**k) for k in range(n.bit_length() + 1)]
    size = min(size for size in sizes if size >= len(going))
    devices = jax.local_device_count()
    return np.resize(going, math.ceil(size / devices) * devices)


@jax.jit
def _put(states, changed, chosen):
    """`states` with those of the runs `chosen`; more may be given, they are dropped."""
    return jax.tree.map(lambda all_runs, some: all_runs.at[chosen].set(some[: len(chosen)]), states, changed)


def _fitted(run: int, states, best, history, standing: _Standing, stopping) -> fitting.Fitted:
    """How a run ended, as `fitting.fit` tells it."""
    own = [row[run] for row in history if row[run] is not None]
    stopped, epoch = not standing.active[run], int(standing.best_epoch[run])
    if not stopped and (epoch == len(own) - 1 or stopping.restore == "on_stop"):
        return fitting.Fitted(rows(states, run), len(own) - 1, own, False)
    return fitting.Fitted(rows(best, run), epoch, own, stopped)
