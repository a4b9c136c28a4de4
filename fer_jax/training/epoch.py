"""An epoch: its order, its steps as one compiled loop or driven from the host, and its figures."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.models.network import Network, merge
from fer_jax.objectives import Context
from fer_jax.training import devices
from fer_jax.training.batch import Pool, class_weights, ordered
from fer_jax.training.source import Source, read, stream
from fer_jax.training.step import Recipe, TrainState, step

Params = Any
# Trainable parameters to figures f32[] by name, such as loss and accuracy on the validation images.
Validate = Callable[[Params], dict[str, jax.Array]]


class Totals(NamedTuple):
    """Sums over the steps of an epoch: loss f32[], correct answers i32[], examples i32[].

    good: i32[], steps before the first whose loss is not finite.
    """

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array
    good: jax.Array

    @classmethod
    def zero(cls) -> "Totals":
        """Returns the totals before the first step."""
        # Each an array of its own: they are donated.
        return cls(jnp.zeros(()), *(jnp.zeros((), jnp.int32) for _ in range(3)))

    def add(self, loss: jax.Array, correct: jax.Array, examples: int, number: jax.Array) -> "Totals":
        """Returns these and a step's mean loss, correct answers and examples; `number` is its place in the epoch."""
        good = self.good + jnp.int32(jnp.isfinite(loss) & (self.good == number))
        return Totals(self.loss + loss * examples, self.correct + correct, self.examples + examples, good)


class Given(NamedTuple):
    """The inputs that all steps of an epoch share.

    source: without its pictures, which come apart, since several devices may have a share each.
    order: i32[L], the images; places: i32[L], where they are (`source.read`).
    key: of the steps.
    """

    source: Source
    order: jax.Array
    places: jax.Array
    context: Context
    key: jax.Array


Carry = tuple[TrainState, Totals]


