"""Compares class orders side by side with the same orders one after another."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import rng
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import interleaved, times_as_fast, warm
from fer_jax.bench.world import Epochs, Phase, fold_of, noise
from fer_jax.training import together

COUNTS = (1, 2, 5, 10)
COUNTS_QUICK = (1, 2)
# Name to how runs are put side by side and to the form of their convolutions, where they are an axis.
FORMS = {
    "threads": ("threads", "product"),
    "vmap": ("vmap", "product"),
    "vmap, convolutions in groups": ("vmap", "library"),
}
# How many runs the forms that are not taken are measured with: a program for every number takes long to compile.
COMPARED = 5


class Together:
    """Epochs of n runs side by side with their validation, each with a draw of its own; as `Epochs` for each."""

    def __init__(self, epochs: Epochs, n: int, form: str):
        self._epochs, self._calls, self._traced = epochs, 0, False
        self._states = [jax.tree.map(jnp.copy, epochs.state) for _ in range(n)]
        # Facts and context of their own, as those of class orders are.
        one = epochs.source.facts.stored, epochs.context.class_mask
        self._own = [jax.tree.map(jnp.copy, one) for _ in range(n)]
        self._by, self._form = FORMS[form]

    def __call__(self):
        epochs, turns = self._epochs, []
        for run, (state, (stored, mask)) in enumerate(zip(self._states, self._own, strict=True)):
            facts = epochs.source.facts._replace(stored=stored)
            turns.append(together.Turn(
                state, epochs.source.replace(facts=facts), epochs.draw(self._calls + run),
                epochs.context._replace(class_mask=mask), rng.derive(0, "run", run), epochs.validated,
            ))  # fmt: skip
        self._calls += 1
        if self._by == "threads":
            done = together.by_threads(turns, epochs.recipe, self._traced)
        else:
            done = together.by_vmap(turns, epochs.recipe, len(turns), self._form)
        self._states, self._traced = [state for state, _ in done], True
        return self._states


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the time of an epoch of several runs, side by side and one after another."""
    fold = fold_of(bench.small, noise(bench.small))
    phase = Phase(fold)
    memory = phase.select()
    epochs = Epochs(phase, memory)
    recipe, by_xla = epochs.recipe, epochs.by_xla()
    one = arithmetic.step(fold.network, fold.images.shape[1], recipe.cut, recipe.batch_size, epochs.kind)
    cpu = jax.default_backend() == "cpu"
    devices = jax.local_device_count()
    counts = COUNTS_QUICK if bench.quick else COUNTS
    compared = COMPARED if COMPARED in counts else counts[-1]
    for n in counts:
        # On accelerators a run measures the first two and takes the fastest (`phases.forms`).
        forms = [form for form in FORMS if n == compared or form == "threads" or (form == "vmap" and not cpu)]
        # Mapped runs are spread evenly over the devices.
        made = {form: Together(epochs, n if form == "threads" else -(-n // devices) * devices, form) for form in forms}
        made["one by one"] = functools.partial(_repeated, Epochs(phase, memory, as_a_run=True), n)
        warmed = {name: warm(function) for name, function in made.items()}
        seconds = interleaved(made, bench.rounds(6), bench.budget(25))
        fastest = min(("threads", "vmap", "one by one"), key=lambda name: float(np.median(seconds.get(name, np.inf))))
        usual = "threads" if cpu else fastest
        for name in made:
            yield bench.record(
                "runs",
                {"runs": n, "by": name, "usual": name == usual, "cut": recipe.cut,
                 **described(fold, recipe.batch_size)},
                n * epochs.images, seconds[name], warmed[name],
                arithmetic.Work(n * one * epochs.steps, arithmetic.times(n, by_xla),
                                1 if cpu or name == "one by one" else devices),
                times_one_by_one=times_as_fast(seconds["one by one"], seconds[name]),
            )  # fmt: skip


def _repeated(epochs: Epochs, n: int):
    """As many epochs as n runs have, each with its validation."""
    for _ in range(n):
        epochs()
    return epochs.state
