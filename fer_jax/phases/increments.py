"""The step from one increment to the next: prepares it, trains, corrects, stores and measures.

One part alone (`learn`), or several parts of the same method side by side (`learn_together`).
"""

import functools
import time
from typing import NamedTuple

import jax
import numpy as np

from fer_jax import protocol, rng
from fer_jax.models.network import merge
from fer_jax.objectives import Context
from fer_jax.phases import answers, forms, job, memory, pools, trunk_cache
from fer_jax.phases.fold import Params
from fer_jax.phases.part import Learned, Part, cached, context_for, epochs_and_images
from fer_jax.runs.slots import Slot
from fer_jax.training.batch import Pool
from fer_jax.training.fit import NEVER, EarlyStopping, Fitted, Job, Run
from fer_jax.training.scores import score
from fer_jax.training.source import Source
from fer_jax.training.step import TrainState


class Begun(NamedTuple):
    """An increment that is ready for its training.

    learned: with what the memory takes in before it.
    known: bool[C], new: bool[C]; new_classes: by number; m: exemplars of each old class.
    reserved: bool[N], images that are not trained on, or None.
    state: what training starts from; None for a method without training.
    """

    increment: int
    learned: Learned
    known: np.ndarray
    new: np.ndarray
    new_classes: list[int]
    m: int
    context: Context
    reserved: jax.Array | None = None
    state: TrainState | None = None


def begin(part: Part) -> Learned:
    """Returns the base model, and of the base classes what the method stores."""
    base = part.fold.base_mask()
    learned = memory.set_aside(part, part.blank(), base, part.fold.exemplars(0))
    learned = memory.stored(part, memory.prepared(part, learned, base), base, base)
    return memory.anchored(part, memory.settled(part, learned), base, base)


def learn(
    part: Part, learned: Learned, increment: int, slot: Slot | None = None, searching: bool = False
) -> tuple[Learned, dict]:
    """Learns one increment; returns what goes on to the next, and what was measured.

    Args:
      slot: where the fit in progress is saved; None saves nothing.
      searching: it is one that a search tries; validation images are answered in the place of test images.
    """
    began = time.perf_counter()
    begun, progress = _set_up(part, learned, increment), part.fold.progress
    fitted = _fit([part], [begun], slot, searching)[0] if part.method.trains else None
    if not fitted:
        progress.begin(f"{_called([part])}, increment {increment} {class_names(part, increment)}", kind(part), 1, 0, 0)
    learned, measured = _finished(part, begun, fitted, tested=not searching)
    if searching:
        measured["validation_accuracy"] = float(_answered(part, begun, learned)["val_accuracy"])
    measured["seconds"] = time.perf_counter() - began
    if searching or not fitted:
        progress.finish()
    else:
        accuracy = _show(part, begun, fitted, measured)
        known = int(begun.known.sum())
        progress.finish(f"epoch {fitted.epoch + 1}, {known} classes, test accuracy {accuracy:.3f}")
    return learned, measured


def learn_together(
    parts: list[Part], learned: list[Learned], increment: int, slot: Slot
) -> tuple[list[Learned], list[dict]]:
    """Learns one increment of several class orders of one method side by side; as `learn` for each.

    What each took, `seconds`, is its share of what all took.
    """
    began = time.perf_counter()
    begun = [_set_up(part, one, increment) for part, one in zip(parts, learned, strict=True)]
    fitted = _fit(parts, begun, slot)
    done = [_finished(*each) for each in zip(parts, begun, fitted, strict=True)]
    for _, measured in done:
        measured["seconds"] = (time.perf_counter() - began) / len(parts)
    accuracies = [_show(*each, one[1]) for *each, one in zip(parts, begun, fitted, done, strict=True)]
    parts[0].fold.progress.finish(
        f"{int(begun[0].known.sum())} classes, test accuracy {np.mean(accuracies):.3f} "
        f"({min(accuracies):.3f} to {max(accuracies):.3f})"
    )
    return [one for one, _ in done], [measured for _, measured in done]


