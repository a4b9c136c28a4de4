"""The compiled training path: a step and an epoch.

Everything is a pure function of arrays; what a phase decides (which images, which classes, which teacher) comes in
as arguments, so one compiled step serves a whole phase.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import losses, replay
from fer_jax.augment import augment
from fer_jax.data import residency
from fer_jax.methods import Context, Loss, Outputs, Regularizer
from fer_jax.models.head import predict_class
from fer_jax.models.network import Network, merge
from fer_jax.training import devices as parallel
from fer_jax.training.optimizer import keras_adam

Params = Any
# i32[L] indices of images, -1 where a slot is empty; or two of them, of new images and of the memory: `Recipe.paired`.
Pool = jax.Array | tuple[jax.Array, jax.Array]
# Trainable parameters to figures f32[], such as loss and accuracy on the validation images.
Validate = Callable[[Params], tuple[jax.Array, ...]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What stays the same over a phase, and so may be compiled in.

    network: the model.
    cut: training starts here; below it nothing changes.
    loss: f32[B] from outputs and context.
    uses_teacher: whether a teacher's logits are needed.
    batch_size, learning_rate: of `keras_adam`; a context that has a learning rate has its own way.
    l2: weight of the squared hidden kernels of the head.
    augmentation: (flip, rotation, zoom, translation) of `data.augment`, or None.
    regularizer: f32[] from the trainable parameters and the context, added to the loss, or None.
    cached: whether the images of an epoch are the trunk's output for some augmented views of each, f32[N, V, ...]; a
      step then takes one view of each image at random and runs the tail alone.
    taught: whether the last note is the teacher's logits of these views, f32[N, V, C]: it does not run, either.
    paired: whether half of every batch is new images and the other half is read from the memory, and the first note
      says so.
    devices: over how many the batch is shared; it stays the same batch.
    """

    network: Network
    cut: str
    loss: Loss
    batch_size: int
    learning_rate: float
    uses_teacher: bool = False
    l2: float = 0.0
    augmentation: tuple[float, float, float, float] | None = None
    regularizer: Regularizer | None = None
    cached: bool = False
    taught: bool = False
    paired: bool = False
    devices: int = dataclasses.field(default_factory=jax.device_count)

    def optimizer(self, learning_rate: jax.Array | None = None) -> optax.GradientTransformation:
        """Adam as Keras has it, at the recipe's learning rate unless one is given."""
        return keras_adam(self.learning_rate if learning_rate is None else learning_rate)

    def init(self, params: Params) -> tuple["TrainState", Params]:
        """A fresh state for training from the cut, and the frozen rest."""
        trainable, frozen = self.network.split(params, self.cut)
        # The step donates its state: without a copy it would delete arrays that the caller still holds.
        trainable = jax.tree.map(jnp.copy, trainable)
        return parallel.placed((TrainState(trainable, self.optimizer().init(trainable)), frozen), self.devices)


class TrainState(NamedTuple):
    """What a step changes: the trainable parameters and Adam's state."""

    trainable: Params
    opt_state: optax.OptState


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
        """Before the first step."""
        # Each an array of its own: they are donated.
        return cls(jnp.zeros(()), *(jnp.zeros((), jnp.int32) for _ in range(3)))

    def add(self, loss: jax.Array, correct: jax.Array, examples: int, step: jax.Array) -> "Totals":
        """These and a step's mean loss, correct answers and examples; `step` is its number in the epoch."""
        good = self.good + jnp.int32(jnp.isfinite(loss) & (self.good == step))
        return Totals(self.loss + loss * examples, self.correct + correct, self.examples + examples, good)


def penalty(params: Params, l2: float) -> jax.Array:
    """L2 on the kernels of the head's hidden layers, `l2 * sum w²` (Keras' kernel_regularizer)."""
    hidden = sorted(params["head"])[:-1]
    return l2 * sum(jnp.sum(jnp.square(params["head"][name]["kernel"])) for name in hidden)


