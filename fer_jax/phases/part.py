"""A part of the continual phase, one method on one class order: what it is given, and what its increments hand on.

Which images it reads is decided in `pools`, what it stores in `memory`, how it answers in `answers`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import losses, methods, objectives, protocol, replay, rng
from fer_jax.classifiers import Classifier
from fer_jax.config import names
from fer_jax.data.arrays import UNITS
from fer_jax.data.classes import compositions
from fer_jax.errors import UserError
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases import base as base_task
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.step import Recipe


class Choice(NamedTuple):
    """The settings that a search chooses for a method; None leaves that of the config, or of the method's paper."""

    learning_rate: float | None = None
    strength: float | None = None


AS_CONFIGURED = Choice()


class Learned(NamedTuple):
    """The state passed from one increment to the next; what a method does not use is None.

    memory: the exemplars that are trained on.
    reserved: those that are not; a correction of the head reads them. Both together have the memory's places.
    recorded: f32[N, C], logits that were recorded of exemplars, NaN elsewhere.
    anchor: (importance, parameters), each in the structure of the trainable parameters.
    statistics: of the base model's features.
    """

    params: Params
    memory: replay.Memory
    reserved: replay.Memory | None = None
    opt_state: Any = None
    recorded: jax.Array | None = None
    anchor: tuple[Params, Params] | None = None
    statistics: Any = None


def effective(config: ml_collections.ConfigDict, method: methods.Method) -> methods.Method:
    """Returns the method with what the config has in the place of its own: rule, teacher, objective, answers.

    It sees mirror images only where it trains on them, too.

    Raises:
      UserError: the config names something that does not exist.
    """
    c, changes = config.continual, {}
    if method.replays and config.memory.rule != "auto":
        changes["selects"] = names.rule(config.memory.rule)
    if method.teacher != "none" and c.teacher != "auto":
        changes["teacher"] = c.teacher
    if method.trains:
        objective = names.composed(_objective(method.objective, c.loss), c.terms)
        changes["objective"] = names.balanced(objective, c.balance)
    if c.classifiers:
        extra = tuple(map(names.classifier, c.classifiers))
        changes["classifiers"] = tuple(dict.fromkeys((*method.classifiers, *extra)))
    if method.trains and c.correction != "auto":
        correct = None if c.correction == "none" else names.correction(c.correction)
        changes |= {"correct": correct, "reserved": getattr(correct, "reserved", 0.0)}
    flips = c.augment and getattr(names.augmentation(config.augment), "flip", 0) > 0
    method = dataclasses.replace(method, mirrored=method.mirrored and flips, **changes)
    _check(config, method)
    return method


def _check(config: ml_collections.ConfigDict, method: methods.Method) -> None:
    """Checks that the parts of a method go together.

    Raises:
      UserError: they do not.
    """
    objective, views = method.objective, config.feature_cache.views
    if method.trains:
        if method.reads == "paired" and config.continual.balance == "sampler":
            raise UserError(
                f"config.continual.balance is 'sampler', but half of each batch of {method.name} is "
                "new images; with it it may be 'none' or 'weights'"
            )
        for name, term in objective.terms.items():
            if term.needs_teacher and method.teacher == "none":
                raise UserError(
                    f"the loss term {name} needs a teacher, and {method.name} has none; config.methods may have "
                    "those with one, such as kd_psmr"
                )
        if cached(config, method) and objective.sees_own_views:
            raise UserError(
                f"config.feature_cache.views is {views}; the objective of {method.name} makes views of its own, so it "
                "may be 0"
            )
        if method.reads == "paired" and objective.batches != "shuffled":
            raise UserError(
                f"{method.name} puts new images and exemplars into pairs; the batches of its objective are "
                f"{objective.batches}, they may be shuffled"
            )
    answers = [one for one in method.answers_by if one is not None]
    if len({one.name for one in answers}) < len(answers):
        raise UserError(f"the classifiers of {method.name} have the names {', '.join(one.name for one in answers)}; "
                        "each may be there once")  # fmt: skip
    if len({(one.empty, one.add, one.reads) for one in answers if one.empty is not None}) > 1:
        raise UserError(f"the classifiers of {method.name} have statistics of several kinds; they may have one")


