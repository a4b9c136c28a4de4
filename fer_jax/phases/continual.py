"""Phase 2: one increment after another, by a method, in a class order; what is done already is not done again."""

import itertools

import numpy as np

from fer_jax import methods, protocol
from fer_jax.phases.increments import Choice, Increments, effective, epochs_and_images
from fer_jax.phases.setup import Params, Setup


def increments(setup: Setup, method: methods.Method, order: np.ndarray) -> list[int]:
    """The increments that a method is trained in: all, or the last for a joint model that asks for that."""
    n = protocol.n_increments(len(order), setup.per_increment)
    if method.reads == "all" and setup.config.joint.steps == "last":
        return [n - 1]
    return list(range(n))


def work(setup: Setup, method: methods.Method, order: np.ndarray) -> list[int]:
    """Images that every increment passes through at most, epochs counted."""
    todo = increments(setup, method, order)
    return [int(np.prod(epochs_and_images(setup, method, order, i))) for i in todo]


def search_work(setup: Setup, method: methods.Method, order: np.ndarray) -> int:
    """Images that the search for a method's settings passes through at most."""
    first = [int(np.prod(epochs_and_images(setup, method, order, i))) for i in _first(setup, order)]
    return len(grid(setup, method)) * sum(first)


def run(setup: Setup, base: Params, method: methods.Method, order_index: int, order) -> list[dict]:
    """All increments of a method on one class order, going on after the last finished one.

    Returns:
      what was measured, one dict an increment.
    """
    method = effective(setup.config, method)
    choice, tried = search(setup, base, method, order_index, order)
    todo = increments(setup, method, order)
    measured: list[dict] = []
    with setup.cell(method.name, f"order{order_index}") as cell:
        run = Increments(setup, base, method, order_index, order, cell, choice)
        done = cell.steps.latest(run.saved_like())
        if done:
            measured = done.meta["steps"]
            setup.progress.skip(sum(work(setup, method, order)[: len(measured)]))
        if len(measured) == len(todo):
            return measured
        learned = run.restored(done.state) if done else run.begin()
        before = run.confusions(learned, setup.base_mask()) if not measured else None
        for increment in todo[len(measured) :]:
            learned, found = run.learn(learned, increment)
            if not measured:
                found["base_confusions"] = before
                found["search"] = {"learning_rate": choice.learning_rate, "strength": choice.strength, "tried": tried}
            measured.append(found)
            cell.steps.save(increment, run.saved(learned), {"steps": measured})
        cell.finish()
    return measured


def grid(setup: Setup, method: methods.Method) -> list[Choice]:
    """The candidates of a search; none where there is nothing to choose."""
    s = setup.config.search
    if method.loss is None or not (s.learning_rates or s.strengths):
        return []
    rates = tuple(s.learning_rates) or (None,)
    usual = method.strength
    strengths = tuple(factor * usual for factor in s.strengths) if usual is not None and s.strengths else (None,)
    return list(itertools.starmap(Choice, itertools.product(rates, strengths)))


def search(
    setup: Setup, base: Params, method: methods.Method, order_index: int, order: np.ndarray
) -> tuple[Choice, list[dict]]:
    """The settings of a method that do best in the first increments of an order, on validation images.

    No class that comes later is looked at, and no test image. Equal candidates: the first.

    Returns:
      the choice, and a row a candidate with its mean validation accuracy on the seen classes.
    """
    candidates = grid(setup, method)
    if len(candidates) < 2:
        return (candidates[0] if candidates else Choice()), []
    with setup.cell(method.name, f"order{order_index}_search") as cell:
        mark = {"finished": np.zeros((), np.int32)}
        done = cell.steps.latest(mark)
        if done:
            setup.progress.skip(search_work(setup, method, order))
            rows = done.meta["tried"]
        else:
            rows = []
            for candidate in candidates:
                cell.rest()
                run = Increments(setup, base, method, order_index, order, None, candidate)
                learned, values = run.begin(), []
                for increment in _first(setup, order):
                    learned, found = run.learn(learned, increment)
                    values.append(found["history"][found["epoch"]]["val_accuracy"])
                rows.append({**candidate._asdict(), "validation_accuracy": float(np.mean(values))})
            cell.steps.save(0, mark, {"tried": rows})
            cell.finish()
    best = max(range(len(rows)), key=lambda i: rows[i]["validation_accuracy"])
    return Choice(rows[best]["learning_rate"], rows[best]["strength"]), rows


def _first(setup: Setup, order: np.ndarray) -> range:
    return range(min(setup.config.search.increments, protocol.n_increments(len(order), setup.per_increment)))