def train_step(
    state: TrainState,
    frozen: Params,
    teacher: Params,
    images: jax.Array,
    labels: jax.Array,
    context: Context,
    key: jax.Array,
    recipe: Recipe,
    *notes: jax.Array,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """One step on images u8[B, H, W, 3] and labels i32[B]: new state, mean loss f32[] and correct answers i32[].

    The trunk below the cut runs once and serves both the teacher and the model in training: it is the same
    network there; of a cached trunk images are its output, f32[B, ...]. With several devices each takes its share of
    the batch and they all end with the same state. The notes are what `Outputs` has beyond the teacher's logits, and
    with `recipe.taught` those logits, f32[B, C].
    """
    network = recipe.network
    batch_size = len(labels)
    positions, weights = parallel.share(batch_size, recipe.devices)
    images, labels = images[positions], labels[positions]
    notes = tuple(note[positions] for note in notes)
    augment_key, dropout_key = jax.random.split(key)
    if recipe.cached:
        activations = images
    else:
        images = images.astype(jnp.float32) / 255.0
        if recipe.augmentation is not None:
            images = augment(augment_key, images, *recipe.augmentation, positions=positions)
        activations = jax.lax.stop_gradient(network.trunk(merge(state.trainable, frozen), images, recipe.cut))
    if recipe.taught:
        *notes, taught = notes
        teacher_logits = jnp.where(context.teacher_mask, taught, 0.0)
    elif recipe.uses_teacher:
        teacher_logits, _ = network.tail(teacher, activations, recipe.cut)
        teacher_logits = jnp.where(context.teacher_mask, teacher_logits, 0.0)
    else:
        teacher_logits = jnp.zeros((labels.shape[0], context.class_mask.shape[0]))
    dropout_keys = jax.vmap(jax.random.fold_in, (None, 0))(dropout_key, positions)

    def objective(trainable: Params) -> tuple[jax.Array, jax.Array]:
        """This device's part of the mean loss."""
        params = merge(trainable, frozen)
        logits, features = network.tail(params, activations, recipe.cut, dropout_keys)
        per_example = recipe.loss(Outputs(logits, features, labels, teacher_logits, *notes), context)
        loss = jnp.sum(per_example * weights) / batch_size
        extra = penalty(params, recipe.l2)
        if recipe.regularizer is not None:
            extra += recipe.regularizer(trainable, context)
        return loss + extra / recipe.devices, logits

    (loss, logits), gradients = jax.value_and_grad(objective, has_aux=True)(state.trainable)
    correct = jnp.sum((predict_class(logits, context.class_mask) == labels) & (weights > 0), dtype=jnp.int32)
    loss, correct, gradients = parallel.total((loss, correct, gradients), recipe.devices)
    optimizer = recipe.optimizer(context.learning_rate)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
    return TrainState(optax.apply_updates(state.trainable, updates), opt_state), loss, correct


def drawn_views(key: jax.Array, step: jax.Array, batch_size: int, n_views: int) -> jax.Array:
    """The cached views that a step of an epoch takes of the images of its batch, i32[B]; `key` is the epoch's."""
    augment_key, _ = jax.random.split(jax.random.fold_in(key, step))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, jnp.arange(batch_size))
    return jax.vmap(lambda k: jax.random.randint(k, (), 0, n_views))(keys)


@functools.partial(jax.jit, static_argnames=("n_steps", "batch_size", "n_views"))
def _views_of_epoch(key: jax.Array, n_steps: int, batch_size: int, n_views: int) -> jax.Array:
    """The same of every step, i32[n_steps, B]."""
    return jax.vmap(lambda step: drawn_views(key, step, batch_size, n_views))(jnp.arange(n_steps))


def indexed_step(state, totals, frozen, teacher, images, facts, order, places, step, context, key, recipe):
    """`train_step` number `step` on its batch of an epoch's order i32[L] of images, and `Totals` with it.

    facts: labels i32[N] and notes, of all images.
    places: i32[L], where in `images` those of the order are: the order itself where `images` are all. Of images from
      the host only the view that is drawn has come.
    """
    labels, *notes = facts
    batch, where = (
        jax.lax.dynamic_slice_in_dim(one, step * recipe.batch_size, recipe.batch_size) for one in (order, places)
    )
    notes = [note[batch] for note in notes]
    if recipe.cached:
        views = drawn_views(key, step, recipe.batch_size, (notes[-1] if recipe.taught else images).shape[1])
        where = where, jnp.minimum(views, images.shape[1] - 1)
    if recipe.taught:
        notes[-1] = notes[-1][jnp.arange(recipe.batch_size), views]
    if recipe.paired:
        # The memory may have taken in a new image already; it is read as a new one all the same.
        notes[0] &= jnp.arange(recipe.batch_size) >= recipe.batch_size // 2
    state, loss, correct = train_step(
        state,
        frozen,
        teacher,
        images[where],
        labels[batch],
        context,
        jax.random.fold_in(key, step),
        recipe,
        *notes,
    )
    return state, totals.add(loss, correct, recipe.batch_size, step)


