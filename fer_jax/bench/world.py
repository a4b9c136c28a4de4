"""What is measured: the setup of a config on noise in the place of faces, and the paper's method in its last increment.

Time does not depend on what is on a picture, so no data set is needed; folds, memory and classes are those of CFEE's
size unless the config says otherwise.
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
from fer_jax.phases import base as basic
from fer_jax.phases import memory as keeping
from fer_jax.phases import pools as reading
from fer_jax.phases import trunk_cache as feature_cache
from fer_jax.phases.fold import Encoded, Params, Setup, build_network
from fer_jax.phases.part import Part, context_for, effective, recipe_for
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Progress
from fer_jax.training import devices as parallel
from fer_jax.training import epoch as training

SUBJECTS, CATEGORIES = 230, 22  # CFEE's, neutral among them
METHOD = "kd_psmr"


def noise(config: ml_collections.ConfigDict, n_subjects: int | None = None, n_classes: int | None = None) -> FaceArrays:
    """A picture of every class and subject, random pixels: as many as the config's data set has, or as given."""
    n_subjects = n_subjects or config.data.get("n_subjects", SUBJECTS)
    n_classes = n_classes or max(config.data.n_base + 1, CATEGORIES - len(config.data.exclude))
    n, size = n_subjects * n_classes, config.data.image_size
    image = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)
    label, subject = (x.reshape(-1).astype(np.int32) for x in np.indices((n_classes, n_subjects)))
    return FaceArrays(image, label, subject, tuple(f"class {c}" for c in range(n_classes)))


def with_small_network(config: ml_collections.ConfigDict, widths: tuple[int, ...]) -> ml_collections.ConfigDict:
    """A config's copy with a plain convolutional network, cut behind its first convolution."""
    config = ml_collections.ConfigDict(config.to_dict())
    for key in names.backbone(config.model.name).keys:
        del config.model[key.removeprefix("model.")]  # of one backbone alone, such as model.depths
    config.update_from_flattened_dict({
        "model.name": "convnet", "model.widths": widths, "model.hidden": (32,), "model.dropout": 0.0,
        "model.weights": "none", "model.input_range": "zero_one", "basic.body.cut": "input", "continual.cut": "conv1",
        "joint.cut": "input", "gdumb.cut": "conv1",
    })  # fmt: skip
    return config


def setup_of(config: ml_collections.ConfigDict, data: FaceArrays) -> Setup:
    """The first fold of a resolved config, with nothing to write to."""
    p = config.protocol
    split = protocol.split(data.subject, 0, p.n_folds, p.name, data.official_test, data.label)
    images, labels = parallel.placed((jnp.asarray(data.image), jnp.asarray(data.label)))
    network = build_network(config, len(data.class_names))
    return Setup(config, data, network, images, labels, 0, split, pathlib.Path(), Progress(None), Saving())


def recipe_of(setup: Setup) -> training.Recipe:
    """The paper's method in the continual phase."""
    return recipe_for(setup, effective(setup.config, methods.METHODS[METHOD]))


def context_of(setup: Setup, known: np.ndarray, increment: int) -> methods.Context:
    """Masks and weights of an increment with classes bool[C]."""
    return context_for(setup, known, increment, new=known & ~setup.base_mask())


class Phase:
    """The paper's method on one class order, from a base model that was not trained.

    select: fills the memory, increment by increment; epochs are those of the last increment.
    """

    def __init__(self, setup: Setup):
        self.setup = setup
        self.base = parallel.placed(basic.initial_params(setup))
        order = np.arange(setup.n_classes - setup.n_base)
        self.part = Part(setup, self.base, effective(setup.config, methods.METHODS[METHOD]), 0, order)
        self.n_increments = protocol.n_increments(len(order), setup.per_increment)
        self.known = np.ones(setup.n_classes, bool)
        self.context = context_of(setup, self.known, self.n_increments - 1)

    def select(self) -> replay.Memory:
        """Ranks the base classes, then those of every increment, each once; nothing is trained in between."""
        learned, old = self.part.blank(), np.zeros(self.setup.n_classes, bool)
        for step in range(self.n_increments + 1):
            known = protocol.class_mask(self.part.steps, step)
            learned = keeping.kept(self.part, learned, known & ~old, known)
            old = known
        return learned.memory

    def before_last(self, memory: replay.Memory) -> replay.Memory:
        """The memory that the last increment begins with: without its own classes."""
        old = jnp.asarray(protocol.class_mask(self.part.steps, self.n_increments - 1))
        memory = replay.truncate(memory, self.setup.exemplars(self.n_increments - 1))
        return replay.Memory(jnp.where(old[:, None], memory.index, -1), jnp.where(old, memory.count, 0))

    def pool(self, memory: replay.Memory, key: jax.Array) -> jax.Array:
        """What an epoch of the last increment may read, i32[L]."""
        last = self.n_increments - 1
        return reading.pool(
            self.part, key, memory, self.known, self.part.new_classes(last), self.setup.exemplars(last), None
        )


