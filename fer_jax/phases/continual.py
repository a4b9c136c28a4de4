"""Phase 2: one compound class after another, by a method, in a class order."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import losses, methods, protocol, replay, rng, training
from fer_jax.checkpoints import Cell
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases.setup import Encoded, Params, Setup, base_memory, longest_class, rank_class

_epoch_pool = jax.jit(replay.epoch_pool, static_argnames="fresh")


def increments(setup_config, method: methods.Method, n_increments: int) -> list[int]:
    """The increments that a method is trained in: all, or the last for a joint model that asks for that."""
    if method.reads == "all" and setup_config.joint.steps == "last":
        return [n_increments - 1]
    return list(range(n_increments))


def epochs_and_images(setup: Setup, method: methods.Method, order: np.ndarray, increment: int) -> tuple[int, int]:
    """The most epochs of an increment, and images in each."""
    config, m = setup.config, setup.exemplars(increment)
    if method.reads == "all":
        known = protocol.class_mask(protocol.learned_at(order, setup.n_base), increment + 1)
        return config.joint.max_epochs, len(setup.train_rows(known))
    return config.continual.max_epochs, m * (setup.n_base + increment + 1 if method.reads == "memory" else 1)


def work(setup: Setup, method: methods.Method, order: np.ndarray) -> list[int]:
    """Images that every increment passes through at most, epochs counted."""
    todo = increments(setup.config, method, len(order))
    return [int(np.prod(epochs_and_images(setup, method, order, i))) for i in todo]


def recipe_for(setup: Setup, method: methods.Method) -> training.Recipe:
    """The compiled part of a method: one program for the whole phase."""
    c = setup.config.continual
    return training.Recipe(
        network=setup.network,
        cut=setup.config.joint.cut if method.reads == "all" else c.cut,
        loss=method.loss,
        batch_size=c.batch_size,
        learning_rate=setup.config.joint.learning_rate if method.reads == "all" else c.learning_rate,
        uses_teacher=method.uses_teacher,
        augmentation=setup.augmentation if c.augment else None,
    )


def context_for(setup: Setup, known: np.ndarray, increment: int) -> methods.Context:
    """The masks and weights of an increment with the classes `known` bool[C]."""
    c = setup.config.continual
    teacher = setup.base_mask()
    return methods.Context(
        class_mask=jnp.asarray(known),
        teacher_mask=jnp.asarray(teacher),
        distill_mask=jnp.asarray(teacher if c.distill_over == "teacher" else known),
        gamma=jnp.float32(losses.distillation_weight(increment, c.gamma)),
        temperature=jnp.float32(c.temperature),
    )


def add_class(setup: Setup, params: Params, order_index: int, increment: int, new_class: int) -> Params:
    """A fresh head column for the new class; every other column carries over."""
    key = rng.derive(setup.config.seed, "column", setup.fold, order_index, increment)
    return {**params, "head": fill_column(params["head"], key, new_class)}


class Increments:
    """One method on one class order: the data that its increments share, and the step from one to the next."""

    def __init__(self, setup: Setup, base: Params, method: methods.Method, order_index: int, order, cell: Cell):
        self.setup, self.base, self.method, self.cell = setup, base, method, cell
        self.order_index, self.order = order_index, order
        self.recipe = recipe_for(setup, method)
        self.validation = Encoded.of(setup, base, setup.split.validation, self.recipe.cut)
        self.test = Encoded.of(setup, base, setup.split.test, self.recipe.cut)
        self.steps = protocol.learned_at(order, setup.n_base)
        self.fresh = longest_class(setup)
        self.train_mask = jnp.zeros(len(setup.data.label), bool).at[setup.split.train].set(True)

    def begin(self) -> tuple[Params, replay.Memory]:
        """The base model and the base classes' exemplars, ranked once."""
        if self.method.reads == "memory":
            return self.base, base_memory(self.setup, self.base, self.setup.capacity())
        return self.base, replay.empty_memory(self.setup.n_classes, self.setup.capacity())

    def restored(self, state: dict) -> tuple[Params, replay.Memory]:
        """Parameters and memory of a finished increment's checkpoint."""
        _, frozen = self.setup.network.split(self.base, self.recipe.cut)
        return merge(state["trainable"], frozen), state["memory"]

    def new_class(self, increment: int) -> int:
        return self.setup.n_base + int(self.order[increment])

    def start(self, params: Params, increment: int) -> Params:
        """Where an increment starts: the previous model, or the base model, with the columns it needs."""
        if self.method.starts_from == "previous":
            return add_class(self.setup, params, self.order_index, increment, self.new_class(increment))
        params = self.base
        for i in range(increment + 1):
            params = add_class(self.setup, params, self.order_index, i, self.new_class(i))
        return params

    def pool(self, key, memory: replay.Memory, known: np.ndarray, new_class: int, m: int) -> jax.Array:
        """The images that one epoch may read."""
        if self.method.reads == "all":
            return jnp.asarray(_padded(self.setup.train_rows(known), len(self.setup.split.train)))
        new = self.train_mask & (self.setup.labels == new_class)
        return _epoch_pool(key, memory, new, jnp.int32(m), self.fresh)

    def learn(self, params: Params, memory: replay.Memory, increment: int):
        """One increment: returns parameters, optimizer state, memory and what was measured."""
        setup, recipe = self.setup, self.recipe
        began = time.perf_counter()
        new_class, m = self.new_class(increment), setup.exemplars(increment)
        known = protocol.class_mask(self.steps, increment + 1)
        memory = replay.truncate(memory, m)
        context = context_for(setup, known, increment)
        state, frozen = recipe.init(self.start(params, increment))
        key = rng.derive(setup.config.seed, "continual", setup.fold, self.order_index, increment)
        include = context.class_mask[self.validation.labels]
        if self.method.validates == "new":
            include = self.validation.labels == new_class

        def train_epoch(state, epoch):
            draw_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
            pool = self.pool(draw_key, memory, known, new_class, m)
            return training.run_epoch(state, frozen, self.base, setup.arrays, pool, context, step_key, recipe)

        def validate(trainable):
            logits = self.validation.logits(setup, merge(trainable, frozen), recipe.cut)
            loss, accuracy = training.score(logits, self.validation.labels, include, context.class_mask)
            return float(loss), float(accuracy)

        max_epochs, images = epochs_and_images(setup, self.method, self.order, increment)
        name = f"continual {self.method.name} fold {setup.fold} order {self.order_index}"
        name += f", increment {increment} {setup.data.class_names[new_class]}"
        setup.progress.begin(name, max_epochs, images)
        resume = self.cell.resume(name, state)
        fitted = training.fit(
            state,
            train_epoch,
            validate,
            training.EarlyStopping("max", setup.config.continual.patience, restore=setup.restore),
            max_epochs,
            setup.progress.epoch,
            resume,
            functools.partial(self.cell.keep, name),
        )
        params = merge(fitted.state.trainable, frozen)
        if self.method.reads == "memory":
            rows = setup.train_rows(np.arange(setup.n_classes) == new_class)
            ranked = rank_class(setup, params, new_class, rows, self.fresh, memory.index.shape[1])
            memory = replay.remember(memory, new_class, ranked)
        logits = self.test.logits(setup, params, recipe.cut)
        counts = np.asarray(training.confusion(logits, self.test.labels, context.class_mask))
        measured = {
            "increment": increment,
            "class": setup.data.class_names[new_class],
            "exemplars_per_class": m,
            "epoch": fitted.epoch,
            "history": fitted.history,
            "confusion": counts.tolist(),
            "seconds": time.perf_counter() - began,
        }
        self._tell(measured, known, fitted)
        return params, fitted.state.opt_state, memory, measured

    def _tell(self, measured: dict, known: np.ndarray, fitted: training.Fitted) -> None:
        counts = np.asarray(measured["confusion"])
        accuracy = float(np.trace(counts) / counts.sum())
        text = f"epoch {fitted.epoch + 1}, {int(known.sum())} classes, test accuracy {accuracy:.3f}"
        self.setup.progress.finish(text)
        tag = f"{self.method.name}/fold{self.setup.fold}/order{self.order_index}"
        last = {**fitted.history[fitted.epoch], "test_accuracy": accuracy}
        self.setup.progress.scalars(tag, measured["increment"], last)


