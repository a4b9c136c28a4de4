"""An epoch of several runs of one recipe side by side, such as one method on several class orders.

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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.objectives import Context
from fer_jax.training import devices
from fer_jax.training import epoch as epochs
from fer_jax.training.batch import Pool, ordered
from fer_jax.training.epoch import Given, Totals, Validate, means, one_step
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe, TrainState


class Turn(NamedTuple):
    """One run's part of an epoch: what `run_epoch` takes for it, but for the recipe, which all share."""

    state: TrainState
    source: Source
    pool: Pool
    context: Context
    key: jax.Array
    validate: Validate


# How runs go side by side: one after another with the program of a run alone, as `by_threads` or as `by_vmap`.
WAYS = ("one_by_one", "threads", "vmap")
Trained = list[tuple[TrainState, dict[str, float]]]


def usual_form(source: Source) -> str:
    """Returns how runs go side by side here; images on the host are streamed a run at a time."""
    return "threads" if jax.default_backend() == "cpu" or source.streamed else "vmap"


def by_threads(turns: list[Turn], recipe: Recipe, traced: bool) -> Trained:
    """Trains an epoch of every run in a thread of its own; bit for bit what a run alone gives.

    Args:
      traced: whether an epoch of these runs was trained before, so that nothing is left to be compiled.
    """
    recipe = dataclasses.replace(recipe, n_devices=1)

    def one(turn: Turn):
        *given, validate = turn
        return epochs.run_epoch(*given, recipe, validate)

    # What is not traced yet every thread would compile for itself: the first run goes ahead.
    done = [] if traced else [one(turns[0])]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return done + list(pool.map(one, turns[len(done) :]))


def by_vmap(turns: list[Turn], recipe: Recipe, size: int, form: str = "product") -> Trained:
    """Trains an epoch of all runs as one program over an axis of runs.

    Args:
      size: the length of the axis, which the runs fill up; see `axis_size`.
      form: of convolutions, as `across` has it.

    Raises:
      ValueError: images are on the host.
    """
    source = turns[0].source
    if source.streamed:
        raise ValueError("images on the host are streamed a run at a time: by is 'vmap'; it may be 'threads'")
    n_devices, recipe = jax.local_device_count(), across(recipe, form)
    filled = [turns[place % len(turns)] for place in range(size)]
    keys = jnp.stack([turn.key for turn in filled])
    how = recipe.objective.batches
    orders, n_steps = _ordered(keys, stack([turn.pool for turn in filled]), recipe.batch_size, how, source.facts)
    carry = stack([turn.state for turn in filled]), jax.vmap(lambda _: Totals.zero())(n_steps)
    layout, own, shared = _apart([
        (source.replace(pictures=None), epochs.weighted(context, orders[run], n_steps[run], source, recipe))
        for run, (_, source, _, context, *_) in enumerate(filled)
    ])  # fmt: skip
    carry, given = devices.cut_runs((carry, _Given(n_steps, orders, _step_keys(keys), own)), n_devices)
    shared = shared, source.pictures
    spread = functools.partial(
        devices.spread_runs, static=(("recipe", recipe), ("layout", layout)), donate=(0,), devices=n_devices
    )
    if _loop(recipe) == "device":
        carry = spread(_many, axes=(0, 0, None))(carry, given, shared)
    else:
        one = spread(_one, axes=(0, 0, None, None))
        for number in range(int(n_steps.max())):
            carry = one(carry, given, shared, np.int32(number))
    states, totals = devices.join_runs(carry, n_devices)
    states = _unstacked(states, len(turns))
    figures = [turn.validate(state.trainable) for turn, state in zip(turns, states, strict=True)]
    totals, figures = jax.device_get((totals, figures))
    trained = [means(row(totals, run), orders[run], recipe.batch_size) for run in range(len(turns))]
    return [
        (state, {**one, **{name: float(value) for name, value in found.items()}})
        for state, one, found in zip(states, trained, figures, strict=True)
    ]