def check_answers(config: ml_collections.ConfigDict, class_names: Sequence[str]) -> None:
    """Checks that every classifier and correction of a config will have what it reads; only training needs them all.

    Raises:
      UserError: one reads exemplars, or reserves some, of a method that stores none; or one composes classes of basic
        ones, and the name of one does not say of which.
    """
    for name in config.methods:
        method = effective(config, names.method(name))
        answers = [one for one in method.answers_by if one is not None]
        reading = [one.name for one in answers if one.reads_stored]
        correct = method.correct
        if correct and (getattr(correct, "reads_features", False) or (method.reserved and method.reads != "all")):
            reading.append(correct.__name__)
        if reading and not method.stores:
            raise UserError(
                f"config.methods has {name}, which stores no exemplars, and {reading[0]} reads them; it may have those "
                "that do, such as er"
            )
        _check_names(f"config.methods has {name}, which answers by", answers, class_names, config.data.n_base)
    if config.few_shot.shots:
        answers = [one for one in map(names.of_few_images, config.few_shot.answers) if one is not None]
        _check_names("config.few_shot.answers has", answers, class_names, config.data.n_base)


def _check_names(what: str, answers: Sequence[Classifier], class_names: Sequence[str], n_base: int) -> None:
    for one in answers:
        if one.reads == "parts":
            try:
                compositions(class_names, n_base)
            except UserError as error:
                raise UserError(f"{what} {one.name}: {error}") from None


def _objective(own: objectives.Objective, name: str) -> objectives.Objective:
    """Returns the objective of the config in the place of a method's own, whose penalties stay."""
    if name == "auto":
        return own
    given = names.objective(name)
    return given.replace(penalties={**own.penalties, **given.penalties})


def reading_units(config: ml_collections.ConfigDict) -> str | None:
    """Returns the name of a method, or of a few-shot answer, that reads action units; None if none does.

    Raises:
      UserError: the config names something that does not exist.
    """
    for name in config.methods:
        if any(one is not None and one.reads_units for one in effective(config, names.method(name)).answers_by):
            return name
    if config.few_shot.shots:
        answers = zip(config.few_shot.answers, map(names.of_few_images, config.few_shot.answers), strict=True)
        return next((name for name, one in answers if one is not None and one.reads_units), None)
    return None


def targets(config: ml_collections.ConfigDict) -> list[str]:
    """Returns the names of the targets that the objectives and classifiers of all phases of a config need.

    Raises:
      UserError: the config names something that does not exist.
    """
    few_shot = names.objective(config.few_shot.objective, config.few_shot.terms)
    methods_of = (effective(config, names.method(name)) for name in config.methods)
    needed = [*base_task.objectives_of(config), few_shot]
    for method in methods_of:
        needed += [method.objective] if method.trains else []
    bases = (config.few_shot.base, *(names.method(name).base for name in config.methods))
    needed += [names.objective(base) for base in bases if base != "auto"]
    read = {name for objective in needed for name in objective.targets}
    return sorted({*read, UNITS} if reading_units(config) else read)


def recipe_for(fold: Fold, method: methods.Method) -> Recipe:
    """Returns the compiled part of a method: one program for the whole phase."""
    c, settings = fold.config.continual, fold.config[method.settings]
    objective = fold.sized(method.objective or objectives.OBJECTIVES["cross_entropy"])
    return Recipe(
        network=fold.network,
        cut=settings.cut,
        objective=objective,
        batch_size=settings.get("batch_size", c.batch_size),
        learning_rate=settings.learning_rate,
        uses_teacher=method.teacher != "none",
        augmentation=fold.augmentation if c.augment else None,
        paired=method.reads == "paired",
        spread_by=fold.config.devices.spread_by,
    )


def cached(config: ml_collections.ConfigDict, method: methods.Method) -> bool:
    """Returns whether a method trains on cached views."""
    return config.feature_cache.views > 0 and config[method.settings].cut != "input"


