"""Phase 1, the base task: an objective with a schedule, the head alone and then the network from a cut.

Before them the network may be pretrained on the same images by another objective, such as one without labels.
"""

import dataclasses
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax import rng
from fer_jax.config import names
from fer_jax.data import residency
from fer_jax.errors import UserError
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.network import merge
from fer_jax.objectives import Context, Objective, WeightDecay
from fer_jax.phases import job
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.runs.slots import Slot
from fer_jax.training.fit import NEVER, EarlyStopping, Fitted, Job, Run
from fer_jax.training.scores import confusion, score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe

CALIBRATION_IMAGES = 256
HIDDEN_KERNELS = r"head/hidden\d+/kernel"


class Stage(NamedTuple):
    """A part of the schedule: what is trained, how fast and how long, and by which objective if not by the task's."""

    name: str
    cut: str
    learning_rate: float
    max_epochs: int
    objective: str | None = None


def schedule(config) -> list[Stage]:
    """Returns the stages of the base task that train anything, in order."""
    stages = [Stage(name, **config.basic[name]) for name in ("pretraining", "head", "body")]
    return [stage for stage in stages if stage.max_epochs]


def objective_of(config) -> Objective:
    """Returns what the base task minimises: the config's objective and terms, and the weight decay of the head.

    Raises:
      UserError: the config names something that does not exist, or a term that needs a teacher.
    """
    basic = config.basic
    objective = _without_teacher(names.objective(basic.objective, basic.terms), "config.basic")
    objective = names.balanced(objective, basic.balance)
    if not basic.l2:
        return objective
    return objective.replace(penalties={**objective.penalties, "l2": WeightDecay(HIDDEN_KERNELS, basic.l2)})


def objectives_of(config) -> list[Objective]:
    """Returns the objectives of all stages of the base task; raises as `objective_of`."""
    return [objective_of(config), *(_pretraining(stage) for stage in schedule(config) if stage.objective)]


def objective_at(config, stage: Stage) -> Objective:
    """Returns what a stage minimises; raises as `objective_of`."""
    return _pretraining(stage) if stage.objective else objective_of(config)


def _pretraining(stage: Stage) -> Objective:
    return _without_teacher(names.objective(stage.objective), "config.basic.pretraining")


def _without_teacher(objective: Objective, where: str) -> Objective:
    for name, term in objective.terms.items():
        if term.needs_teacher:
            raise UserError(
                f"the loss term {name} needs a teacher, and the base task has none; {where} may not have it"
            )
    return objective


def folder(config: ml_collections.ConfigDict, objective: str) -> str:
    """Returns the folder of the base model of an objective: `basic` if that is the config's, or "auto"."""
    own = objective == "auto" or (objective == config.basic.objective and not config.basic.terms)
    return "basic" if own else f"basic-{objective}"


def with_objective(fold: Fold, objective: str) -> Fold:
    """Returns the fold with a base objective by name; the fold itself if that is the config's, or "auto"."""
    basic = folder(fold.config, objective)
    if basic == "basic":
        return fold
    config = ml_collections.ConfigDict(fold.config.to_dict())
    config.basic.update(objective=objective, terms=())
    return dataclasses.replace(fold, config=ml_collections.FrozenConfigDict(config), basic=basic)


def kind(fold: Fold, stage: Stage) -> str:
    """Returns the kind of work that a stage is; of a base model that several runs share it is the same."""
    return f"basic {fold.config.basic.objective} {stage.name}"


def work(fold: Fold, stage: Stage) -> int:
    """Returns the images that a stage passes through at most, epochs counted."""
    return stage.max_epochs * len(fold.train_rows(fold.base_mask()))


def initial_params(fold: Fold) -> Params:
    """Returns the network before training: a fresh head on pretrained weights and their statistics, or on fresh ones.

    Fresh weights get their batch statistics from training images, since the method never trains them.
    """
    seed = fold.config.seed
    key, size = rng.derive(seed, "init", fold.number), fold.images.shape[1]
    if fold.weights is not None:
        return fold.network.init(key, size, fold.weights.params)
    params = fold.network.init(key, size)
    rows = fold.train_rows(fold.base_mask())
    picked = jax.random.permutation(rng.derive(seed, "calibrate", fold.number), jnp.asarray(rows))
    images = residency.take(fold.images, picked[:CALIBRATION_IMAGES]).astype(jnp.float32) / 255.0
    network = fold.network
    backbone = calibrate_batch_norm(network.backbone, params["backbone"], network.scale_input(images))
    return {**params, "backbone": backbone}


