"""A training step in three forms that are the same step: as published, with a shared trunk, from cached activations."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from fer_jax import rng
from fer_jax.augment import augment
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import Warm, interleaved, times_as_fast, warm
from fer_jax.bench.world import context_of, noise, recipe_of, setup_of
from fer_jax.phases import base as basic
from fer_jax.phases.fold import Params, Setup
from fer_jax.training import epoch as training

VIEWS = 8  # of each image
BATCHES = 4  # that the images are enough for


class Step:
    """A compiled `training.indexed_step`, its batch read as an epoch's is, and what it is called with; a call is one
    step, going on from the last.

    warm: its compilation and the memory that its first call took. by_xla: its multiply-adds by XLA's account.
    temporaries: bytes that the program needs beside its arguments and results; None where unknown.
    """

    def __init__(self, recipe: training.Recipe, state: training.TrainState, *arguments: Any):
        self.arguments = arguments

        def one_step(state, frozen, teacher, images, facts, order, context, key):
            state, totals = training.indexed_step(
                state, training.Totals.zero(), frozen, teacher, images, facts, order, order, 0, context, key, recipe
            )
            return state, totals.loss / totals.examples

        # A state of its own: it is donated.
        self._state = jax.tree.map(jnp.copy, state)
        step = jax.jit(one_step, donate_argnums=0)

        def first():
            self._compiled = step.lower(self._state, *arguments).compile()
            return self()

        self.losses: list[jax.Array] = []
        self.warm: Warm = warm(first)
        self.by_xla = arithmetic.by_xla(self._compiled)
        needs = self._compiled.memory_analysis()
        self.temporaries = needs and needs.temp_size_in_bytes

    def __call__(self) -> jax.Array:
        """The loss f32[]."""
        self._state, loss = self._compiled(self._state, *self.arguments)
        self.losses.append(loss)
        return loss


def steps(setup: Setup, base: Params | None = None, kinds: tuple[str, ...] = arithmetic.KINDS) -> dict[str, Step]:
    """The same step on the same batch in each form, read from the images of a few batches.

    published: teacher and student each run from the pixels, as the published code has it; exact: the trunk runs once
    for both, as `train_step` has it; cached: the student's tail alone, on views that trunk and teacher saw before.

    Args:
      base: teacher and start; the untrained network unless given.
    """
    base = basic.initial_params(setup) if base is None else base
    recipe = dataclasses.replace(recipe_of(setup), cached=False, taught=False, devices=1)
    batch = recipe.batch_size
    n = BATCHES * batch
    images = jnp.resize(setup.images, (n, *setup.images.shape[1:]))
    # The paper's loss does not ask whether an image is of the memory.
    facts = jnp.resize(setup.labels, n), jnp.zeros(n, bool)
    order = jax.random.permutation(rng.derive(0, "order"), n)
    known = jnp.ones(setup.n_classes, bool)
    context = context_of(setup, known, 0)
    state, frozen = recipe.init(base)
    # Arrays of its own: the same ones would let the compiler see that both trunks are one.
    teacher = jax.tree.map(jnp.copy, base)
    key = rng.derive(0, "step")
    made = {}
    for kind in kinds:
        own, given, told = recipe, images, facts
        if kind == "published":
            # Cut at the input nothing is shared; what is trained stays what the true cut says.
            own = dataclasses.replace(recipe, cut="input")
        elif kind == "cached":
            own = dataclasses.replace(recipe, cached=True, taught=True)
            given = _views(setup, base, recipe, images[order], key)[jnp.argsort(order)]
            logits = jax.jit(setup.network.tail, static_argnums=2)(base, given[:, 0], recipe.cut)[0]
            told = *facts, jnp.stack([logits] * VIEWS, 1)
        made[kind] = Step(own, state, frozen, teacher, given, told, order, context, key)
    return made


def _views(setup: Setup, base: Params, recipe: training.Recipe, images: jax.Array, key: jax.Array) -> jax.Array:
    """The trunk's output for VIEWS augmented views of every image, f32[N, VIEWS, ...].

    All views are that of the first step's own key and of the image's place in a batch, so that the cached step sees
    what the exact one does.
    """
    augment_key, _ = jax.random.split(jax.random.fold_in(key, 0))

    @jax.jit
    def trunk(params, images):
        pictures = images.astype(jnp.float32) / 255.0
        if recipe.augmentation is not None:
            pictures = augment(augment_key, pictures, *recipe.augmentation)
        return setup.network.trunk(params, pictures, recipe.cut)

    batches = images.reshape(BATCHES, -1, *images.shape[1:])
    return jnp.stack([jnp.concatenate([trunk(base, batch) for batch in batches])] * VIEWS, 1)


def measure(bench: Bench) -> Iterator[dict]:
    """The three forms by turns, and how many times as fast each is as the published one."""
    setup = setup_of(bench.large, noise(bench.large, bench.few_subjects(bench.large)))
    recipe, size = recipe_of(setup), setup.images.shape[1]
    made = steps(setup)
    seconds = interleaved(made, bench.rounds(30), bench.budget(150))
    for kind, one in made.items():
        formula = arithmetic.step(setup.network, size, recipe.cut, recipe.batch_size, kind)
        yield bench.record(
            "step", {"kind": kind, "cut": recipe.cut, **described(setup, recipe.batch_size)}, recipe.batch_size,
            seconds[kind], one.warm, formula, one.by_xla,
            times_published=times_as_fast(seconds["published"], seconds[kind]), first_loss=float(one.losses[0]),
            temporary_bytes=one.temporaries,
        )  # fmt: skip
