"""Phase 2: one increment after another, by a method, in a class order; finished increments are not repeated."""

import contextlib
import itertools

import jax
import numpy as np

from fer_jax import methods, protocol
from fer_jax.phases import answers
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.increments import begin, class_names, learn, learn_together
from fer_jax.phases.part import Choice, Learned, Part, effective, epochs_and_images, statistics_of
from fer_jax.runs.checkpoints import Step
from fer_jax.runs.progress import log
from fer_jax.runs.slots import Slot


def increments(fold: Fold, method: methods.Method, order: np.ndarray) -> list[int]:
    """Returns the increments in which a method is trained: all, or the last for a joint model that asks for it."""
    n = protocol.n_increments(len(order), fold.per_increment)
    if method.reads == "all" and fold.config.joint.steps == "last":
        return [n - 1]
    return list(range(n))


def one_for_all(fold: Fold, method: methods.Method) -> bool:
    """Returns True for a method that is the same after any class order, so that it is trained once for all.

    It is a joint model of the last increment alone, which reads all images, and nothing of it may look at which classes
    came last: no search in the increments of each order, no correction, no statistics, no loss of the config's own.
    """
    c, last = fold.config.continual, method.reads == "all" and fold.config.joint.steps == "last"
    method = effective(fold.config, method)
    plain = c.loss == "auto" and not c.terms and method.correct is None and statistics_of(method) is None
    blind = method.validates != "new" and method.teacher != "previous" and not method.anchors
    return last and plain and blind and len(grid(fold, method)) < 2


def work_of_all(fold: Fold, method: methods.Method, orders: dict[int, np.ndarray]) -> tuple[int, int]:
    """Counts the fits of a method on class orders, its searches included, and the images that they pass through."""
    trained = list(orders.values())[: 1 if one_for_all(fold, method) else None]
    every = [[*work(fold, method, order), *_search_work(fold, method, order)] for order in trained]
    return sum(map(len, every)), sum(map(sum, every))


def work(fold: Fold, method: methods.Method, order: np.ndarray) -> list[int]:
    """Counts the images that every increment passes through at most, including every epoch."""
    todo = increments(fold, method, order)
    return [int(np.prod(epochs_and_images(fold, method, order, i))) for i in todo]


def _search_work(fold: Fold, method: methods.Method, order: np.ndarray) -> list[int]:
    """Counts the images that each increment of each candidate of a search passes through at most."""
    if len(grid(fold, method)) < 2:
        return []
    first = [int(np.prod(epochs_and_images(fold, method, order, i))) for i in _first(fold, order)]
    return first * len(grid(fold, method))


def _skip(fold: Fold, method: methods.Method, done: list[int]) -> None:
    fold.progress.skip(f"continual {method.name}", len(done), sum(done))


def run_all(fold: Fold, base: Params, method: methods.Method, orders: dict[int, np.ndarray]) -> dict[int, list[dict]]:
    """Runs all increments of a method on every class order, `continual.side_by_side` of them at a time.

    Returns:
      by an order's number what was measured, one dict an increment.
    """
    if one_for_all(fold, method):
        return _run_once(fold, base, method, orders)
    at_once = fold.config.continual.side_by_side
    if at_once > 1 and jax.process_count() > 1:
        log.info("config.continual.side_by_side: with several processes the class orders go one after another")
        at_once = 1
    if at_once == 1 or not method.trains:
        return {number: run(fold, base, method, number, order) for number, order in orders.items()}
    found: dict[int, list[dict]] = {}
    for numbers in (list(orders)[i : i + at_once] for i in range(0, len(orders), at_once)):
        found |= _run_group(fold, base, method, {number: orders[number] for number in numbers})
    return found


def run(fold: Fold, base: Params, method: methods.Method, order_index: int, order) -> list[dict]:
    """Runs all increments of a method on one class order, resuming after the last finished one.

    Returns:
      what was measured, one dict an increment.
    """
    part, tried = _chosen(fold, base, method, order_index, order)
    todo = increments(fold, part.method, order)
    with fold.slot(method.name, f"order{order_index}") as slot:
        done = slot.steps.latest(part.saved_like())
        measured = done.meta["steps"] if done else []
        _skip(fold, method, work(fold, part.method, order)[: len(measured)])
        learned, before = _where(part, done)
        for increment in todo[len(measured) :]:
            learned, found = learn(part, learned, increment, slot)
            measured.append(_with_start(found, before if not measured else None, part.choice, tried))
            slot.steps.save(increment, part.saved(learned), {"steps": measured})
        slot.finish()
    return measured


def _run_once(fold: Fold, base: Params, method: methods.Method, orders: dict[int, np.ndarray]):
    """As `run_all` for a joint model of the last increment: the same for all orders, that of the first one drawn."""
    p = fold.config.protocol
    drawn = protocol.class_orders(fold.n_classes - fold.n_base, p.n_orders, p.order_seed)
    part, tried = _chosen(fold, base, method, 0, drawn[0])
    (increment,), learned, measured, found = increments(fold, part.method, drawn[0]), None, [], {}
    for number, order in orders.items():
        of_order = Part(fold, base, part.method, number, order)
        with fold.slot(method.name, f"order{number}") as slot:
            done = slot.steps.latest(part.saved_like())
            if done and learned is None:
                _skip(fold, method, work(fold, part.method, order))
            elif learned is None:
                learned, before = _where(part, None)
                learned, step = learn(part, learned, increment, slot)
                step["seconds"] /= len(orders)  # so that all together took what it took
                measured = [_with_start(step, before, part.choice, tried)]
            if done:
                learned, measured = part.restored(done.state), done.meta["steps"]
            else:
                measured = [{**step, "class": class_names(of_order, increment)} for step in measured]
                slot.steps.save(increment, part.saved(learned), {"steps": measured})
            slot.finish()
        found[number] = measured
    return found