def across(recipe: Recipe, form: str = "product") -> Recipe:
    """Returns the recipe for a step that is mapped over runs.

    A device has all of a run's batch, and convolutions are matrix products: mapped over kernels, the library's own
    become convolutions in groups (form "library").
    """
    return dataclasses.replace(recipe.in_form(form), n_devices=1)


def axis_size(going: int, n: int) -> int:
    """Returns the length of the axis for the runs that still go on, of n: n, or half, a quarter, … of it.

    Each length is compiled once. With several devices it is a multiple of their number.
    """
    sizes = [math.ceil(n / 2**k) for k in range(n.bit_length() + 1)]
    size = min(size for size in sizes if size >= going)
    n_devices = jax.local_device_count()
    return math.ceil(size / n_devices) * n_devices


@jax.jit
def stack(trees: list[Any]) -> Any:
    """Stacks trees of the same structure, every leaf with a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def row(tree: Any, run: int) -> Any:
    """Returns one run of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[run], tree)


@functools.partial(jax.jit, static_argnames="n")
def _unstacked(tree: Any, n: int) -> list[Any]:
    return [row(tree, run) for run in range(n)]


class _Layout(NamedTuple):
    """How the runs' own leaves and those that all share make up a run's source and context."""

    structure: Any
    differs: tuple[bool, ...]

    def whole(self, own: list[jax.Array], shared: list[jax.Array]) -> tuple[Source, Context]:
        """Returns the source and context of one run."""
        own, shared = iter(own), iter(shared)
        leaves = [next(own) if differs else next(shared) for differs in self.differs]
        return jax.tree.unflatten(self.structure, leaves)


def _apart(trees: list[tuple[Source, Context]]) -> tuple[_Layout, list[jax.Array], list[jax.Array]]:
    """Parts the leaves of n runs into those that differ, stacked [n, ...], and those that are one array for all."""
    structure = jax.tree.structure(trees[0])
    rows = list(zip(*map(jax.tree.leaves, trees), strict=True))
    differs = tuple(any(leaf is not row[0] for leaf in row) for row in rows)
    own = [list(row) for row, apart in zip(rows, differs, strict=True) if apart]
    shared = [row[0] for row, apart in zip(rows, differs, strict=True) if not apart]
    return _Layout(structure, differs), [jnp.stack(one) for one in own], shared


class _Given(NamedTuple):
    """What the steps of an epoch are given, [n, ...] for n runs: of each its number of steps, its order, its key, and
    the leaves of its source and context that are its own."""

    n_steps: jax.Array
    orders: jax.Array
    keys: jax.Array
    own: list[jax.Array]


def _one_of_a_run(carry, given: _Given, shared, number, recipe, layout):
    leaves, pictures = shared
    source, context = layout.whole(given.own, leaves)
    after = one_step(carry, pictures, Given(source, given.orders, given.orders, context, given.keys), number, recipe)
    return jax.tree.map(lambda new, old: jnp.where(number < given.n_steps, new, old), after, carry)


def _one(carry, given: _Given, shared, number, recipe, layout):
    """Runs a step of every run that has as many."""
    one = functools.partial(_one_of_a_run, recipe=recipe, layout=layout)
    return jax.vmap(one, in_axes=(0, 0, None, None))(carry, given, shared, number)


def _many(carry, given: _Given, shared, recipe, layout):
    def body(number, carry):
        return _one(carry, given, shared, number, recipe, layout)

    return jax.lax.fori_loop(0, jnp.max(given.n_steps), body, carry)


def _loop(recipe: Recipe) -> str:
    if recipe.loop != "auto":
        return recipe.loop
    return "host" if jax.default_backend() == "cpu" else "device"


@functools.partial(jax.jit, static_argnames=("batch_size", "how"))
def _ordered(keys: jax.Array, pools: Pool, batch_size: int, how: str, facts: Any) -> tuple[jax.Array, jax.Array]:
    def one(key, pool):
        return ordered(jax.random.fold_in(key, 0), pool, batch_size, how, facts)

    return jax.vmap(one)(keys, pools)


_step_keys = jax.jit(jax.vmap(lambda key: jax.random.fold_in(key, 1)))
