"""Measures a training step in three equivalent forms: as published, with a shared trunk, from cached activations."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import rng
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import Warm, interleaved, times_as_fast, warm
from fer_jax.bench.world import context_of, fold_of, noise, recipe_of
from fer_jax.objectives import Context
from fer_jax.phases import base as base_task
from fer_jax.phases.fold import Fold, Params
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import Given, Totals, one_step
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe, TrainState

VIEWS = 8  # of each image
BATCHES = 4  # that the images are enough for


class Step:
    """A compiled `epoch.one_step` and its arguments; each call runs one step, continuing from the last.

    warm: its compilation and the memory that its first call took. by_xla: its multiply-adds by XLA's account.
    temporaries: bytes that the program needs beside its arguments and results; None where unknown.
    """

    def __init__(self, recipe: Recipe, state: TrainState, source: Source, order: jax.Array, context: Context, key):
        self.arguments = source.pictures, Given(source.replace(pictures=None), order, order, context, key)

        def one(state, pictures, given):
            state, totals = one_step((state, Totals.zero()), pictures, given, 0, recipe)
            return state, totals.loss / totals.examples

        # A state of its own: it is donated.
        self._state = jax.tree.map(jnp.copy, state)
        step = jax.jit(one, donate_argnums=0)

        def first():
            lowered = step.lower(self._state, *self.arguments)
            # Of a compiled program on a GPU, XLA counts nothing in the calls of its libraries.
            self._compiled, self.by_xla = lowered.compile(), arithmetic.by_xla(lowered)
            return self()

        self.losses: list[jax.Array] = []
        self.warm: Warm = warm(first)
        needs = self._compiled.memory_analysis()
        self.temporaries = needs and needs.temp_size_in_bytes

    def __call__(self) -> jax.Array:
        """Runs the step; returns its loss f32[]."""
        self._state, loss = self._compiled(self._state, *self.arguments)
        self.losses.append(loss)
        return loss


def steps(fold: Fold, base: Params | None = None, kinds: tuple[str, ...] = arithmetic.KINDS) -> dict[str, Step]:
    """Returns the same step on the same batch in each form, reading from the images of a few batches.

    published: teacher and student each run from the pixels, as the published code has it; exact: the trunk runs once
    for both, as `training.step` has it; cached: the student's tail alone, on views that trunk and teacher saw before.

    Args:
      base: teacher and start; the untrained network unless given.
    """
    base = base_task.initial_params(fold) if base is None else base
    recipe = dataclasses.replace(recipe_of(fold), n_devices=1)
    batch = recipe.batch_size
    n = BATCHES * batch
    images = jnp.resize(fold.images, (n, *fold.images.shape[1:]))
    # The paper's loss does not ask whether an image is of the memory.
    facts = Batch(jnp.resize(fold.labels, n), stored=jnp.zeros(n, bool))
    order = jax.random.permutation(rng.derive(0, "order"), n)
    state, frozen = recipe.init(base)
    # Arrays of its own: the same ones would let the compiler see that both trunks are one.
    teacher = jax.tree.map(jnp.copy, base)
    context = context_of(fold, np.ones(fold.n_classes, bool), 0)._replace(frozen=frozen, teacher=teacher)
    key = rng.derive(0, "step")
    made = {}
    for kind in kinds:
        own, source = recipe, Source(facts, images)
        if kind == "published":
            # Cut at the input nothing is shared; what is trained stays what the true cut says.
            own = dataclasses.replace(recipe, cut="input")
        elif kind == "cached":
            views = _views(fold, base, recipe, images[order], key)[jnp.argsort(order)]
            logits = jax.jit(fold.network.tail, static_argnums=2)(base, views[:, 0], recipe.cut)[0]
            source = Source(facts, views, jnp.stack([logits] * VIEWS, 1), cached=True)
        made[kind] = Step(own, state, source, order, context, key)
    return made


def _views(fold: Fold, base: Params, recipe: Recipe, images: jax.Array, key: jax.Array) -> jax.Array:
    """The trunk's output for VIEWS augmented views of every image, f32[N, VIEWS, ...].

    All views are that of the first step's own key and of the image's place in a batch, so that the cached step sees
    what the exact one does.
    """
    augment_key, _ = jax.random.split(jax.random.fold_in(key, 0))

    @jax.jit
    def trunk(params, images):
        pictures = images.astype(jnp.float32) / 255.0
        if recipe.augmentation is not None:
            pictures = recipe.augmentation(augment_key, pictures)
        return fold.network.trunk(params, pictures, recipe.cut)

    batches = images.reshape(BATCHES, -1, *images.shape[1:])
    return jnp.stack([jnp.concatenate([trunk(base, batch) for batch in batches])] * VIEWS, 1)


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the time of the three forms, run in turn, and the speed of each relative to the published one."""
    fold = fold_of(bench.large, noise(bench.large, bench.few_subjects(bench.large)))
    recipe, size = recipe_of(fold), fold.images.shape[1]
    made = steps(fold)
    seconds = interleaved(made, bench.rounds(30), bench.budget(150))
    for kind, one in made.items():
        formula = arithmetic.step(fold.network, size, recipe.cut, recipe.batch_size, kind)
        yield bench.record(
            "step", {"kind": kind, "cut": recipe.cut, **described(fold, recipe.batch_size)}, recipe.batch_size,
            seconds[kind], one.warm, arithmetic.Work(formula, one.by_xla),
            times_published=times_as_fast(seconds["published"], seconds[kind]), first_loss=float(one.losses[0]),
            temporary_bytes=one.temporaries,
        )  # fmt: skip