def _run_group(fold: Fold, base: Params, method: methods.Method, orders: dict[int, np.ndarray]):
    """As `run` for each of some orders, side by side; they go on from the last increment that all have finished."""
    chosen = [_chosen(fold, base, method, number, order) for number, order in orders.items()]
    parts = [part for part, _ in chosen]
    todo = increments(fold, parts[0].method, parts[0].order)
    numbers = "+".join(map(str, orders))
    with contextlib.ExitStack() as stack:
        slots = [stack.enter_context(fold.slot(method.name, f"order{number}")) for number in orders]
        shared = stack.enter_context(fold.slot(method.name, f"orders{numbers}"))
        done = _last_of_all(slots, parts)
        measured = [list(one.meta["steps"]) if one else [] for one in done]
        at = len(measured[0])
        for part in parts:
            _skip(fold, method, work(fold, part.method, part.order)[:at])
        learned, before = zip(*map(_where, parts, done), strict=True)
        for increment in todo[at:]:
            learned, found = learn_together(parts, list(learned), increment, shared)
            for i, (part, tried) in enumerate(chosen):
                measured[i].append(_with_start(found[i], before[i] if not measured[i] else None, part.choice, tried))
                slots[i].steps.save(increment, part.saved(learned[i]), {"steps": measured[i]})
        for slot in (*slots, shared):
            slot.finish()
    return dict(zip(orders, measured, strict=True))


def _last_of_all(slots: list[Slot], parts: list[Part]) -> list[Step | None]:
    """The last step that all have finished. One that is ahead goes back: all were killed while they saved, or another
    one's steps were taken away."""
    while True:
        done = [slot.steps.latest(part.saved_like()) for slot, part in zip(slots, parts, strict=True)]
        numbers = [-1 if one is None else one.number for one in done]
        if min(numbers) == max(numbers):
            return done
        for slot in slots:
            slot.steps.set_aside_after(min(numbers), "is ahead of another class order's that is trained beside it")


def _chosen(fold: Fold, base: Params, method: methods.Method, order_index: int, order) -> tuple[Part, list[dict]]:
    """The part with the settings that a search chose, and what it tried."""
    method = effective(fold.config, method)
    choice, tried = search(fold, base, method, order_index, order)
    return Part(fold, base, method, order_index, order, choice), tried


def _where(part: Part, done: Step | None) -> tuple[Learned, dict | None]:
    """What the next increment starts from, and how the base model answers if that is the first."""
    if done:
        return part.restored(done.state), None
    learned = begin(part)
    return learned, answers.confusions(part, learned, part.fold.base_mask())[0]


def _with_start(found: dict, before: dict | None, choice: Choice, tried: list[dict]) -> dict:
    """What was measured, of a first increment with the base model's answers and the choice of settings."""
    if before is None:
        return found
    search = {
        "learning_rate": choice.learning_rate,
        "strength": choice.strength,
        "tried": tried,
        "seconds": sum(row["seconds"] for row in tried),
    }
    return {**found, "base_confusions": before, "search": search}


def grid(fold: Fold, method: methods.Method) -> list[Choice]:
    """Returns the candidates of a search; none if there is nothing to choose."""
    s = fold.config.search
    if not method.trains or not (s.learning_rates or s.strengths):
        return []
    rates = tuple(s.learning_rates) or (None,)
    usual = method.strength
    strengths = tuple(factor * usual for factor in s.strengths) if usual is not None and s.strengths else (None,)
    return list(itertools.starmap(Choice, itertools.product(rates, strengths)))


def search(
    fold: Fold, base: Params, method: methods.Method, order_index: int, order: np.ndarray
) -> tuple[Choice, list[dict]]:
    """Searches the settings of a method that do best in the first increments of an order, on validation images.

    No class that comes later is looked at, and no test image. Equal candidates: the first.

    Returns:
      the choice, and a row a candidate with its mean validation accuracy on the seen classes.
    """
    candidates = grid(fold, method)
    if len(candidates) < 2:
        return (candidates[0] if candidates else Choice()), []
    first = _first(fold, order)
    with fold.slot(method.name, f"order{order_index}_search") as slot:
        done = slot.steps.latest(Part(fold, base, method, order_index, order).saved_like())
        rows, values, spent = (done.meta[name] for name in ("tried", "values", "seconds")) if done else ([], [], 0.0)
        _skip(fold, method, _search_work(fold, method, order)[: len(rows) * len(first) + len(values)])
        for candidate in candidates[len(rows) :]:
            part = Part(fold, base, method, order_index, order, candidate)
            learned = part.restored(done.state) if values else begin(part)
            for increment in first[len(values) :]:
                learned, found = learn(part, learned, increment, slot, searching=True)
                values.append(found["validation_accuracy"])
                spent += found["seconds"]
                at = len(rows) * len(first) + increment
                if increment == first[-1]:
                    accuracy = float(np.mean(values))
                    rows.append({**candidate._asdict(), "validation_accuracy": accuracy, "seconds": spent})
                    values, spent = [], 0.0
                slot.steps.save(at, part.saved(learned), {"tried": rows, "values": values, "seconds": spent})
        slot.finish()
    best = max(range(len(rows)), key=lambda i: rows[i]["validation_accuracy"])
    return Choice(rows[best]["learning_rate"], rows[best]["strength"]), rows


def _first(fold: Fold, order: np.ndarray) -> range:
    return range(min(fold.config.search.increments, protocol.n_increments(len(order), fold.per_increment)))
