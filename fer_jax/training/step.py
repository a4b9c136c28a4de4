"""A training step: loss, gradient, update, as a pure function of arrays.

What a phase decides (which images, which classes, which teacher) comes in as arguments, so that one compiled step
serves a whole phase.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fer_jax.models.head import predict_class
from fer_jax.models.network import Network, merge
from fer_jax.objectives import Augmentation, Context, Objective, Outputs
from fer_jax.training import devices
from fer_jax.training.batch import Batch, take
from fer_jax.training.optimizer import keras_adam

Params = Any


class TrainState(NamedTuple):
    """The state that a step changes: the trainable parameters and Adam's state."""

    trainable: Params
    opt_state: optax.OptState


class Measured(NamedTuple):
    """A step's mean loss f32[] and correct answers i32[]."""

    loss: jax.Array
    correct: jax.Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings that stay the same over a phase, so that they can be compiled in.

    network: the model.
    cut: training starts here; below it nothing changes.
    objective: what is minimised.
    batch_size, learning_rate: of `keras_adam`; a context that has a learning rate has its own way.
    uses_teacher: whether a teacher's logits are needed.
    augmentation: of the images, or None; an objective's own goes first.
    paired: whether the first half of every batch is new images and the other half is read from the memory.
    n_devices: over how many the batch is shared; it stays the same batch.
    loop: "device" runs the steps of an epoch inside one compiled loop, "host" drives the compiled step from Python,
      "auto" takes the faster one (`epoch.usual_loop`).
    spread_by: how several devices are reached, "pmap" or "shard_map"; both give the same.
    """

    network: Network
    cut: str
    objective: Objective
    batch_size: int
    learning_rate: float
    uses_teacher: bool = False
    augmentation: Augmentation | None = None
    paired: bool = False
    n_devices: int = dataclasses.field(default_factory=jax.device_count)
    loop: str = "auto"
    spread_by: str = "pmap"

    def __post_init__(self):
        object.__setattr__(self, "objective", Objective.of(self.objective))

    def in_form(self, form: str) -> "Recipe":
        """Returns the recipe with convolutions in a form of `layers.FORMS`."""
        backbone = self.network.backbone.clone(form=form)
        return dataclasses.replace(self, network=dataclasses.replace(self.network, backbone=backbone))

    def optimizer(self, learning_rate: jax.Array | None = None) -> optax.GradientTransformation:
        """Returns Adam as Keras has it, at the recipe's learning rate unless one is given."""
        return keras_adam(self.learning_rate if learning_rate is None else learning_rate)

    def init(self, params: Params, key: jax.Array | None = None) -> tuple[TrainState, Params]:
        """Returns a fresh state for training from the cut, and the frozen rest.

        Args:
          key: of the objective's extra heads; not needed without any.
        """
        trainable, frozen = self.network.split(params, self.cut)
        # The step donates its state: without a copy it would delete arrays that the caller still holds.
        trainable = jax.tree.map(jnp.copy, trainable)
        if self.objective.heads:
            width = self.network.backbone.feature_width
            trainable["heads"] = {
                name: _new_head(jax.random.fold_in(key, number), (width, *widths))
                for number, (name, widths) in enumerate(sorted(self.objective.heads.items()))
            }
        return devices.placed((TrainState(trainable, self.optimizer().init(trainable)), frozen), self.n_devices)


def _new_head(key: jax.Array, widths: tuple[int, ...]) -> list[Params]:
    """Returns the dense layers of an extra head, He-normal."""
    normal = jax.nn.initializers.he_normal()
    shapes = itertools.pairwise(widths)
    return [
        {"kernel": normal(jax.random.fold_in(key, i), shape), "bias": jnp.zeros(shape[1])}
        for i, shape in enumerate(shapes)
    ]


def _extra_head(layers: list[Params], features: jax.Array) -> jax.Array:
    """Returns what an extra head makes of the features f32[R, D]."""
    for number, layer in enumerate(layers):
        features = (jax.nn.relu(features) if number else features) @ layer["kernel"] + layer["bias"]
    return features


def step(
    state: TrainState, batch: Batch, context: Context, key: jax.Array, recipe: Recipe
) -> tuple[TrainState, Measured]:
    """Trains on one batch; returns the new state, mean loss and correct answers.

    The frozen trunk below the cut runs once and serves both the teacher and the model in training: it is the same
    network there. Several devices take their shares of the batch, and all end with the same state.
    """
    network, batch_size = recipe.network, len(batch.labels)
    positions, weights = devices.share(batch_size, recipe.n_devices)
    augment_key, dropout_key = jax.random.split(key)
    share = _Share(positions, batch_size, recipe)
    mine, images, mixed = _seen(batch, augment_key, share)
    activations = mine.activations
    if activations is None:
        trunk = network.trunk(merge(state.trainable, context.frozen), images, recipe.cut)
        activations = jax.lax.stop_gradient(trunk)
    teacher_logits = _teacher_logits(mine, activations, context, recipe)
    dropout_keys = _per_row(dropout_key, positions, recipe.objective.views)

    def mean_loss(trainable: Params) -> tuple[jax.Array, jax.Array]:
        """Returns this device's part of the mean loss, and its logits."""
        params = merge(trainable, context.frozen)
        logits, features = network.tail(params, activations, recipe.cut, dropout_keys)
        heads = {name: _extra_head(layers, features) for name, layers in trainable.get("heads", {}).items()}
        outputs = Outputs(
            logits, features, mine.labels, teacher_logits, mine.stored, mine.recorded, mine.subjects,
            mine.targets, heads, share.tiled(positions), *mixed,
        )  # fmt: skip
        per_row = recipe.objective.value(outputs, context, share.whole, share.mine)
        loss = jnp.sum(per_row * share.tiled(weights)) / share.n_rows
        return loss + recipe.objective.penalty(trainable, context) / recipe.n_devices, logits

    (loss, logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.trainable)
    first = slice(len(positions))  # of several views the first is counted
    right = predict_class(logits[first], context.class_mask) == mine.labels[first]
    correct = jnp.sum(right & (weights > 0), dtype=jnp.int32)
    loss, correct, gradients = devices.total((loss, correct, gradients), recipe.n_devices)
    optimizer = recipe.optimizer(context.learning_rate)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
    return TrainState(optax.apply_updates(state.trainable, updates), opt_state), Measured(loss, correct)


