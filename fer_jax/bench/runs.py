"""Class orders side by side against the same orders one after another."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from fer_jax import rng
from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import interleaved, times_as_fast, warm
from fer_jax.bench.world import Epochs, Phase, noise, setup_of
from fer_jax.training import together as side_by_side

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

    def __init__(self, phase: Phase, epochs: Epochs, n: int, form: str):
        images, labels, *notes = epochs.arrays
        one = side_by_side.Runs(None, tuple(notes), phase.context)
        self._program = side_by_side.Program(epochs.recipe, epochs.frozen, phase.base, images, labels)
        self._validate = [epochs.validated] * n
        self._runs = side_by_side.stack([one] * n)
        self._states = side_by_side.stack([epochs.state] * n)
        self._epochs, self._calls = epochs, 0
        self._keys = jnp.stack([rng.derive(0, "run", run) for run in range(n)])
        (self._by, self._form), self._traced = FORMS[form], False

    def __call__(self):
        pools = jnp.stack([self._epochs.draw(self._calls + run) for run in range(len(self._validate))])
        self._calls += 1
        done = side_by_side.run_epochs(
            self._states,
            self._program,
            self._runs,
            pools,
            self._keys,
            self._validate,
            self._by,
            traced=self._traced,
            form=self._form,
        )
        self._states, self._traced = done.states, True
        return done.states


def measure(bench: Bench) -> Iterator[dict]:
    setup = setup_of(bench.small, noise(bench.small))
    phase = Phase(setup)
    memory = phase.select()
    epochs = Epochs(phase, memory)
    recipe, by_xla = epochs.recipe, epochs.by_xla()
    kind = "cached" if recipe.cached else "exact"
    one = arithmetic.step(setup.network, setup.images.shape[1], recipe.cut, recipe.batch_size, kind)
    cpu = jax.default_backend() == "cpu"
    devices = jax.local_device_count()
    counts = COUNTS_QUICK if bench.quick else COUNTS
    compared = COMPARED if COMPARED in counts else counts[-1]
    for n in counts:
        usual = "threads" if cpu else "vmap"
        forms = [form for form in FORMS if form == usual or (n == compared and (cpu or form != "threads"))]
        # Mapped runs are spread evenly over the devices.
        made = {
            form: Together(phase, epochs, n if form == "threads" else -(-n // devices) * devices, form)
            for form in forms
        }
        made["one by one"] = functools.partial(_repeated, Epochs(phase, memory, as_a_run=True), n)
        warmed = {name: warm(function) for name, function in made.items()}
        seconds = interleaved(made, bench.rounds(6), bench.budget(25))
        for name in made:
            yield bench.record(
                "runs",
                {"runs": n, "by": name, "usual": name == usual, "cut": recipe.cut,
                 **described(setup, recipe.batch_size)},
                n * epochs.images, seconds[name], warmed[name], n * one * epochs.steps,
                arithmetic.times(n, by_xla),
                devices=1 if cpu or name == "one by one" else devices,
                times_one_by_one=times_as_fast(seconds["one by one"], seconds[name]),
            )  # fmt: skip


def _repeated(epochs: Epochs, n: int):
    """As many epochs as n runs have, each with its validation."""
    for _ in range(n):
        epochs()
    return epochs.state
