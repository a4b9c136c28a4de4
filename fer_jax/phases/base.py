"""Phase 1, the base task: the head alone, then the network from a cut, on the base classes."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import methods, rng
from fer_jax.data import residency
from fer_jax.errors import UserError
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.network import merge
from fer_jax.phases.fold import Encoded, Params, Setup
from fer_jax.runs.slots import Slot
from fer_jax.training import epoch as training
from fer_jax.training import fit as fitting

CALIBRATION_IMAGES = 256


def work(setup: Setup) -> int:
    """Images that a fold's base task passes through at most, epochs counted."""
    return sum(_work(setup, stage) for stage in ("head", "body"))


def _work(setup: Setup, stage: str) -> int:
    return setup.config.basic[stage].max_epochs * len(setup.train_rows(setup.base_mask()))


def initial_params(setup: Setup) -> Params:
    """The network before training: a fresh head on published weights, batch statistics included, or on fresh ones.

    Fresh weights get their batch statistics from training images, since the method never trains them.
    """
    seed = setup.config.seed
    key, size = rng.derive(seed, "init", setup.fold), setup.images.shape[1]
    if setup.weights is not None:
        return setup.network.init(key, size, setup.weights.params)
    params = setup.network.init(key, size)
    rows = setup.train_rows(setup.base_mask())
    picked = jax.random.permutation(rng.derive(seed, "calibrate", setup.fold), jnp.asarray(rows))
    images = residency.take(setup.images, picked[:CALIBRATION_IMAGES]).astype(jnp.float32) / 255.0
    network = setup.network
    backbone = calibrate_batch_norm(network.backbone, params["backbone"], network.scale_input(images))
    return {**params, "backbone": backbone}


def run(setup: Setup) -> tuple[Params, dict]:
    """Trains the base model of a fold, or restores it; returns its parameters and what was measured.

    Raises:
      UserError: the model that is there was trained from other weights.
    """
    sha256 = setup.weights.sha256 if setup.weights else None
    stages = [stage for stage in ("head", "body") if setup.config.basic[stage].max_epochs]
    with setup.slot("basic") as cell:
        like = jax.eval_shape(lambda: setup.network.init(jax.random.key(0), setup.images.shape[1]))
        done = cell.steps.latest({"params": like})
        measured = done.meta if done else {"weights_sha256": sha256, "stages": {}, "seconds": 0.0}
        if measured["weights_sha256"] != sha256:
            raise UserError(
                f"config.model.weights is a file of sha256 {sha256}; the run in {setup.checkpoints.parent} began "
                f"with {measured['weights_sha256']}, it may go on with that file only"
            )
        setup.progress.skip(sum(_work(setup, stage) for stage in measured["stages"]))
        params = done.state["params"] if done else initial_params(setup)
        for number, stage in enumerate(stages):
            if stage in measured["stages"]:
                continue
            began = time.perf_counter()
            params, fitted = _train_stage(setup, params, stage, cell)
            measured["stages"][stage] = {"epoch": fitted.epoch, "history": fitted.history}
            if stage == stages[-1]:
                measured |= _evaluate(setup, params)
            measured["seconds"] += time.perf_counter() - began
            cell.steps.save(number, {"params": params}, measured)
        cell.finish()
    return params, measured


def _train_stage(setup: Setup, params: Params, stage: str, cell: Slot) -> tuple[Params, fitting.Fitted]:
    basic = setup.config.basic
    recipe = training.Recipe(
        network=setup.network,
        cut=basic[stage].cut,
        loss=methods.cross_entropy,
        batch_size=basic.batch_size,
        learning_rate=basic[stage].learning_rate,
        l2=basic.l2,
        augmentation=setup.augmentation,
    )
    state, frozen = recipe.init(params)
    mask = jnp.asarray(setup.base_mask())
    context = methods.Context(mask, mask, mask, jnp.float32(0), jnp.float32(1))
    pool = jnp.asarray(setup.train_rows(setup.base_mask()))
    held = setup.split.validation
    validation = Encoded.of(setup, params, held[setup.base_mask()[setup.data.label[held]]], recipe.cut)
    everything = jnp.ones(len(validation.labels), bool)
    key = rng.derive(setup.config.seed, "basic", stage, setup.fold)

    def validate(trainable):
        current = merge(trainable, frozen)
        logits = validation.logits(setup, current, recipe.cut)
        loss, accuracy = training.score(logits, validation.labels, everything, mask)
        return loss + training.penalty(current, basic.l2), accuracy

    def train_epoch(state, epoch):
        epoch_key = jax.random.fold_in(key, epoch)
        return training.run_epoch(state, frozen, {}, setup.arrays, pool, context, epoch_key, recipe, validate=validate)

    stopping = fitting.EarlyStopping("min", basic.patience, basic.min_delta, setup.restore)
    unit = f"basic fold {setup.fold}, {stage}"
    setup.progress.begin(unit, basic[stage].max_epochs, len(pool))

    def on_epoch(epoch, row):
        setup.progress.epoch(epoch, row)
        setup.progress.scalars(f"basic/fold{setup.fold}/{stage}", epoch, row)

    resume, keep = cell.resume(unit, state), functools.partial(cell.save, unit)
    fitted = fitting.fit(state, train_epoch, stopping, basic[stage].max_epochs, on_epoch, resume, keep)
    row = fitted.history[fitted.epoch]
    setup.progress.finish(f"epoch {fitted.epoch + 1}, validation accuracy {row['val_accuracy']:.3f}")
    return merge(fitted.state.trainable, frozen), fitted


def _evaluate(setup: Setup, params: Params) -> dict:
    mask = setup.base_mask()
    found = {}
    for name, rows in (("validation", setup.split.validation), ("test", setup.split.test)):
        rows = rows[mask[setup.data.label[rows]]]
        encoded = Encoded.of(setup, params, rows, "head")
        logits = encoded.logits(setup, params, "head")
        counts = np.asarray(training.confusion(logits, encoded.labels, jnp.asarray(mask)))
        found[f"{name}_accuracy"] = float(np.trace(counts) / counts.sum())
        found[f"{name}_confusion"] = counts.tolist()
    return found