_IMAGES = 4  # their position among the arguments
_jitted_step = jax.jit(indexed_step, static_argnames="recipe", donate_argnums=(0, 1))


def _steps(state, totals, frozen, teacher, images, facts, order, places, first, end, context, key, recipe):
    def body(step, carry):
        return indexed_step(*carry, frozen, teacher, images, facts, order, places, step, context, key, recipe)

    return jax.lax.fori_loop(first, end, body, (state, totals))


_looped_steps = jax.jit(_steps, static_argnames="recipe", donate_argnums=(0, 1))


def run_epoch(
    state: TrainState,
    frozen: Params,
    teacher: Params,
    arrays: tuple[np.ndarray | jax.Array, ...],
    pool: Pool,
    context: Context,
    key: jax.Array,
    recipe: Recipe,
    loop: str | None = None,
    spread_by: str = "pmap",
    validate: Validate = lambda trainable: (),
) -> tuple[TrainState, float, ...]:
    """One epoch over the filled slots of a pool; the last partial batch is dropped.

    A pool smaller than one batch is repeated to fill one. The state is donated. In a compiled loop the host waits for
    the device once, for all figures at the end, `validate`'s among them, unless images are streamed or `validate`
    computes on the host, as BiC's correction and the ranking of exemplars do.

    Args:
      arrays: all images u8[N, H, W, 3], or their cached views, labels i32[N], and what a loss is told of them
        beside, as `methods.Outputs` has it. Images on the host are streamed batch by batch, to every device its share;
        of cached views the one that the step draws.
      pool: the images of the epoch. Of two pools the new images are read once, and with every half batch of them half
        a batch of the memory, each of its images once before any a second time.
      loop: "device" runs the steps inside one compiled loop, "host" drives the compiled step from Python;
        `usual_loop` unless given.
      spread_by: how several devices are reached, "pmap" or, within one process, "shard_map"; both give the same.
      validate: what is to be told of the new parameters.

    Returns:
      the new state, the epoch's mean loss and accuracy, and what `validate` found.

    Raises:
      ValueError: a pool without an image.
      FloatingPointError: a loss that is NaN or infinite; names the step and the images of its batch.
    """
    order, n_steps = shuffled(jax.random.fold_in(key, 0), pool, recipe.batch_size)
    step_key = jax.random.fold_in(key, 1)
    totals = Totals.zero()
    images, *facts = arrays
    loop = loop or usual_loop(recipe, merge(state.trainable, frozen), images.shape[1:])
    streamed = residency.on_host(images)
    if streamed:
        n_steps = int(n_steps)
        batches = np.asarray(order)[: n_steps * recipe.batch_size].reshape(n_steps, recipe.batch_size)
        if recipe.cached:
            n_views, longest = images.shape[1], len(order) // recipe.batch_size
            views = _views_of_epoch(step_key, longest, recipe.batch_size, n_views)
            batches = batches * n_views + np.asarray(views)[:n_steps]
            images = images.reshape(-1, 1, *images.shape[2:])
        mine = parallel.local_shares(recipe.batch_size, recipe.devices)
        places = jnp.asarray(np.resize(np.arange(recipe.batch_size, dtype=np.int32) % mine.shape[-1], order.shape))
    if recipe.devices == 1:
        one, many = (functools.partial(f, recipe=recipe) for f in (_jitted_step, _looped_steps))
    else:
        static = (("recipe", recipe),)
        # Arrays of one process are parts of those of all: given away once, they are gone for the next step.
        donate = (0, 1) if jax.process_count() == 1 else ()
        cut = (_IMAGES,) if streamed else ()
        one, many = (parallel.spread(f, static, donate, spread_by, cut) for f in (indexed_step, _steps))
        state, totals, frozen, teacher, facts, order, n_steps, context, step_key = parallel.everywhere(
            (state, totals, frozen, teacher, facts, order, n_steps, context, step_key)
        )
        if streamed:
            places = parallel.everywhere(places)
        else:
            images = parallel.everywhere(images)

    def advance(state, totals, images, places, first, end):
        fixed = (frozen, teacher, images, facts, order, places)
        if loop == "device":
            return many(state, totals, *fixed, np.int32(first), end, context, step_key)
        for step in range(first, int(end)):
            state, totals = one(state, totals, *fixed, np.int32(step), context, step_key)
        return state, totals

    if streamed:
        for step, batch in enumerate(residency.stream(images, batches[:, mine])):
            state, totals = advance(state, totals, batch, places, step, np.int32(step + 1))
    else:
        state, totals = advance(state, totals, images, order, 0, n_steps)
    state = parallel.local(state)
    totals, *found = jax.device_get((parallel.local(totals), *validate(state.trainable)))
    return state, *map(float, (*means(totals, order, recipe.batch_size), *found))


