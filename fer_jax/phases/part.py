"""A part of the continual phase, one method on one class order: what it is given, and what its increments hand on.

Which images it reads is `reading`'s, what it keeps `keeping`'s, how it answers `answering`'s.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import classifiers, losses, methods, protocol, replay, rng
from fer_jax.config import dotted
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases import base as basic
from fer_jax.phases.fold import Encoded, Params, Setup, longest_class
from fer_jax.training import epoch as training


class Choice(NamedTuple):
    """What a search chooses for a method; None is what the config, or the method's paper, says."""

    learning_rate: float | None = None
    strength: float | None = None


AS_CONFIGURED = Choice()


class Learned(NamedTuple):
    """What goes from one increment to the next; what a method does not use is None.

    recorded: f32[N, C], logits that were recorded of exemplars, NaN elsewhere.
    anchor: (importance, parameters), each in the structure of the trainable parameters.
    statistics: of the base model's features.
    """

    params: Params
    memory: replay.Memory
    opt_state: Any = None
    recorded: jax.Array | None = None
    anchor: tuple[Params, Params] | None = None
    statistics: classifiers.Statistics | None = None


def effective(config: ml_collections.ConfigDict, method: methods.Method) -> methods.Method:
    """The method with what the config has in the place of its own: memory rule, teacher, loss."""
    changes: dict[str, Any] = {}
    if method.replays and config.memory.rule != "auto":
        changes["keeps"] = config.memory.rule
    if method.teacher != "none" and config.continual.teacher != "auto":
        changes["teacher"] = config.continual.teacher
    if method.loss is not None and config.continual.loss != "auto":
        changes["loss"] = dotted.function(config.continual.loss, "auto, or the dotted path of a loss")
    return dataclasses.replace(method, **changes)


def recipe_for(setup: Setup, method: methods.Method) -> training.Recipe:
    """The compiled part of a method: one program for the whole phase."""
    c, settings = setup.config.continual, setup.config[method.settings]
    cached = setup.config.feature_cache.views > 0 and settings.cut == c.cut
    return training.Recipe(
        network=setup.network,
        cut=settings.cut,
        loss=method.loss or methods.cross_entropy,
        batch_size=c.batch_size,
        learning_rate=settings.learning_rate,
        uses_teacher=method.teacher != "none",
        augmentation=setup.augmentation if c.augment else None,
        regularizer=method.regularizer,
        cached=cached,
        taught=cached and method.teacher == "base",
        paired=method.reads == "paired",
    )


def context_for(
    setup: Setup,
    known: np.ndarray,
    increment: int,
    teacher: np.ndarray | None = None,
    new: np.ndarray | None = None,
    choice: Choice = AS_CONFIGURED,
    strength: float | None = None,
    anchor=None,
) -> methods.Context:
    """The masks and weights of an increment with the classes `known` bool[C].

    teacher: bool[C], the classes of the teacher, the base classes unless given; new: bool[C].
    """
    c = setup.config.continual
    teacher = setup.base_mask() if teacher is None else teacher
    strength = choice.strength if choice.strength is not None else strength
    return methods.Context(
        class_mask=jnp.asarray(known),
        teacher_mask=jnp.asarray(teacher),
        distill_mask=jnp.asarray(teacher if c.distill_over == "teacher" else known),
        gamma=jnp.float32(losses.distillation_weight(increment, c.gamma)),
        temperature=jnp.float32(c.temperature),
        new_mask=None if new is None else jnp.asarray(new),
        strength=None if strength is None else jnp.float32(strength),
        learning_rate=None if choice.learning_rate is None else jnp.float32(choice.learning_rate),
        anchor=anchor,
    )


def epochs_and_images(setup: Setup, method: methods.Method, order: np.ndarray, increment: int) -> tuple[int, int]:
    """The most epochs of an increment, and images in each."""
    if method.loss is None:
        return 0, 0
    m, steps = setup.exemplars(increment), protocol.learned_at(order, setup.n_base, setup.per_increment)
    new = int((steps == increment + 1).sum())
    old = int((steps <= increment).sum())
    all_new = len(setup.train_rows(steps == increment + 1))
    images = {
        "memory": m * (old + new),
        "replay": m * old + all_new,
        "paired": 2 * all_new,
        "new": m * new,
        "exemplars": m * (old + new),
        "all": len(setup.train_rows(steps <= increment + 1)),
    }
    return setup.config[method.settings].max_epochs, images[method.reads]