def run(fold: Fold) -> tuple[Params, dict]:
    """Trains the base model of a fold, or restores it; returns its parameters and what was measured.

    Raises:
      UserError: the model that is there was trained from other weights.
    """
    sha256 = fold.weights.sha256 if fold.weights else None
    stages = schedule(fold.config)
    with fold.slot(fold.basic) as slot:
        like = jax.eval_shape(lambda: fold.network.init(jax.random.key(0), fold.images.shape[1]))
        done = slot.steps.latest({"params": like})
        measured = done.meta if done else {"weights_sha256": sha256, "stages": {}, "seconds": 0.0}
        if measured["weights_sha256"] != sha256:
            raise UserError(
                f"config.model.weights is a file of sha256 {sha256}; the run in {fold.checkpoints.parent} began "
                f"with {measured['weights_sha256']}, it may go on with that file only"
            )
        for stage in stages:
            if stage.name in measured["stages"]:
                fold.progress.skip(kind(fold, stage), 1, work(fold, stage))
        params = done.state["params"] if done else initial_params(fold)
        for number, stage in enumerate(stages):
            if stage.name in measured["stages"]:
                continue
            began = time.perf_counter()
            params, fitted = _train_stage(fold, params, stage, slot)
            measured["stages"][stage.name] = {"epoch": fitted.epoch, "history": fitted.history}
            if stage is stages[-1]:
                measured |= _evaluate(fold, params)
            measured["seconds"] += time.perf_counter() - began
            slot.steps.save(number, {"params": params}, measured)
        slot.finish()
    return params, measured


def _train_stage(fold: Fold, params: Params, stage: Stage, slot: Slot) -> tuple[Params, Fitted]:
    basic = fold.config.basic
    objective = fold.sized(objective_at(fold.config, stage))
    recipe = Recipe(
        network=fold.network,
        cut=stage.cut,
        objective=objective,
        batch_size=basic.batch_size,
        learning_rate=stage.learning_rate,
        augmentation=fold.augmentation,
        spread_by=fold.config.devices.spread_by,
    )
    key = rng.derive(fold.config.seed, "basic", stage.name, fold.number)
    state, frozen = recipe.init(params, rng.derive(fold.config.seed, "heads", stage.name, fold.number))
    context = Context.of_base(jnp.asarray(fold.base_mask()))._replace(frozen=frozen)
    pool = jnp.asarray(fold.train_rows(fold.base_mask()))
    held = fold.split.validation
    validation = Encoded.of(fold, params, held[fold.base_mask()[fold.data.label[held]]], recipe.cut)
    everything, penalty = jnp.ones(len(validation.labels), bool), jax.jit(objective.penalty)

    def validate(trainable):
        logits = validation.logits(fold, merge(trainable, frozen), recipe.cut)
        loss, accuracy = score(logits, validation.labels, everything, context.class_mask)
        return {"val_loss": loss + penalty(trainable, context), "val_accuracy": accuracy}

    def draw(epoch):
        return pool, jax.random.fold_in(key, epoch)

    stopping = NEVER if stage.objective else EarlyStopping("min", basic.patience, basic.min_delta, fold.restore)
    one = Run(state, Source(fold.facts(objective), fold.images), context, draw, validate)
    own = fold.basic.replace("basic-", "basic, ", 1)
    name, tag = f"{own} fold {fold.number}, {stage.name}", f"{fold.basic}/fold{fold.number}/{stage.name}"
    named = job.Named(name, kind(fold, stage), tag)
    (fitted,) = job.train(fold, named, Job((one,), recipe, stopping, stage.max_epochs), len(pool), slot)
    row = fitted.history[fitted.epoch]
    fold.progress.finish(f"epoch {fitted.epoch + 1}, validation accuracy {row['val_accuracy']:.3f}")
    return merge(fitted.state.trainable, frozen), fitted


def _evaluate(fold: Fold, params: Params) -> dict:
    mask = fold.base_mask()
    measured = {}
    for name, rows in (("validation", fold.split.validation), ("test", fold.split.test)):
        rows = rows[mask[fold.data.label[rows]]]
        encoded = Encoded.of(fold, params, rows, "head")
        logits = encoded.logits(fold, params, "head")
        counts = np.asarray(confusion(logits, encoded.labels, jnp.asarray(mask)))
        measured[f"{name}_accuracy"] = float(np.trace(counts) / counts.sum())
        measured[f"{name}_confusion"] = counts.tolist()
    return measured
