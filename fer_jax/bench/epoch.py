"""An epoch of the continual phase in four forms: one compiled loop with the library's convolutions, with matrix
products, and with what is faster of both for each, and compiled steps that the host drives."""

from collections.abc import Iterator

import jax
import numpy as np

from fer_jax.bench import arithmetic
from fer_jax.bench.record import Bench, described
from fer_jax.bench.timing import interleaved, times_as_fast, warm
from fer_jax.bench.world import Epochs, Phase, fold_of, in_form, noise
from fer_jax.training.epoch import usual_loop

# Name to the form of convolutions and to where the loop is.
FORMS = {
    "scan, library convolutions": ("library", "device"),
    "scan, matrix products": ("product", "device"),
    "scan, each in its faster form": ("auto", "device"),
    "host-driven steps": ("auto", "host"),
}


def usual(epochs: Epochs, seconds: dict[str, list[float]]) -> str:
    """Returns the form that a run uses here: on the CPU what `run_epoch` chooses, with the backbone's own form.

    On an accelerator it is the faster of the two that `phases.forms` measures.
    """
    if jax.default_backend() != "cpu":
        return min(list(FORMS)[:2], key=lambda name: float(np.median(seconds[name])))
    loop = usual_loop(epochs.recipe, epochs.phase.base, epochs.source)
    return next(name for name, form in FORMS.items() if form == ("auto", loop))


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the time of an epoch in each of the four forms."""
    fold = fold_of(bench.small, noise(bench.small))
    phase = Phase(fold)
    memory = phase.select()
    made = {name: Epochs(phase, memory, in_form(phase.part.recipe, *form)) for name, form in FORMS.items()}
    warmed = {name: warm(epochs) for name, epochs in made.items()}
    seconds = interleaved(made, bench.rounds(12), bench.budget(60))
    chosen = usual(made["host-driven steps"], seconds)
    if bench.profile:
        with jax.profiler.trace(bench.profile):
            for _ in range(2):
                made[chosen]()
    fastest = min(seconds, key=lambda name: -float(np.median(1 / np.asarray(seconds[name]))))
    recipe, size = phase.part.recipe, fold.images.shape[1]
    for name, epochs in made.items():
        one = arithmetic.step(fold.network, size, recipe.cut, recipe.batch_size, epochs.kind)
        yield bench.record(
            "epoch",
            {"form": name, "usual": name == chosen, "cut": recipe.cut, "steps": epochs.steps,
             **described(fold, recipe.batch_size)},
            epochs.images, seconds[name], warmed[name], arithmetic.Work(one * epochs.steps, epochs.by_xla()),
            times_fastest=times_as_fast(seconds[fastest], seconds[name]), fastest=fastest,
            last_loss=epochs.losses[-1],
        )  # fmt: skip