def blank(setup: Setup, base: Params, method: methods.Method, n_images: int, capacity: int) -> Learned:
    """The base model, with nothing kept yet of N images, and room for so many exemplars a class."""
    learned = Learned(base, replay.empty_memory(setup.n_classes, capacity))
    if method.records:
        learned = learned._replace(recorded=jnp.full((n_images, setup.n_classes), jnp.nan))
    if method.regularizer is not None:
        trainable, _ = setup.network.split(base, recipe_for(setup, method).cut)
        learned = learned._replace(anchor=(jax.tree.map(jnp.zeros_like, trainable), trainable))
    if method.loss is None:
        statistics = classifiers.Statistics.empty(setup.n_classes, setup.network.backbone.feature_width)
        learned = learned._replace(statistics=statistics)
    return learned


def _saved(setup: Setup, learned: Learned, recipe: training.Recipe) -> dict:
    trainable, _ = setup.network.split(learned.params, recipe.cut)
    rest = learned._asdict()
    return {"trainable": trainable, **{name: v for name, v in rest.items() if name != "params" and v is not None}}


def saved_like(setup: Setup, base: Params, method: methods.Method, n_images: int, capacity: int) -> dict:
    """The structure of what a finished increment's checkpoint holds, whatever data there are."""

    def make(base):
        recipe = recipe_for(setup, method)
        learned = blank(setup, base, method, n_images, capacity)
        if method.loss is not None:
            learned = learned._replace(opt_state=recipe.init(base)[0].opt_state)
        return _saved(setup, learned, recipe)

    return jax.eval_shape(make, base)


class Part:
    """One method on one class order.

    validation, test: their images behind the frozen trunk.
    steps: i64[C], the step at which each class is learned, 0 for the base classes.
    longest: the most training images that a class has.
    train_mask: bool[N]; draws: f32[N], a random number an image for rules that need one.
    """

    def __init__(
        self,
        setup: Setup,
        base: Params,
        method: methods.Method,
        order_index: int,
        order: np.ndarray,
        choice: Choice = AS_CONFIGURED,
    ):
        self.setup, self.base, self.choice = setup, base, choice
        self.method, self.rule = method, methods.rule_of(method)
        self.order_index, self.order = order_index, order
        self.recipe = recipe_for(setup, method)
        cut = self.recipe.cut
        self.validation = Encoded.held_out(setup, base, "validation", cut)
        self.test = Encoded.held_out(setup, base, "test", cut)
        self.steps = protocol.learned_at(order, setup.n_base, setup.per_increment)
        self.longest = longest_class(setup)
        self.train_mask = jnp.zeros(len(setup.data.label), bool).at[setup.split.train].set(True)
        self.draws = jax.random.uniform(rng.derive(setup.config.seed, "memory", setup.fold), self.train_mask.shape)

    def blank(self) -> Learned:
        """The base model, with nothing kept yet."""
        return blank(self.setup, self.base, self.method, len(self.setup.data.label), self.capacity)

    def restored(self, state: dict) -> Learned:
        """What a finished increment's checkpoint has."""
        _, frozen = self.setup.network.split(self.base, self.recipe.cut)
        rest = {name: value for name, value in state.items() if name != "trainable"}
        return Learned(merge(state["trainable"], frozen), **rest)

    def saved(self, learned: Learned) -> dict:
        """What `restored` needs; the frozen rest is the base model's."""
        return _saved(self.setup, learned, self.recipe)

    def saved_like(self) -> dict:
        """The structure of `saved`."""
        return saved_like(self.setup, self.base, self.method, len(self.setup.data.label), self.capacity)

    def start(self, params: Params, increment: int) -> Params:
        """The parameters that an increment starts from, with the columns it needs."""
        if self.method.starts_from == "scratch":
            fresh, _ = self.setup.network.split(self._initial, self.recipe.cut)
            _, frozen = self.setup.network.split(self.base, self.recipe.cut)
            return merge(fresh, frozen)
        first = 0 if self.method.starts_from == "base" else increment
        params = self.base if self.method.starts_from == "base" else params
        for i in range(first, increment + 1):
            params = self._with_columns(params, i)
        return params

    @functools.cached_property
    def _initial(self) -> Params:
        return basic.initial_params(self.setup)

    def _with_columns(self, params: Params, increment: int) -> Params:
        """A fresh head column for every new class; every other column carries over."""
        for k, new_class in enumerate(self.new_classes(increment)):
            names = ("column", self.setup.fold, self.order_index, increment, *([k] if k else []))
            key = rng.derive(self.setup.config.seed, *names)
            params = {**params, "head": fill_column(params["head"], key, new_class)}
        return params

    def new_classes(self, increment: int) -> list[int]:
        """The increment's new classes, by number; the first increment is 0."""
        k = self.setup.per_increment
        return [self.setup.n_base + int(c) for c in self.order[k * increment : k * (increment + 1)]]

    @property
    def capacity(self) -> int:
        """The most exemplars that one class can have."""
        return self.setup.capacity() if self.rule.balanced else self.longest
