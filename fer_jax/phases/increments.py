"""The step from one increment to the next: what is set up, trained, corrected, kept and measured.

One part alone (`learn`), or several parts of the same method side by side (`learn_together`).
"""

import functools
import time
from typing import NamedTuple

import jax
import numpy as np

from fer_jax import methods, protocol, rng
from fer_jax.models.network import merge
from fer_jax.phases import answers as answering
from fer_jax.phases import memory as keeping
from fer_jax.phases import pools as reading
from fer_jax.phases import trunk_cache as feature_cache
from fer_jax.phases.fold import Params
from fer_jax.phases.part import Learned, Part, context_for, epochs_and_images
from fer_jax.runs.slots import Slot
from fer_jax.training import epoch as training
from fer_jax.training import fit as fitting
from fer_jax.training import together as side_by_side


class Begun(NamedTuple):
    """An increment that is set up for its training.

    learned: with what the memory takes in before it.
    known: bool[C], new: bool[C]; new_classes: by number; m: exemplars of each old class.
    reserved: bool[N], images that are not trained on, or None.
    state, frozen: what training starts from; None for a method without training.
    """

    increment: int
    learned: Learned
    known: np.ndarray
    new: np.ndarray
    new_classes: list[int]
    m: int
    context: methods.Context
    reserved: jax.Array | None = None
    state: training.TrainState | None = None
    frozen: Params | None = None


def begin(part: Part) -> Learned:
    """The base model, and of the base classes what the method keeps."""
    base = part.setup.base_mask()
    return keeping.anchored(part, keeping.kept(part, part.blank(), base, base), base, base)


def learn(
    part: Part, learned: Learned, increment: int, cell: Slot | None = None, searching: bool = False
) -> tuple[Learned, dict]:
    """One increment: what goes on to the next, and what was measured.

    Args:
      cell: where the fit in progress is kept; None keeps nothing.
      searching: it is one that a search tries; no test image is answered.
    """
    began = time.perf_counter()
    begun = _set_up(part, learned, increment)
    fitted = None if part.method.loss is None else _fit(part, begun, cell, searching)
    learned, measured = _finished(part, begun, fitted, tested=not searching)
    measured["seconds"] = time.perf_counter() - began
    if fitted and searching:
        part.setup.progress.finish()
    elif fitted:
        accuracy = _show(part, begun, fitted, measured)
        known = int(begun.known.sum())
        part.setup.progress.finish(f"epoch {fitted.epoch + 1}, {known} classes, test accuracy {accuracy:.3f}")
    return learned, measured


def learn_together(
    parts: list[Part], learned: list[Learned], increment: int, cell: Slot
) -> tuple[list[Learned], list[dict]]:
    """One increment of several class orders of one method, trained side by side; as `learn` for each.

    What each took, `seconds`, is its share of what all took.
    """
    began = time.perf_counter()
    begun = [_set_up(part, one, increment) for part, one in zip(parts, learned, strict=True)]
    fitted = _fit_together(parts, begun, cell)
    done = [_finished(*each) for each in zip(parts, begun, fitted, strict=True)]
    for _, measured in done:
        measured["seconds"] = (time.perf_counter() - began) / len(parts)
    accuracies = [_show(*each, one[1]) for *each, one in zip(parts, begun, fitted, done, strict=True)]
    parts[0].setup.progress.finish(
        f"{int(begun[0].known.sum())} classes, test accuracy {np.mean(accuracies):.3f} "
        f"({min(accuracies):.3f} to {max(accuracies):.3f})"
    )
    return [one for one, _ in done], [measured for _, measured in done]


def _set_up(part: Part, learned: Learned, increment: int) -> Begun:
    setup, method = part.setup, part.method
    new_classes, m = part.new_classes(increment), setup.exemplars(increment)
    known = protocol.class_mask(part.steps, increment + 1)
    old = protocol.class_mask(part.steps, increment)
    new = known & ~old
    if method.fills == "before":
        learned = keeping.kept(part, learned, new, known)
    teacher = old if method.teacher == "previous" else setup.base_mask()
    context = context_for(setup, known, increment, teacher, new, part.choice, method.strength, learned.anchor)
    begun = Begun(increment, learned, known, new, new_classes, m, context)
    if method.loss is None:
        return begun
    state, frozen = part.recipe.init(part.start(learned.params, increment))
    reserved = reading.reserve(part, learned.memory, new_classes, m)
    return begun._replace(reserved=reserved, state=state, frozen=frozen)


def _finished(part: Part, begun: Begun, fitted: fitting.Fitted | None, tested: bool = True) -> tuple[Learned, dict]:
    """After the training: what is corrected, kept and measured."""
    learned, correction = begun.learned, {}
    if fitted is not None:
        learned, correction = _corrected(part, begun, fitted.state.trainable)
        learned = learned._replace(opt_state=fitted.state.opt_state)
    if part.method.fills == "after":
        learned = keeping.kept(part, learned, begun.new, begun.known)
    learned = keeping.anchored(part, learned, begun.new, begun.known)
    measured = {
        "increment": begun.increment,
        "class": _names(part, begun),
        "exemplars_per_class": begun.m,
        "epoch": fitted.epoch if fitted else None,
        "history": fitted.history if fitted else [],
        "correction": {name: float(number) for name, number in correction.items()},
        "confusions": answering.confusions(part, learned, begun.known) if tested else {},
        "memory": np.asarray(learned.memory.index).tolist(),
    }
    return learned, measured


def _corrected(part: Part, begun: Begun, trainable: Params) -> tuple[Learned, dict[str, float]]:
    """With the parameters of an increment, corrected, and the numbers of the correction."""
    params, numbers = merge(trainable, begun.frozen), {}
    if part.method.correct is not None:
        params, numbers = keeping.corrected(part, params, begun.reserved, begun.context)
    return begun.learned._replace(params=params), numbers