def _set_up(part: Part, learned: Learned, increment: int) -> Begun:
    fold, method = part.fold, part.method
    new_classes, m = part.new_classes(increment), fold.exemplars(increment)
    known = protocol.class_mask(part.steps, increment + 1)
    old = protocol.class_mask(part.steps, increment)
    new = known & ~old
    learned = memory.set_aside(part, learned, known, m)
    # What the memory gives up of them on the way is not trained on either, in this increment.
    reserved = None if learned.reserved is None else pools.in_memory(part, learned.reserved)
    if method.fills == "before":
        learned = memory.stored(part, learned, new, known)
    teacher = old if method.teacher == "previous" else fold.base_mask()
    context = context_for(fold, known, increment, teacher, new, part.choice, method.strength, learned.anchor)
    begun = Begun(increment, learned, known, new, new_classes, m, context)
    if not method.trains:
        return begun
    key = rng.derive(fold.config.seed, "heads", fold.number, part.order_index, increment)
    state, frozen = part.recipe.init(part.start(learned.params, increment), key)
    context = context._replace(frozen=frozen, teacher=learned.params if method.teacher == "previous" else part.base)
    return begun._replace(context=context, reserved=reserved, state=state)


def _finished(part: Part, begun: Begun, fitted: Fitted | None, tested: bool = True) -> tuple[Learned, dict]:
    """Corrects, stores and measures what training left."""
    learned, correction = begun.learned, {}
    if fitted is not None:
        learned, correction = _corrected(part, begun, fitted.state.trainable)
        learned = learned._replace(opt_state=fitted.state.opt_state)
    if part.method.fills == "after":
        learned = memory.stored(part, learned, begun.new, begun.known)
    learned = memory.anchored(part, learned, begun.new, begun.known)
    counts, penalties = answers.confusions(part, learned, begun.known) if tested else ({}, {})
    measured = {
        "increment": begun.increment,
        "class": class_names(part, begun.increment),
        "exemplars_per_class": begun.m,
        "epoch": fitted.epoch if fitted else None,
        "history": fitted.history if fitted else [],
        "correction": {name: float(number) for name, number in correction.items()},
        "confusions": counts,
        "memory": memory.everything(learned).tolist(),
        "stored_bytes": memory.stored_bytes(part, learned),
    }
    if penalties:
        measured["penalties"] = penalties
    return learned, measured


def _corrected(part: Part, begun: Begun, trainable: Params) -> tuple[Learned, dict[str, float]]:
    """Returns the corrected parameters of an increment, and the numbers of the correction."""
    params, numbers = merge(trainable, begun.context.frozen), {}
    if part.method.correct is not None:
        params, numbers = memory.corrected(part, params, begun.learned, begun.context)
    return begun.learned._replace(params=params), numbers


def _validated(part: Part, begun: Begun, trainable: Params) -> dict[str, jax.Array]:
    """Measures on validation images, f32[] each, what the increment would leave if it ended here.

    Where that chooses no epoch, it is the network's answer alone.
    """
    if part.method.validates == "none":
        params = merge(trainable, begun.context.frozen)
        logits = part.validation.logits(part.fold, params, part.recipe.cut)
        include = begun.context.class_mask[part.validation.labels]
        loss, accuracy = score(logits, part.validation.labels, include, begun.context.class_mask)
        return {"val_loss": loss, "val_accuracy": accuracy}
    learned, _ = _corrected(part, begun, trainable)
    if part.method.fills == "after" and part.method.answers_by[0] is not None:
        learned = memory.stored(part, learned, begun.new, begun.known)
    return _answered(part, begun, learned)


def _answered(part: Part, begun: Begun, learned: Learned) -> dict[str, jax.Array]:
    """Measures on validation images, f32[] each, how the method answers by what an increment left."""
    context = begun.context
    chosen_by = context.new_mask if part.method.validates == "new" else context.class_mask
    return answers.validated(part, learned, chosen_by[part.validation.labels], context.class_mask)