def means(totals: Totals, order: jax.Array, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss and the accuracy of an epoch over images in an order i32[L].

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
    return totals.loss / totals.examples, totals.correct / totals.examples


def usual_loop(recipe: Recipe, params: Params, shape: tuple[int, ...]) -> str:
    """Where the steps of an epoch are driven from, on images or cached views of this shape: "device" or "host".

    On the CPU it is the host if what is trained has a convolution of the library's, whose gradient inside a compiled
    loop is some 50 times slower there. Written as matrix products (`models.layers`) all is faster in the loop.
    """
    leaves, structure = jax.tree.flatten(params)
    return _usual_loop(recipe, structure, tuple(leaf.shape for leaf in leaves), tuple(shape))


@functools.lru_cache(maxsize=256)
def _usual_loop(recipe: Recipe, structure, shapes, shape: tuple[int, ...]) -> str:
    if jax.default_backend() != "cpu":
        return "device"
    params = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(one, jnp.float32) for one in shapes])
    activations = jax.ShapeDtypeStruct((1, *(shape[1:] if recipe.cached else shape)), jnp.float32)
    if not recipe.cached:
        activations = jax.eval_shape(functools.partial(recipe.network.trunk, cut=recipe.cut), params, activations)
    tail = jax.make_jaxpr(functools.partial(recipe.network.tail, cut=recipe.cut))(params, activations)
    return "host" if "conv_general_dilated" in str(tail) else "device"


@functools.partial(jax.jit, static_argnames="batch_size")
def shuffled(key: jax.Array, pool: Pool, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """An epoch's order i32[L] of the filled slots of a pool, repeated to at least one batch, and how many batches of it
    are read, i32[]: none of an empty pool."""
    if isinstance(pool, tuple):
        return _shuffled_in_pairs(key, *pool, batch_size)
    order, filled = replay.shuffle_pool(key, pool)
    # At least one full batch: too few images repeat in order.
    repeats = max(1, math.ceil(batch_size / pool.shape[0]))
    order = jnp.tile(order, repeats)
    slots = jnp.arange(order.shape[0])
    n_steps = jnp.maximum(filled // batch_size, jnp.minimum(filled, 1))
    return jnp.where(slots < filled, order, order[slots % jnp.maximum(filled, 1)]), n_steps


def _shuffled_in_pairs(key, new, memory, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """An order in whose batches the first half is new, or all of it where there is no memory."""
    (new, n_new), (memory, n_memory) = (
        replay.shuffle_pool(jax.random.fold_in(key, i), one) for i, one in enumerate((new, memory))
    )
    half = jnp.where(n_memory > 0, batch_size // 2, batch_size)
    step, place = jnp.divmod(jnp.arange(max(1, new.shape[0] // (batch_size // 2)) * batch_size), batch_size)
    from_new = new[(step * half + place) % jnp.maximum(n_new, 1)]
    from_memory = memory[(step * (batch_size - half) + place - half) % jnp.maximum(n_memory, 1)]
    n_steps = jnp.maximum(n_new // half, jnp.minimum(n_new, 1))
    return jnp.where(place < half, from_new, from_memory), n_steps


@jax.jit
def score(
    logits: jax.Array, labels: jax.Array, include: jax.Array, class_mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy and accuracy over the included examples, among the known classes.

    Args:
      logits: f32[N, C].
      labels: i32[N].
      include: bool[N].
      class_mask: bool[C]; the label of every included example must be in it.
    """
    loss = losses.cross_entropy(logits, labels, class_mask)
    correct = predict_class(logits, class_mask) == labels
    n = jnp.maximum(jnp.sum(include), 1)
    return jnp.sum(jnp.where(include, loss, 0.0)) / n, jnp.sum(include & correct) / n


@jax.jit
def confusion(logits: jax.Array, labels: jax.Array, class_mask: jax.Array) -> jax.Array:
    """Counts i32[C, C], row truth and column answer, over the examples of known classes."""
    n_classes = class_mask.shape[0]
    counts = jnp.zeros((n_classes, n_classes), jnp.int32)
    return counts.at[labels, predict_class(logits, class_mask)].add(class_mask[labels].astype(jnp.int32))