def _validated(part: Part, begun: Begun, trainable: Params) -> tuple[jax.Array, jax.Array]:
    """Validation loss and accuracy, f32[], of what the increment would leave if it ended here."""
    learned, _ = _corrected(part, begun, trainable)
    if part.method.fills == "after" and part.method.classifiers[0] != "network":
        learned = keeping.kept(part, learned, begun.new, begun.known)
    context = begun.context
    chosen_by = context.new_mask if part.method.validates == "new" else context.class_mask
    return answering.validated(part, learned, chosen_by[part.validation.labels], context.class_mask)


def _fit(part: Part, begun: Begun, cell: Slot | None, searching: bool) -> fitting.Fitted:
    setup, recipe, context = part.setup, part.recipe, begun.context
    arrays = (*_images(part), *_notes(part, begun), *_taught(part))

    def train_epoch(state, epoch):
        pool, key = _drawn(part, begun, epoch)
        return training.run_epoch(
            state, begun.frozen, _teacher(part, begun), arrays, pool, context, key, recipe,
            validate=functools.partial(_validated, part, begun),
        )  # fmt: skip

    max_epochs, images_an_epoch = epochs_and_images(setup, part.method, part.order, begun.increment)
    name = (
        f"continual {part.method.name} fold {setup.fold} order {part.order_index}, increment {begun.increment} "
        f"{_names(part, begun)}"
    )
    if searching:
        name += f", searching with learning rate {part.choice.learning_rate}, strength {part.choice.strength}"
    setup.progress.begin(name, max_epochs, images_an_epoch)
    return fitting.fit(
        begun.state,
        train_epoch,
        _stopping(part),
        max_epochs,
        setup.progress.epoch,
        cell.resume(name, begun.state) if cell else None,
        functools.partial(cell.save, name) if cell else lambda point: None,
    )


def _fit_together(parts: list[Part], begun: list[Begun], cell: Slot) -> list[fitting.Fitted]:
    first, setup, recipe = parts[0], parts[0].setup, parts[0].recipe
    # What differs from run to run.
    each = side_by_side.Runs(
        teacher=side_by_side.stack([_teacher(*one) for one in zip(parts, begun, strict=True)])
        if first.method.teacher == "previous" else None,
        notes=side_by_side.stack([_notes(*one) for one in zip(parts, begun, strict=True)]),
        context=side_by_side.stack([one.context for one in begun]),
    )  # fmt: skip
    program = side_by_side.Program(recipe, begun[0].frozen, first.base, *_images(first), _taught(first))
    amounts = [epochs_and_images(setup, part.method, part.order, begun[0].increment) for part in parts]
    numbers = ", ".join(str(part.order_index) for part in parts)
    name = f"continual {first.method.name} fold {setup.fold} orders {numbers}, increment {begun[0].increment}"
    setup.progress.begin(name, amounts[0][0], sum(images_an_epoch for _, images_an_epoch in amounts))
    states = side_by_side.stack([one.state for one in begun])

    def draw(run: int, epoch: int):
        return _drawn(parts[run], begun[run], epoch)

    def validate(run: int, trainable: Params):
        return _validated(parts[run], begun[run], trainable)

    return side_by_side.fit(
        program, states, each, draw, validate, _stopping(first), amounts[0][0],
        setup.progress.epoch, cell.resume(name, states), functools.partial(cell.save, name),
    )  # fmt: skip


def _images(part: Part) -> tuple[np.ndarray | jax.Array, jax.Array]:
    """Images or their cached views, and labels."""
    images = feature_cache.views(part.setup, part.base) if part.recipe.cached else part.setup.images
    return images, part.setup.labels


def _notes(part: Part, begun: Begun) -> tuple[jax.Array, ...]:
    """What a loss is told beside."""
    recorded = () if begun.learned.recorded is None else (begun.learned.recorded,)
    return reading.in_memory(part, begun.learned.memory), *recorded


def _taught(part: Part) -> tuple[jax.Array, ...]:
    """The base model's logits of the cached views, where they stand for the teacher."""
    return (feature_cache.taught(part.setup, part.base),) if part.recipe.taught else ()


def _teacher(part: Part, begun: Begun) -> Params:
    return begun.learned.params if part.method.teacher == "previous" else part.base


def _drawn(part: Part, begun: Begun, epoch: int) -> tuple[training.Pool, jax.Array]:
    """The pool of an epoch and the key of its steps."""
    key = rng.derive(part.setup.config.seed, "continual", part.setup.fold, part.order_index, begun.increment)
    draw_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
    memory = begun.learned.memory
    return reading.pool(part, draw_key, memory, begun.known, begun.new_classes, begun.m, begun.reserved), step_key


def _stopping(part: Part) -> fitting.EarlyStopping:
    return fitting.EarlyStopping("max", part.setup.config.continual.patience, restore=part.setup.restore)


def _names(part: Part, begun: Begun) -> str:
    return " + ".join(part.setup.data.class_names[c] for c in begun.new_classes)


def _show(part: Part, begun: Begun, fitted: fitting.Fitted, measured: dict) -> float:
    """The test accuracy of a finished increment; it goes to TensorBoard with the epoch's other figures."""
    counts = np.asarray(measured["confusions"][part.method.classifiers[0]])
    accuracy = float(np.trace(counts) / counts.sum())
    tag = f"{part.method.name}/fold{part.setup.fold}/order{part.order_index}"
    part.setup.progress.scalars(tag, begun.increment, {**fitted.history[fitted.epoch], "test_accuracy": accuracy})
    return accuracy