def _fit(parts: list[Part], begun: list[Begun], slot: Slot | None, searching: bool = False) -> list[Fitted]:
    """Trains one part alone, or several class orders of a method side by side."""
    first, fold = parts[0], parts[0].fold
    runs = tuple(map(_run, parts, begun))
    # Below the cut all are one network, so that what is stacked of several runs is not that.
    frozen = runs[0].context.frozen
    runs = tuple(run._replace(context=run.context._replace(frozen=frozen)) for run in runs)
    amounts = [epochs_and_images(fold, part.method, part.order, begun[0].increment) for part in parts]
    stopping = EarlyStopping("max", fold.config.continual.patience, restore=fold.restore)
    if first.method.validates == "none":
        stopping = NEVER
    name = f"{_called(parts)}, increment {begun[0].increment}"
    if len(parts) == 1:
        name += f" {class_names(first, begun[0].increment)}"
    if searching:
        name += f", searching with learning rate {first.choice.learning_rate}, strength {first.choice.strength}"
    images = sum(images for _, images in amounts)
    fits = Job(runs, first.recipe, stopping, amounts[0][0], falling=first.method.falls)
    return job.train(fold, job.Named(name, kind(first)), forms.chosen(fold, fits), images, slot)


def kind(part: Part) -> str:
    """Returns the kind of work that a method's increments are."""
    return f"continual {part.method.name}"


def _called(parts: list[Part]) -> str:
    numbers = ", ".join(str(part.order_index) for part in parts)
    return f"{kind(parts[0])} fold {parts[0].fold.number} order{'s' if len(parts) > 1 else ''} {numbers}"


def _run(part: Part, begun: Begun) -> Run:
    """Returns what the fit needs to know of a part."""
    return Run(
        begun.state, _source(part, begun.learned), begun.context, functools.partial(_drawn, part, begun),
        functools.partial(_validated, part, begun),
    )  # fmt: skip


def _source(part: Part, learned: Learned) -> Source:
    """Returns where batches come from: images or their cached views, and what the loss is told of them."""
    fold, recipe = part.fold, part.recipe
    facts = fold.facts(recipe.objective)._replace(
        stored=pools.in_memory(part, learned.memory), recorded=learned.recorded
    )
    if not cached(fold.config, part.method):
        return Source(facts, fold.images)
    taught = trunk_cache.taught(fold, part.base, recipe.cut) if part.method.teacher == "base" else None
    return Source(facts, trunk_cache.views(fold, part.base, recipe.cut), taught, cached=True)


def _drawn(part: Part, begun: Begun, epoch: int) -> tuple[Pool, jax.Array]:
    """Returns the pool of an epoch and the key of its steps."""
    place = ("continual", part.fold.number, part.order_index, begun.increment, epoch)
    draw_key, step_key = jax.random.split(rng.derive(part.fold.config.seed, *place))
    exemplars = begun.learned.memory
    return pools.pool(part, draw_key, exemplars, begun.known, begun.new_classes, begun.m, begun.reserved), step_key


def class_names(part: Part, increment: int) -> str:
    """Returns the names of an increment's new classes."""
    return " + ".join(part.fold.data.class_names[c] for c in part.new_classes(increment))


def _show(part: Part, begun: Begun, fitted: Fitted, measured: dict) -> float:
    """Returns the test accuracy of a finished increment, and sends it to TensorBoard with the epoch's figures."""
    counts = np.asarray(measured["confusions"][_own_answer(part)])
    accuracy = float(np.trace(counts) / counts.sum())
    tag = f"{part.method.name}/fold{part.fold.number}/order{part.order_index}"
    part.fold.progress.scalars(tag, begun.increment, {**fitted.history[fitted.epoch], "test_accuracy": accuracy})
    return accuracy


def _own_answer(part: Part) -> str:
    own = part.method.answers_by[0]
    return "network" if own is None else own.name