def one_step(carry: Carry, pictures: jax.Array, given: Given, number: jax.Array, recipe: Recipe) -> Carry:
    """Runs step `number` of an epoch on pictures u8[N, H, W, 3] or f32[N, V, ...]."""
    state, totals = carry
    size = recipe.batch_size
    rows, places = (jax.lax.dynamic_slice_in_dim(one, number * size, size) for one in (given.order, given.places))
    key = jax.random.fold_in(given.key, number)
    batch = read(given.source.replace(pictures=pictures), rows, places, key)
    if recipe.paired:
        # The memory may have taken in a new image already; it is read as a new one all the same.
        batch = batch._replace(stored=batch.stored & (jnp.arange(size) >= size // 2))
    state, (loss, correct) = step(state, batch, given.context, key, recipe)
    return state, totals.add(loss, correct, size, number)


def many_steps(carry: Carry, pictures: jax.Array, given: Given, first, end, recipe: Recipe) -> Carry:
    """Runs the steps from `first` to before `end` in one compiled loop."""

    def body(number, carry):
        return one_step(carry, pictures, given, number, recipe)

    return jax.lax.fori_loop(first, end, body, carry)


_jitted_step = jax.jit(one_step, static_argnames="recipe", donate_argnums=0)
_looped_steps = jax.jit(many_steps, static_argnames="recipe", donate_argnums=0)
_PICTURES = 1  # their position among the arguments


def _compiled(recipe: Recipe, streamed: bool) -> tuple[Callable, Callable]:
    """Returns one step and a loop of steps, compiled for the recipe's devices."""
    if recipe.n_devices == 1:
        return tuple(functools.partial(f, recipe=recipe) for f in (_jitted_step, _looped_steps))
    # Arrays of one process are parts of those of all: given away once, they are gone for the next step.
    donate = (0,) if jax.process_count() == 1 else ()
    cut = (_PICTURES,) if streamed else ()
    return tuple(
        devices.spread(f, (("recipe", recipe),), donate, recipe.spread_by, cut) for f in (one_step, many_steps)
    )


def run_epoch(
    state: TrainState,
    source: Source,
    pool: Pool,
    context: Context,
    key: jax.Array,
    recipe: Recipe,
    validate: Validate = lambda trainable: {},
) -> tuple[TrainState, dict[str, float]]:
    """Trains once on the filled slots of a pool; drops the last partial batch.

    A pool smaller than one batch is repeated to fill one. The state is donated. In a compiled loop the host waits for
    the device once, for all figures at the end, `validate`'s among them, unless images are streamed or `validate`
    computes on the host, as BiC's correction and the ranking of exemplars do.

    Args:
      validate: measures the new parameters.

    Returns:
      the new state; the epoch's mean loss and accuracy, and what `validate` found, by name.

    Raises:
      ValueError: a pool without an image.
      FloatingPointError: a loss that is NaN or infinite; names the step and the images of its batch.
    """
    how, facts = recipe.objective.batches, source.facts
    order, n_steps = ordered(
        jax.random.fold_in(key, 0), pool, recipe.batch_size, how, None if how == "shuffled" else facts
    )
    context = weighted(context, order, n_steps, source, recipe)
    step_key = jax.random.fold_in(key, 1)
    loop = usual_loop(recipe, merge(state.trainable, context.frozen), source) if recipe.loop == "auto" else recipe.loop
    pictures, places, streamed = source.pictures, order, source.streamed
    if streamed:
        n_steps = int(n_steps)
        chunks, places = stream(source, order, n_steps, recipe.batch_size, step_key, recipe.n_devices)
    carry, given = (state, Totals.zero()), Given(source.replace(pictures=None), order, places, context, step_key)
    if recipe.n_devices > 1:
        carry, given, n_steps = devices.everywhere((carry, given, n_steps))
        pictures = pictures if streamed else devices.everywhere(pictures)
    one, many = _compiled(recipe, streamed)

    def advance(carry, pictures, first, end):
        if loop == "device":
            return many(carry, pictures, given, np.int32(first), end)
        for number in range(first, int(end)):
            carry = one(carry, pictures, given, np.int32(number))
        return carry

    if streamed:
        for number, chunk in enumerate(chunks):
            carry = advance(carry, chunk, number, np.int32(number + 1))
    else:
        carry = advance(carry, pictures, 0, n_steps)
    state, totals = devices.local(carry)
    totals, validated = jax.device_get((totals, validate(state.trainable)))
    return state, {**means(totals, order, recipe.batch_size), **{k: float(v) for k, v in validated.items()}}


def weighted(context: Context, order: jax.Array, n_steps: jax.Array, source: Source, recipe: Recipe) -> Context:
    """Returns the context with the class weights of an epoch's order i32[L], if the objective asks for them."""
    if not recipe.objective.weighted:
        return context
    n_read, n_classes = n_steps * recipe.batch_size, context.class_mask.shape[0]
    return context._replace(class_weights=class_weights(order, n_read, source.facts.labels, n_classes))


def means(totals: Totals, order: jax.Array, batch_size: int) -> dict[str, float]:
    """Returns the mean loss and the accuracy of an epoch over images in an order i32[L].

    Raises:
      ValueError: there was no step.
      FloatingPointError: a loss that is NaN or infinite; names the step and the images of its batch.
    """
    n_steps = totals.examples // batch_size
    if not n_steps:
        raise ValueError("the pool of an epoch is empty")
    if totals.good < n_steps:
        batch = np.asarray(order)[totals.good * batch_size :][:batch_size]
        raise FloatingPointError(
            f"the loss is not finite at step {totals.good} of {n_steps}, on images {batch.tolist()}"
        )
    return {"loss": float(totals.loss / totals.examples), "accuracy": float(totals.correct / totals.examples)}


def usual_loop(recipe: Recipe, params: Params, source: Source) -> str:
    """Returns where the steps of an epoch are driven from, "device" or "host".

    On the CPU it is the host if what is trained has a convolution of the library's, whose gradient inside a compiled
    loop is some 50 times slower there. Written as matrix products (`models.layers`) all is faster in the loop.
    """
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(leaf.shape for leaf in leaves)
    shape = source.pictures.shape[2:] if source.cached else source.pictures.shape[1:]
    return _usual_loop(recipe.network, recipe.cut, structure, shapes, tuple(shape), source.cached)


@functools.lru_cache(maxsize=256)
def _usual_loop(network: Network, cut: str, structure, shapes, shape: tuple[int, ...], cached: bool) -> str:
    if jax.default_backend() != "cpu":
        return "device"
    params = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(one, jnp.float32) for one in shapes])
    activations = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    if not cached:
        activations = jax.eval_shape(functools.partial(network.trunk, cut=cut), params, activations)
    tail = jax.make_jaxpr(functools.partial(network.tail, cut=cut))(params, activations)
    text = str(tail)
    return "host" if "conv_general_dilated" in text or "name=_stem" in text else "device"
