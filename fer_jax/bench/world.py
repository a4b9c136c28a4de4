"""The subject of measurements: a config's fold on noise in place of faces, and the paper's method in its last
increment.

Time does not depend on a picture's content, so no data set is needed. Folds, memory and classes have CFEE's size unless
the config sets another.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import methods, protocol, replay, rng
from fer_jax.bench import arithmetic
from fer_jax.config import names
from fer_jax.data.arrays import FaceArrays
from fer_jax.models.network import merge
from fer_jax.objectives import Context
from fer_jax.phases import base as base_task
from fer_jax.phases import memory as storing
from fer_jax.phases import pools, trunk_cache
from fer_jax.phases.fold import Fold, Params, build_network
from fer_jax.phases.part import Part, cached, context_for, effective, recipe_for
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Progress
from fer_jax.training import devices
from fer_jax.training.epoch import Given, Totals, one_step, run_epoch
from fer_jax.training.scores import confusion, score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe

SUBJECTS, CATEGORIES = 230, 22  # CFEE's, neutral among them
METHOD = "kd_psmr"


def noise(
    config: ml_collections.ConfigDict, n_subjects: int | None = None, n_classes: int | None = None, blank: bool = False
) -> FaceArrays:
    """Returns a random image of every class and subject, as many as the config's data set has, or as given.

    blank: the images are black and take no memory, where only their number matters.
    """
    n_subjects = n_subjects or config.data.get("n_subjects", SUBJECTS)
    n_classes = n_classes or max(config.data.n_base + 1, CATEGORIES - len(config.data.exclude))
    shape = n_subjects * n_classes, config.data.image_size, config.data.image_size, 3
    image = np.broadcast_to(np.uint8(0), shape)
    if not blank:
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    label, subject = (x.reshape(-1).astype(np.int32) for x in np.indices((n_classes, n_subjects)))
    return FaceArrays(image, label, subject, tuple(f"class {c}" for c in range(n_classes)))


def with_small_network(config: ml_collections.ConfigDict, widths: tuple[int, ...]) -> ml_collections.ConfigDict:
    """Returns a copy of the config with a plain convolutional network, cut behind its first convolution."""
    config = ml_collections.ConfigDict(config.to_dict())
    for key in names.backbone(config.model.name).keys:
        del config.model[key.removeprefix("model.")]  # of one backbone alone, such as model.depths
    config.update_from_flattened_dict({
        "model.name": "convnet", "model.widths": widths, "model.hidden": (32,), "model.dropout": 0.0,
        "model.weights": "none", "model.input_range": "zero_one", "basic.body.cut": "input", "continual.cut": "conv1",
        "joint.cut": "input", "gdumb.cut": "conv1",
    })  # fmt: skip
    return config


def fold_of(config: ml_collections.ConfigDict, data: FaceArrays) -> Fold:
    """Returns the first fold of a resolved config, with no folder to write to."""
    images, labels = devices.placed((jnp.asarray(data.image), jnp.asarray(data.label)))
    network = build_network(config, len(data.class_names))
    split = split_of(config, data)
    return Fold(config, data, network, images, labels, 0, split, pathlib.Path(), Progress(), Saving())


def split_of(config: ml_collections.ConfigDict, data: FaceArrays) -> protocol.Split:
    """Returns the images of the first fold's parts."""
    p = config.protocol
    return protocol.split(data.subject, 0, p.n_folds, p.name, data.official_test, data.label, data.official_validation)


def recipe_of(fold: Fold) -> Recipe:
    """Returns the recipe of the paper's method in the continual phase."""
    return recipe_for(fold, effective(fold.config, methods.METHODS[METHOD]))


def context_of(fold: Fold, known: np.ndarray, increment: int) -> Context:
    """Returns the masks and weights of an increment with classes bool[C]."""
    return context_for(fold, known, increment, new=known & ~fold.base_mask())