class _Mixed(NamedTuple):
    """How the rows' images were mixed: `Outputs.shares` and `Outputs.partners`; None where they were not."""

    shares: jax.Array | None = None
    partners: jax.Array | None = None


def _seen(batch: Batch, key: jax.Array, share: "_Share") -> tuple[Batch, jax.Array | None, _Mixed]:
    """Returns this device's share of a batch with a row a view, the views as images f32[R, H, W, 3], and their mixing.

    Rows are ordered by view, so that the first len(positions) are one view of each example. Cached views are none to
    be made: there are no images then.
    """
    mine, objective = take(batch, share.positions), share.recipe.objective
    if mine.activations is not None:
        return mine, None, _Mixed()
    plain, views, mixed = mine.images.astype(jnp.float32) / 255.0, [], []
    augmentation = objective.augmentation or share.recipe.augmentation
    for number in range(objective.views):
        own = jax.random.fold_in(key, number) if number else key
        shown = _with_twins(own, plain, mine, share) if number or objective.views == 1 else plain
        view = shown if augmentation is None else augmentation(own, shown, share.positions)
        if objective.mixup:
            view, how = _mix(jax.random.fold_in(own, share.batch_size), view, batch.labels, share)
            mixed.append(how)
        views.append(view)
    mine = mine._replace(images=None)
    twin, share_of_twins = objective.twins
    if share_of_twins:
        mine = mine._replace(targets={name: values for name, values in mine.targets.items() if name != twin})
    if len(views) == 1:
        return mine, views[0], *(mixed or [_Mixed()])
    mine = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * len(views)), mine)
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *mixed) if mixed else _Mixed()
    return mine, jnp.concatenate(views), joined


def _with_twins(key: jax.Array, images: jax.Array, mine: Batch, share: "_Share") -> jax.Array:
    """Returns images f32[S, H, W, 3], a share of them their twins."""
    twin, of_views = share.recipe.objective.twins
    if not of_views:
        return images
    drawn = jax.random.uniform(jax.random.fold_in(key, share.batch_size + 1), (share.batch_size,))[share.positions]
    return jnp.where(drawn[:, None, None, None] < of_views, mine.targets[twin].astype(jnp.float32) / 255.0, images)


def _mix(key: jax.Array, images: jax.Array, labels: jax.Array, share: "_Share") -> tuple[jax.Array, _Mixed]:
    """Mixes each image f32[S, H, W, 3] with another of the whole batch, whose labels are i32[B]."""
    place_key, amount_key = jax.random.split(key)
    partners = jax.random.permutation(place_key, share.batch_size)[share.positions]
    alpha = share.recipe.objective.mixup
    amounts = jax.random.beta(amount_key, alpha, alpha, (share.batch_size,))[share.positions]
    amounts = jnp.maximum(amounts, 1 - amounts)
    others = images
    if share.recipe.n_devices > 1:
        others = devices.gathered(images)
    weights = amounts[:, None, None, None]
    return weights * images + (1 - weights) * others[partners], _Mixed(amounts, labels[partners])


def _teacher_logits(batch: Batch, activations: jax.Array, context: Context, recipe: Recipe) -> jax.Array:
    """Returns the teacher's logits f32[R, C], 0 for classes that it lacks, and everywhere without a teacher."""
    if not recipe.uses_teacher:
        return jnp.zeros((len(batch.labels), context.class_mask.shape[0]))
    logits = batch.teacher_logits
    if logits is None:
        logits, _ = recipe.network.tail(context.teacher, activations, recipe.cut)
    return jnp.where(context.teacher_mask, logits, 0.0)


def _per_row(key: jax.Array, positions: jax.Array, views: int) -> jax.Array:
    """Returns a key a row, which depends on the place in the whole batch and on the view alone."""
    each = [
        jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, number) if number else key, positions)
        for number in range(views)
    ]
    return jnp.concatenate(each) if views > 1 else each[0]


class _Share(NamedTuple):
    """This device's share of a batch, a row for every view of its examples."""

    positions: jax.Array
    batch_size: int
    recipe: Recipe

    @property
    def n_rows(self) -> int:
        """Rows of the whole batch."""
        return self.batch_size * self.recipe.objective.views

    def tiled(self, values: jax.Array) -> jax.Array:
        """Returns values of the examples [S] as values of the rows [R]."""
        return jnp.tile(values, self.recipe.objective.views)

    def whole(self, outputs: Outputs) -> Outputs:
        """Returns the outputs of all devices, in the order of one device alone."""
        views, n = self.recipe.objective.views, self.recipe.n_devices
        if n == 1:
            return outputs

        def gathered(leaf):
            apart = leaf.reshape(views, -1, *leaf.shape[1:])
            together = devices.gathered(apart, axis=1)[:, : self.batch_size]
            return together.reshape(-1, *leaf.shape[1:])

        return jax.tree.map(gathered, outputs)

    def mine(self, values: jax.Array) -> jax.Array:
        """Returns this device's rows of values of the whole batch."""
        if self.recipe.n_devices == 1:
            return values
        apart = values.reshape(self.recipe.objective.views, self.batch_size)
        return apart[:, self.positions].reshape(-1)
