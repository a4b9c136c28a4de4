"""The work of a whole run before it begins, by kind: what `runs.remaining` needs to say how long it takes."""

import functools

import numpy as np

from fer_jax import methods
from fer_jax.config import names
from fer_jax.models.counting import forward
from fer_jax.objectives import Objective
from fer_jax.phases import base, continual, few_shot
from fer_jax.phases.fold import Fold
from fer_jax.phases.part import cached, effective
from fer_jax.runs.remaining import Work

BACKWARD = 2.0  # forward passes that the gradient costs
# Measured in the quickstart on a CPU, where nothing else is known of a kind that has not begun.
AUGMENTATION = 2300  # multiply-adds that an augmented pixel takes as long as
FURTHER_VIEW = 2.0  # times the first one: contrastive terms compare all rows
BESIDE = 1.5  # times the forward passes between two fits: statistics, transfers and saves


def planned(config, folds: dict[int, Fold], orders: dict[int, np.ndarray]) -> dict[str, Work]:
    """Returns the work of every kind that a run has at most, from nothing."""
    found: dict[str, Work] = {}

    def add(kind: str, work: Work) -> None:
        found[kind] = found[kind] + work if kind in found else work

    # The published code goes on with one fold only, known after the base task; folds weigh nearly the same.
    later = list(folds)[: 1 if config.protocol.name == "published" else None]
    asked = [names.method(name).base for name in config.methods]
    asked += [config.few_shot.base] if config.few_shot.shots else []
    for fold in folds.values():
        bases = [fold, *(base.with_objective(fold, one) for one in asked if fold.number in later)]
        for one in {one.basic: one for one in bases}.values():
            for stage in base.schedule(one.config):
                add(base.kind(one, stage), _of_stage(one, stage))
    for fold in map(folds.get, later):
        for name in config.methods:
            add(f"continual {name}", _of_method(fold, names.method(name), orders))
        if config.few_shot.shots:
            add("few-shot", _of_few_shots(fold))
    return found


def _of_stage(fold: Fold, stage: base.Stage) -> Work:
    objective = base.objective_at(fold.config, stage)
    cost = _cost(fold, stage.cut, objective)
    return Work(1, base.work(fold, stage), cost, family=f"basic {stage.cut} {objective.views}")


def _of_method(fold: Fold, method: methods.Method, orders: dict[int, np.ndarray]) -> Work:
    fits, images = continual.work_of_all(fold, method, orders)
    own, stored = effective(fold.config, method), fold.n_classes * fold.exemplars(0)
    readers = sum(one is not None and one.reads_stored for one in own.answers_by)
    mirrored, validation, test = 1 + own.mirrored, len(fold.split.validation), len(fold.split.test)
    if not own.trains:
        return Work(fits, images, overhead=BESIDE * (fold.longest_class + len(own.answers_by) * test))
    settings = fold.config[own.settings]
    cut, read = settings.cut, cached(fold.config, own)
    # Held-out images have their trunk run once; classifiers of exemplars read the features of all of them anew.
    passes = validation * settings.max_epochs + fold.longest_class + mirrored * len(own.answers_by) * test
    overhead = BESIDE * (passes * _above(fold, cut) + mirrored * readers * stored)
    cost = _cost(fold, cut, own.objective, read, own.teacher != "none" and not (read and own.teacher == "base"))
    together = 1 if continual.one_for_all(fold, method) else min(fold.config.continual.side_by_side, len(orders))
    return Work(fits, images, cost, overhead, f"{own.settings} {cut} {own.objective.views}", together)


def _of_few_shots(fold: Fold) -> Work:
    f = fold.config.few_shot
    fits, images = few_shot.fits(fold), sum(few_shot.work(fold))
    if not images:
        return Work(fits, 0, overhead=fold.longest_class)
    cut, read = fold.config.continual.cut, fold.config.feature_cache.views > 0
    objective = names.objective(f.objective, f.terms)
    overhead = len(fold.split.validation) * f.max_epochs + len(fold.split.test)
    return Work(fits, images, _cost(fold, cut, objective, read, not read), overhead * _above(fold, cut), "few-shot")


def _cost(fold: Fold, cut: str, objective: Objective, read: bool = False, taught: bool = False) -> float:
    """Returns what one image of a training step costs, in forward passes of the whole network.

    Args:
      read: whether the trunk's output is cached.
      taught: whether a teacher answers, too.
    """
    above = _above(fold, cut)
    step = (1 + BACKWARD) * above + (above if taught else 0)
    if not read:
        pixels, passed = fold.images.shape[1] ** 2, _counted(fold.network, fold.images.shape[1], "head")
        step += 1 - above + (AUGMENTATION * pixels / max(sum(passed), 1) if fold.augmentation else 0)
    return step * (1 + FURTHER_VIEW * (objective.views - 1))


def _above(fold: Fold, cut: str) -> float:
    """Returns the share of the forward pass above a cut."""
    if cut == "input":
        return 1.0
    below, above = _counted(fold.network, fold.images.shape[1], cut)
    return above / max(below + above, 1)


_counted = functools.cache(forward)