class Epochs:
    """Epochs of a phase's last increment, each going on from the one before.

    recipe: of the phase unless given.
    as_a_run: whether an epoch draws a pool of its own and ends with its validation, as those of a run do.
    """

    def __init__(
        self,
        phase: Phase,
        memory: replay.Memory,
        recipe: training.Recipe | None = None,
        loop: str | None = None,
        as_a_run: bool = False,
    ):
        self.phase, self.loop, self.as_a_run = phase, loop, as_a_run
        self.recipe = recipe or phase.part.recipe
        self.state, self.frozen = self.recipe.init(phase.part.start(phase.base, phase.n_increments - 1))
        self.memory = phase.before_last(memory)
        self.pool = self.draw(0)
        setup = phase.setup
        self.arrays = (setup.images, setup.labels, reading.in_memory(phase.part, self.memory))
        if self.recipe.cached:
            views, taught = feature_cache.views(setup, phase.base), feature_cache.taught(setup, phase.base)
            self.arrays = (views, *self.arrays[1:], taught)
        self.steps = max(1, int((self.pool >= 0).sum()) // self.recipe.batch_size)
        self.images = self.steps * self.recipe.batch_size
        self.losses: list[float] = []

    def __call__(self):
        number = len(self.losses)
        pool, validate = (self.draw(number), {"validate": self.validated}) if self.as_a_run else (self.pool, {})
        self.state, loss, *_ = training.run_epoch(
            self.state, self.frozen, self.phase.base, self.arrays, pool, self.phase.context,
            rng.derive(0, "epoch", number), self.recipe, self.loop, **validate,
        )  # fmt: skip
        self.losses.append(loss)
        return self.state

    def draw(self, number: int) -> jax.Array:
        """The pool of an epoch, i32[L]."""
        return self.phase.pool(self.memory, rng.derive(0, "pool", number))

    def by_xla(self) -> float | None:
        """Multiply-adds of an epoch by XLA's account, those of its steps."""
        own = dataclasses.replace(self.recipe, devices=1)
        images, *facts = self.arrays
        step = functools.partial(training.indexed_step, recipe=own)
        lowered = jax.jit(step).lower(
            self.state, training.Totals.zero(), self.frozen, self.phase.base, images, facts, self.pool, self.pool, 0,
            self.phase.context, rng.derive(0, "epoch", 0),
        )  # fmt: skip
        return arithmetic.times(self.steps, arithmetic.by_xla(lowered))

    def confusion(self) -> np.ndarray:
        """Counts i64[C, C] on the test images."""
        logits = self._logits(self.phase.part.test, self.state.trainable)
        return np.asarray(training.confusion(logits, self.phase.part.test.labels, self.phase.context.class_mask))

    def validated(self, trainable: Params) -> tuple[jax.Array, jax.Array]:
        """Loss and accuracy on the validation images."""
        held = self.phase.part.validation
        include = jnp.ones(len(held.labels), bool)
        return training.score(self._logits(held, trainable), held.labels, include, self.phase.context.class_mask)

    def _logits(self, held: Encoded, trainable: Params) -> jax.Array:
        return held.logits(self.phase.setup, merge(trainable, self.frozen), self.recipe.cut)


def in_form(recipe: training.Recipe, form: str) -> training.Recipe:
    """The recipe with convolutions in a form of `layers.FORMS`."""
    backbone = recipe.network.backbone.clone(form=form)
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, backbone=backbone))