class Phase:
    """The paper's method on one class order, from an untrained base model.

    select: fills the memory, increment by increment; epochs are those of the last increment.
    """

    def __init__(self, fold: Fold):
        self.fold = fold
        self.base = devices.placed(base_task.initial_params(fold))
        order = np.arange(fold.n_classes - fold.n_base)
        self.part = Part(fold, self.base, effective(fold.config, methods.METHODS[METHOD]), 0, order)
        self.n_increments = protocol.n_increments(len(order), fold.per_increment)
        self.known = np.ones(fold.n_classes, bool)
        self.context = context_of(fold, self.known, self.n_increments - 1)

    def select(self) -> replay.Memory:
        """Ranks the base classes, then those of every increment, each once, without training in between."""
        learned, old = self.part.blank(), np.zeros(self.fold.n_classes, bool)
        for step in range(self.n_increments + 1):
            known = protocol.class_mask(self.part.steps, step)
            learned = storing.stored(self.part, learned, known & ~old, known)
            old = known
        return learned.memory

    def before_last(self, memory: replay.Memory) -> replay.Memory:
        """Returns the memory at the start of the last increment, without its own classes."""
        old = jnp.asarray(protocol.class_mask(self.part.steps, self.n_increments - 1))
        memory = replay.truncate(memory, self.fold.exemplars(self.n_increments - 1))
        return replay.Memory(jnp.where(old[:, None], memory.index, -1), jnp.where(old, memory.count, 0))

    def pool(self, memory: replay.Memory, key: jax.Array) -> jax.Array:
        """Returns the images that an epoch of the last increment may read, i32[L]."""
        last = self.n_increments - 1
        return pools.pool(
            self.part, key, memory, self.known, self.part.new_classes(last), self.fold.exemplars(last), None
        )


class Epochs:
    """Epochs of a phase's last increment, each continuing from the one before.

    recipe: of the phase unless given.
    as_a_run: whether an epoch draws a pool of its own and ends with its validation, as those of a run do.
    """

    def __init__(self, phase: Phase, memory: replay.Memory, recipe: Recipe | None = None, as_a_run: bool = False):
        self.phase, self.as_a_run = phase, as_a_run
        self.recipe = recipe or phase.part.recipe
        self.state, frozen = self.recipe.init(phase.part.start(phase.base, phase.n_increments - 1))
        self.context = phase.context._replace(frozen=frozen, teacher=phase.base)
        self.memory = phase.before_last(memory)
        self.pool = self.draw(0)
        fold = phase.fold
        facts = fold.facts(self.recipe.objective)._replace(stored=pools.in_memory(phase.part, self.memory))
        self.source = Source(facts, fold.images)
        if cached(fold.config, phase.part.method):
            cut = fold.config.continual.cut
            views, taught = trunk_cache.views(fold, phase.base, cut), trunk_cache.taught(fold, phase.base, cut)
            self.source = Source(facts, views, taught, cached=True)
        self.steps = max(1, int((self.pool >= 0).sum()) // self.recipe.batch_size)
        self.images = self.steps * self.recipe.batch_size
        self.losses: list[float] = []

    @property
    def kind(self) -> str:
        """The form of a step, by its name in `arithmetic.KINDS`."""
        return "cached" if self.source.cached else "exact"

    def __call__(self):
        number = len(self.losses)
        pool, validate = (self.draw(number), {"validate": self.validated}) if self.as_a_run else (self.pool, {})
        key = rng.derive(0, "epoch", number)
        self.state, row = run_epoch(self.state, self.source, pool, self.context, key, self.recipe, **validate)
        self.losses.append(row["loss"])
        return self.state

    def draw(self, number: int) -> jax.Array:
        """Draws the pool of an epoch, i32[L]."""
        return self.phase.pool(self.memory, rng.derive(0, "pool", number))

    def by_xla(self) -> float | None:
        """Counts the multiply-adds of an epoch by XLA's cost analysis, as the sum over its steps."""
        own = dataclasses.replace(self.recipe, n_devices=1)
        key = rng.derive(0, "epoch", 0)
        given = Given(self.source.replace(pictures=None), self.pool, self.pool, self.context, key)
        step = functools.partial(one_step, recipe=own)
        lowered = jax.jit(step).lower((self.state, Totals.zero()), self.source.pictures, given, 0)
        return arithmetic.times(self.steps, arithmetic.by_xla(lowered))

    def confusion(self) -> np.ndarray:
        """Counts answers on the test images, i64[C, C]."""
        logits = self._logits(self.phase.part.test, self.state.trainable)
        return np.asarray(confusion(logits, self.phase.part.test.labels, self.phase.context.class_mask))

    def validated(self, trainable: Params) -> dict[str, jax.Array]:
        """Measures loss and accuracy on the validation images."""
        held = self.phase.part.validation
        include = jnp.ones(len(held.labels), bool)
        loss, accuracy = score(self._logits(held, trainable), held.labels, include, self.context.class_mask)
        return {"val_loss": loss, "val_accuracy": accuracy}

    def _logits(self, held: Encoded, trainable: Params) -> jax.Array:
        return held.logits(self.phase.fold, merge(trainable, self.context.frozen), self.recipe.cut)


def in_form(recipe: Recipe, form: str, loop: str = "auto") -> Recipe:
    """Returns the recipe with convolutions in a form of `layers.FORMS`, and its steps driven from `loop`."""
    return dataclasses.replace(recipe.in_form(form), loop=loop)
