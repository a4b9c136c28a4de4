"""The increments of one method on one class order: the data that they share, and the step from one to the next."""

import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import classifiers, dotted, importance, losses, methods, protocol, replay, rng, training
from fer_jax.checkpoints import Cell
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases import basic, feature_cache
from fer_jax.phases.setup import Encoded, Params, Setup, longest_class

FISHER_IMAGES = 256

_epoch_pool = jax.jit(replay.epoch_pool, static_argnames="fresh")


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


def rule_of(method: methods.Method) -> replay.Rule:
    """A method's memory rule."""
    if method.keeps in replay.RULES:
        return replay.RULES[method.keeps]
    return replay.Rule(
        dotted.function(method.keeps, f"one of {', '.join(replay.RULES)}, or the dotted path of a score")
    )


def recipe_for(setup: Setup, method: methods.Method) -> training.Recipe:
    """The compiled part of a method: one program for the whole phase."""
    c, settings = setup.config.continual, setup.config[method.settings]
    return training.Recipe(
        network=setup.network,
        cut=settings.cut,
        loss=method.loss or methods.cross_entropy,
        batch_size=c.batch_size,
        learning_rate=settings.learning_rate,
        uses_teacher=method.teacher != "none",
        augmentation=setup.augmentation if c.augment else None,
        regularizer=method.regularizer,
        cached=setup.config.feature_cache.views > 0 and settings.cut == c.cut,
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


class Increments:
    """One method on one class order, one increment after another.

    cell: where fits in progress are kept; None keeps nothing and tells nobody, as in a search.
    """

    def __init__(
        self,
        setup: Setup,
        base: Params,
        method: methods.Method,
        order_index: int,
        order: np.ndarray,
        cell: Cell | None,
        choice: Choice = AS_CONFIGURED,
    ):
        self.setup, self.base, self.cell, self.choice = setup, base, cell, choice
        self.method, self.rule = method, rule_of(method)
        self.order_index, self.order = order_index, order
        self.recipe = recipe_for(setup, method)
        cut = self.recipe.cut
        self.validation = Encoded.cached(setup, base, setup.split.validation, cut)
        self.test = Encoded.cached(setup, base, setup.split.test, cut)
        self.steps = protocol.learned_at(order, setup.n_base, setup.per_increment)
        self.longest = longest_class(setup)
        self.train_mask = jnp.zeros(len(setup.data.label), bool).at[setup.split.train].set(True)
        self.draws = jax.random.uniform(rng.derive(setup.config.seed, "memory", setup.fold), self.train_mask.shape)

    # Where an increment starts.

    def begin(self) -> Learned:
        """The base model, and of the base classes what the method keeps."""
        base = self.setup.base_mask()
        return self._anchored(self._kept(self.blank(), base, base), base, base)

    def blank(self) -> Learned:
        """The base model, with nothing kept yet."""
        return blank(self.setup, self.base, self.method, len(self.setup.data.label), self._capacity())

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
        return saved_like(self.setup, self.base, self.method, len(self.setup.data.label), self._capacity())

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
        k = self.setup.per_increment
        return [self.setup.n_base + int(c) for c in self.order[k * increment : k * (increment + 1)]]

    # What an epoch reads.

    def _pool(self, key, memory: replay.Memory, known: np.ndarray, new_classes: list[int], m: int, reserved):
        """The images that one epoch may read, -1 where a slot is empty."""
        if self.method.reads == "all":
            rows = self.setup.train_rows(known)
            return jnp.asarray(np.pad(rows, (0, len(self.setup.split.train) - len(rows)), constant_values=-1))
        if self.method.reads == "exemplars":
            return memory.index.reshape(-1)
        new = jnp.stack([self.train_mask & (self.setup.labels == c) for c in new_classes])
        if self.method.reads == "replay":
            m = self.longest
            new &= ~self._in_memory(memory)
        if reserved is not None:
            new &= ~reserved
            index = memory.index
            memory = memory._replace(index=jnp.where((index >= 0) & reserved[jnp.maximum(index, 0)], -1, index))
        return _epoch_pool(key, memory, new, jnp.int32(m), self.longest)

    def _in_memory(self, memory: replay.Memory) -> jax.Array:
        """bool[N]."""
        index = memory.index.reshape(-1)
        return jnp.zeros(len(self.train_mask), bool).at[jnp.maximum(index, 0)].max(index >= 0)

    def _reserve(self, memory: replay.Memory, new_classes: list[int], m: int) -> jax.Array | None:
        """bool[N], images that are not trained on: the same number of every known class (arXiv 1905.13260)."""
        if not self.method.reserved:
            return None
        each = max(1, int(self.method.reserved * m))
        index, count = np.asarray(memory.index), np.asarray(memory.count)
        rows = [index[c, count[c] - each : count[c]] for c in np.flatnonzero(count > each)]
        for c in new_classes:
            of_class = self.setup.train_rows(np.arange(self.setup.n_classes) == c)
            rows.append(of_class[np.argsort(np.asarray(self.draws)[of_class])[:each]])
        return jnp.zeros(len(self.train_mask), bool).at[np.concatenate(rows)].set(True)

    # One increment.

    def learn(self, learned: Learned, increment: int) -> tuple[Learned, dict]:
        """One increment: what goes on to the next, and what was measured."""
        setup, method = self.setup, self.method
        began = time.perf_counter()
        new_classes, m = self.new_classes(increment), setup.exemplars(increment)
        known = protocol.class_mask(self.steps, increment + 1)
        old = protocol.class_mask(self.steps, increment)
        new = known & ~old
        memory = replay.truncate(learned.memory, m) if self.rule.balanced else learned.memory
        learned = learned._replace(memory=memory)
        if method.fills == "before":
            learned = self._kept(learned, new, known)
        teacher = old if method.teacher == "previous" else setup.base_mask()
        context = context_for(setup, known, increment, teacher, new, self.choice, method.strength, learned.anchor)
        fitted = None
        if method.loss is not None:
            reserved = self._reserve(learned.memory, new_classes, m)
            fitted, params = self._fit(learned, increment, context, known, new_classes, m, reserved)
            if method.correct is not None:
                params = {**params, "head": self._corrected(params, reserved, context)}
            learned = learned._replace(params=params, opt_state=fitted.state.opt_state)
        if method.fills == "after":
            learned = self._kept(learned, new, known)
        learned = self._anchored(learned, new, known)
        measured = {
            "increment": increment,
            "class": " + ".join(setup.data.class_names[c] for c in new_classes),
            "exemplars_per_class": m,
            "epoch": fitted.epoch if fitted else None,
            "history": fitted.history if fitted else [],
            "confusions": self.confusions(learned, known),
            "seconds": time.perf_counter() - began,
        }
        if self.cell:
            self._tell(measured, known, fitted)
        return learned, measured

    def _fit(self, learned: Learned, increment: int, context, known, new_classes, m, reserved):
        setup, recipe, method = self.setup, self.recipe, self.method
        teacher = learned.params if method.teacher == "previous" else self.base
        state, frozen = recipe.init(self.start(learned.params, increment))
        key = rng.derive(setup.config.seed, "continual", setup.fold, self.order_index, increment)
        include = context.class_mask[self.validation.labels]
        if method.validates == "new":
            include = context.new_mask[self.validation.labels]
        images = feature_cache.views(setup, self.base) if recipe.cached else setup.images
        notes = () if learned.recorded is None else (learned.recorded,)
        arrays = (images, setup.labels, self._in_memory(learned.memory), *notes)

        def train_epoch(state, epoch):
            draw_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
            pool = self._pool(draw_key, learned.memory, known, new_classes, m, reserved)
            return training.run_epoch(state, frozen, teacher, arrays, pool, context, step_key, recipe)

        def validate(trainable):
            logits = self.validation.logits(setup, merge(trainable, frozen), recipe.cut)
            loss, accuracy = training.score(logits, self.validation.labels, include, context.class_mask)
            return float(loss), float(accuracy)

        max_epochs, images_an_epoch = epochs_and_images(setup, method, self.order, increment)
        names = " + ".join(setup.data.class_names[c] for c in new_classes)
        name = f"continual {method.name} fold {setup.fold} order {self.order_index}, increment {increment} {names}"
        if self.cell is None:
            name = f"search {name}"
        setup.progress.begin(name, max_epochs, images_an_epoch)
        fitted = training.fit(
            state,
            train_epoch,
            validate,
            training.EarlyStopping("max", setup.config.continual.patience, restore=setup.restore),
            max_epochs,
            setup.progress.epoch,
            self.cell.resume(name, state) if self.cell else None,
            functools.partial(self.cell.keep, name) if self.cell else lambda point: None,
        )
        if self.cell is None:
            setup.progress.finish()
        return fitted, merge(fitted.state.trainable, frozen)

    # What is kept of the images, and what is corrected.

    def _capacity(self) -> int:
        """The most exemplars that one class can have."""
        return self.setup.capacity() if self.rule.balanced else self.longest

    def _kept(self, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
        """With what the method keeps of the classes `new` bool[C]: exemplars, their logits, statistics."""
        setup = self.setup
        if learned.statistics is not None:
            statistics = learned.statistics
            for c in np.flatnonzero(new):
                rows = setup.train_rows(np.arange(setup.n_classes) == c)
                encoded = Encoded.cached(setup, self.base, rows, self.recipe.cut)
                statistics = statistics.add(c, encoded.features(setup, self.base, self.recipe.cut))
            return learned._replace(statistics=statistics)
        if not self.method.replays:
            return learned
        memory = learned.memory
        for c in np.flatnonzero(new):
            memory = replay.remember(memory, c, self.ranked(learned.params, c, known, memory.index.shape[1]))
        if not self.rule.balanced:
            # As large as a balanced memory of the classes known now.
            step = int(self.steps[known].max())
            m = setup.exemplars(min(step, protocol.n_increments(len(self.order), setup.per_increment) - 1))
            memory = replay.trim(memory, self.draws[jnp.maximum(memory.index, 0)], m * int(known.sum()))
        learned = learned._replace(memory=memory)
        if learned.recorded is None:
            return learned
        rows = np.asarray(memory.index)[new]
        rows = rows[rows >= 0]
        encoded = Encoded.cached(setup, self.base, rows, self.recipe.cut)
        logits = encoded.logits(setup, learned.params, self.recipe.cut)
        return learned._replace(recorded=learned.recorded.at[rows].set(jnp.where(known, logits, jnp.nan)))

    def ranked(self, params: Params, class_index: int, known: np.ndarray, capacity: int) -> jax.Array:
        """A class's training images in the order of the memory rule, i32[capacity], -1 padded."""
        setup = self.setup
        rows = setup.train_rows(np.arange(setup.n_classes) == class_index)
        padded = np.pad(rows, (0, self.longest - len(rows)), constant_values=-1)
        encoded = Encoded.cached(setup, self.base, np.maximum(padded, 0), self.recipe.cut)
        return rank(
            params, encoded.activations, jnp.asarray(padded), self.draws, class_index, jnp.asarray(known),
            setup.network, self.recipe.cut, self.rule.score, capacity,
        )  # fmt: skip

    def _anchored(self, learned: Learned, new: np.ndarray, known: np.ndarray) -> Learned:
        """With the importance of the parameters for the classes `new`, and where they stand."""
        setup, cut = self.setup, self.recipe.cut
        if self.method.regularizer is None:
            return learned
        rows = setup.train_rows(new)
        key = rng.derive(setup.config.seed, "fisher", setup.fold, self.order_index, int(self.steps[known].max()))
        rows = np.asarray(jax.random.permutation(key, jnp.asarray(rows)))[:FISHER_IMAGES]
        encoded = Encoded.cached(setup, self.base, rows, cut)
        trainable, frozen = setup.network.split(learned.params, cut)
        found = importance.fisher(
            trainable, frozen, encoded.activations, encoded.labels, jnp.asarray(known), setup.network, cut
        )
        found = jax.tree.map(jnp.add, learned.anchor[0], found)
        return learned._replace(anchor=(found, jax.tree.map(jnp.copy, trainable)))

    def _corrected(self, params: Params, reserved: jax.Array | None, context: methods.Context) -> Params:
        rows = self.setup.split.train[:1] if reserved is None else np.flatnonzero(np.asarray(reserved))
        encoded = Encoded.cached(self.setup, self.base, rows, self.recipe.cut)
        logits = encoded.logits(self.setup, params, self.recipe.cut)
        return self.method.correct(params["head"], logits, encoded.labels, context)

    # How it answers.

    def confusions(self, learned: Learned, known: np.ndarray) -> dict[str, list]:
        """Counts [C, C] on the test images, by every classifier of the method."""
        found = {}
        for name in self.method.classifiers:
            scores = self._scores(name, learned)
            counts = training.confusion(scores, self.test.labels, jnp.asarray(known))
            found[name] = np.asarray(counts).tolist()
        return found

    def _scores(self, classifier: str, learned: Learned) -> jax.Array:
        """One number a test image and class, f32[R, C]; the highest of the known ones is the answer."""
        setup, cut = self.setup, self.recipe.cut
        if classifier == "network":
            return self.test.logits(setup, learned.params, cut)
        features = self.test.features(setup, learned.params, cut)
        if classifier == "exemplar_mean":
            index = learned.memory.index
            encoded = Encoded.cached(setup, self.base, np.maximum(np.asarray(index), 0).reshape(-1), cut)
            exemplars = encoded.features(setup, learned.params, cut).reshape(*index.shape, -1)
            return classifiers.exemplar_mean(exemplars, index >= 0, features)
        answer = {"class_mean": classifiers.class_mean, "discriminant": classifiers.discriminant}[classifier]
        return answer(learned.statistics, features)

    def _tell(self, measured: dict, known: np.ndarray, fitted: training.Fitted | None) -> None:
        counts = np.asarray(measured["confusions"][self.method.classifiers[0]])
        accuracy = float(np.trace(counts) / counts.sum())
        text = f"{int(known.sum())} classes, test accuracy {accuracy:.3f}"
        if fitted is None:
            return
        self.setup.progress.finish(f"epoch {fitted.epoch + 1}, {text}")
        tag = f"{self.method.name}/fold{self.setup.fold}/order{self.order_index}"
        last = {**fitted.history[fitted.epoch], "test_accuracy": accuracy}
        self.setup.progress.scalars(tag, measured["increment"], last)


def base_memory(setup: Setup, base: Params, capacity: int) -> replay.Memory:
    """The base classes' exemplars by Predictive Sorting, ranked once by the base model."""
    method = methods.METHODS["kd_psmr"]
    run = Increments(setup, base, method, 0, np.arange(setup.n_classes - setup.n_base), None)
    memory = replay.empty_memory(setup.n_classes, capacity)
    for c in range(setup.n_base):
        memory = replay.remember(memory, c, run.ranked(base, c, setup.base_mask(), capacity))
    return memory


@functools.partial(jax.jit, static_argnames=("network", "cut", "score", "capacity"))
def rank(params, activations, rows, draws, class_index, known, network, cut, score, capacity):
    """One class's images in the order of a memory rule's score, i32[capacity] image indices, -1 padded.

    Args:
      activations: f32[R, ...], the trunk's output of images[rows].
      rows: i32[R], -1 padded, so that classes of different size share one compilation.
      draws: f32[N].
    """
    filled = rows >= 0
    logits = training.logits_from(params, activations, network, cut)
    features = training.features_from(params, activations, network, cut)
    seen = replay.Candidates(logits, features, filled, class_index, known, draws[jnp.maximum(rows, 0)])
    # The best candidates of any score.
    chosen = replay.predictive_sort(score(seen), filled, capacity)
    return jnp.where(chosen >= 0, rows[chosen], -1)