def run(setup: Setup, base: Params, method: methods.Method, order_index: int, order) -> list[dict]:
    """All increments of a method on one class order, going on after the last finished one.

    Returns:
      what was measured, one dict an increment.
    """
    todo = increments(setup.config, method, len(order))
    measured: list[dict] = []
    with setup.cell(method.name, f"order{order_index}") as cell:
        done = cell.steps.latest(checkpointed(setup, base, method))
        if done:
            measured = done.meta["steps"]
            setup.progress.skip(sum(work(setup, method, order)[: len(measured)]))
        if len(measured) == len(todo):
            return measured
        run = Increments(setup, base, method, order_index, order, cell)
        params, memory = run.restored(done.state) if done else run.begin()
        for increment in todo[len(measured) :]:
            params, opt_state, memory, found = run.learn(params, memory, increment)
            measured.append(found)
            trainable, _ = setup.network.split(params, run.recipe.cut)
            state = {"trainable": trainable, "opt_state": opt_state, "memory": memory}
            cell.steps.save(increment, state, {"steps": measured})
        cell.finish()
    return measured


def checkpointed(setup: Setup, base: Params, method: methods.Method) -> dict:
    """The structure of what an increment's checkpoint holds; the frozen rest is the base model's."""

    def make(base):
        state, _ = recipe_for(setup, method).init(base)
        memory = replay.empty_memory(setup.n_classes, setup.capacity())
        return {"trainable": state.trainable, "opt_state": state.opt_state, "memory": memory}

    return jax.eval_shape(make, base)


def _padded(rows: np.ndarray, length: int) -> np.ndarray:
    return np.pad(rows, (0, length - len(rows)), constant_values=-1)