def context_for(
    fold: Fold,
    known: np.ndarray,
    increment: int,
    teacher: np.ndarray | None = None,
    new: np.ndarray | None = None,
    choice: Choice = AS_CONFIGURED,
    strength: float | None = None,
    anchor=None,
) -> objectives.Context:
    """Returns the masks and weights of an increment with the classes `known` bool[C].

    teacher: bool[C], the classes of the teacher, the base classes unless given; new: bool[C].
    """
    c = fold.config.continual
    teacher = fold.base_mask() if teacher is None else teacher
    strength = choice.strength if choice.strength is not None else strength
    return objectives.Context(
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


def epochs_and_images(fold: Fold, method: methods.Method, order: np.ndarray, increment: int) -> tuple[int, int]:
    """Returns the most epochs of an increment, and images in each."""
    if not method.trains:
        return 0, 0
    m, steps = fold.exemplars(increment), protocol.learned_at(order, fold.n_base, fold.per_increment)
    new = int((steps == increment + 1).sum())
    old = int((steps <= increment).sum())
    all_new = len(fold.train_rows(steps == increment + 1))
    images = {
        "memory": m * (old + new),
        "replay": m * old + all_new,
        "paired": 2 * all_new,
        "new": m * new,
        "exemplars": m * (old + new),
        "all": len(fold.train_rows(steps <= increment + 1)),
    }
    return fold.config[method.settings].max_epochs, images[method.reads]


def statistics_of(method: methods.Method) -> Classifier | None:
    """Returns the classifier that updates a method's statistics; None if it has none."""
    return next((one for one in method.answers_by if one is not None and one.empty is not None), None)


def reserved_of_class(method: methods.Method, m: int) -> int:
    """Returns how many of the m exemplars of a class are reserved from training: a share, and at least one."""
    return max(1, int(method.reserved * m)) if method.reserved else 0


def blank(fold: Fold, base: Params, method: methods.Method, n_images: int, capacity: int) -> Learned:
    """Returns the base model with nothing stored yet of N images, and room for so many exemplars a class."""
    learned = Learned(base, replay.empty_memory(fold.n_classes, capacity))
    if method.reserved:
        reserved = replay.empty_memory(fold.n_classes, reserved_of_class(method, capacity))
        learned = learned._replace(reserved=reserved)
    if method.records:
        learned = learned._replace(recorded=jnp.full((n_images, fold.n_classes), jnp.nan))
    if method.anchors:
        trainable, _ = fold.network.split(base, recipe_for(fold, method).cut)
        learned = learned._replace(anchor=(jax.tree.map(jnp.zeros_like, trainable), trainable))
    accumulating = statistics_of(method)
    if accumulating is not None:
        statistics = accumulating.empty(fold.n_classes, fold.width(accumulating.reads))
        learned = learned._replace(statistics=statistics)
    return learned


def _saved(fold: Fold, learned: Learned, recipe: Recipe) -> dict:
    trainable, _ = fold.network.split(learned.params, recipe.cut)
    rest = learned._asdict()
    return {"trainable": trainable, **{name: v for name, v in rest.items() if name != "params" and v is not None}}


def saved_like(fold: Fold, base: Params, method: methods.Method, n_images: int, capacity: int) -> dict:
    """Returns the structure of a finished increment's checkpoint, whatever the data."""

    def make(base):
        recipe = recipe_for(fold, method)
        learned = blank(fold, base, method, n_images, capacity)
        if method.trains:
            learned = learned._replace(opt_state=recipe.init(base, jax.random.key(0))[0].opt_state)
        return _saved(fold, learned, recipe)

    return jax.eval_shape(make, base)


def restored(fold: Fold, base: Params, method: methods.Method, state: dict) -> Learned:
    """Returns what a finished increment's checkpoint holds."""
    _, frozen = fold.network.split(base, recipe_for(fold, method).cut)
    rest = {name: value for name, value in state.items() if name != "trainable"}
    return Learned(merge(state["trainable"], frozen), **rest)


class Part:
    """One method on one class order.

    steps: i64[C], the step at which each class is learned, 0 for the base classes.
    longest: the most training images that a class has.
    """

    def __init__(
        self,
        fold: Fold,
        base: Params,
        method: methods.Method,
        order_index: int,
        order: np.ndarray,
        choice: Choice = AS_CONFIGURED,
    ):
        self.fold, self.base, self.choice = fold, base, choice
        self.method, self.rule = method, methods.rule_of(method)
        self.order_index, self.order = order_index, order
        self.recipe = recipe_for(fold, method)
        self.steps = protocol.learned_at(order, fold.n_base, fold.per_increment)
        self.longest = fold.longest_class

    # Made at their first use: a part that is finished needs none of them.
    @functools.cached_property
    def validation(self) -> Encoded:
        """The validation images behind the frozen trunk."""
        return self._held_out("validation")

    @functools.cached_property
    def test(self) -> Encoded:
        """The test images behind the frozen trunk."""
        return self._held_out("test")

    def _held_out(self, which: str) -> Encoded:
        return Encoded.held_out(self.fold, self.base, which, self.recipe.cut, self.method.mirrored)

    @functools.cached_property
    def train_mask(self) -> jax.Array:
        """Whether an image is a training image, bool[N]."""
        return jnp.zeros(len(self.fold.data.label), bool).at[self.fold.split.train].set(True)

    @functools.cached_property
    def draws(self) -> jax.Array:
        """A random number an image for rules that need one, f32[N]."""
        return jax.random.uniform(rng.derive(self.fold.config.seed, "memory", self.fold.number), self.train_mask.shape)

    def encoded(self, rows: np.ndarray) -> Encoded:
        """Returns images `rows` i[R] behind the frozen trunk; rows of -1 are filled with any image."""
        rows = np.maximum(rows, 0)
        return Encoded.cached(self.fold, self.base, rows, self.recipe.cut, self.method.mirrored)

    def blank(self) -> Learned:
        """Returns the base model, with nothing stored yet."""
        return blank(self.fold, self.base, self.method, len(self.fold.data.label), self.capacity)

    def restored(self, state: dict) -> Learned:
        """Returns what a finished increment's checkpoint holds."""
        return restored(self.fold, self.base, self.method, state)

    def saved(self, learned: Learned) -> dict:
        """Returns the arrays that `restored` needs; the frozen rest is the base model's."""
        return _saved(self.fold, learned, self.recipe)

    def saved_like(self) -> dict:
        """Returns the structure of `saved`."""
        return saved_like(self.fold, self.base, self.method, len(self.fold.data.label), self.capacity)

    def start(self, params: Params, increment: int) -> Params:
        """Returns the parameters that an increment starts from, with the columns it needs."""
        if self.method.starts_from == "scratch":
            fresh, _ = self.fold.network.split(self._initial, self.recipe.cut)
            _, frozen = self.fold.network.split(self.base, self.recipe.cut)
            return merge(fresh, frozen)
        first = 0 if self.method.starts_from == "base" else increment
        params = self.base if self.method.starts_from == "base" else params
        for i in range(first, increment + 1):
            params = self._with_columns(params, i)
        return params

    @functools.cached_property
    def _initial(self) -> Params:
        return base_task.initial_params(self.fold)

    def _with_columns(self, params: Params, increment: int) -> Params:
        """Fills a fresh head column for every new class; every other column carries over."""
        for k, new_class in enumerate(self.new_classes(increment)):
            names = ("column", self.fold.number, self.order_index, increment, *([k] if k else []))
            key = rng.derive(self.fold.config.seed, *names)
            params = {**params, "head": fill_column(params["head"], key, new_class)}
        return params

    def new_classes(self, increment: int) -> list[int]:
        """Returns the increment's new classes, by number; the first increment is 0."""
        k = self.fold.per_increment
        return [self.fold.n_base + int(c) for c in self.order[k * increment : k * (increment + 1)]]

    @property
    def capacity(self) -> int:
        """The most exemplars that one class can have."""
        return self.fold.capacity() if self.rule.balanced and not self.method.stores_all else self.longest
