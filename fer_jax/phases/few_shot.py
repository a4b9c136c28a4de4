"""Phase 3: from the base model each time, one compound class from a few images."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import methods, replay, rng
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases import trunk_cache as feature_cache
from fer_jax.phases.fold import Encoded, Params, Setup, longest_class
from fer_jax.phases.memory import base_memory
from fer_jax.phases.part import context_for
from fer_jax.runs.progress import log
from fer_jax.runs.slots import Slot
from fer_jax.training import epoch as training
from fer_jax.training import fit as fitting


def images_an_epoch(setup: Setup, shots: int) -> int:
    """The most images that an epoch reads: the shots, and with replay the exemplars, shots repeated to as many."""
    f = setup.config.few_shot
    shots = shots or longest_class(setup)
    m = f.exemplars or setup.exemplars(0)
    return setup.n_base * m + max(shots, m) if f.replay == "memory" else shots


def draws(setup: Setup, shots: int) -> int:
    """How often shots are drawn: of all images there is one draw."""
    return setup.config.few_shot.draws if shots else 1


def work(setup: Setup) -> list[int]:
    """Images that every class passes through at most, all shots, draws and epochs counted."""
    a_class = sum(draws(setup, shots) * _work(setup, shots) for shots in setup.config.few_shot.shots)
    return [a_class] * (setup.n_classes - setup.n_base)


def _work(setup: Setup, shots: int) -> int:
    """Images that one draw passes through at most, epochs counted."""
    return setup.config.few_shot.max_epochs * images_an_epoch(setup, shots)


def run(setup: Setup, base: Params) -> list[dict]:
    """All classes, shots and draws; going on after the last finished draw.

    Returns:
      one dict a class, shots and draw: accuracy on the new class, on the base classes, and on all of them.
    """
    todo = [
        (new_class, shots, draw)
        for new_class in range(setup.n_base, setup.n_classes)
        for shots in setup.config.few_shot.shots
        for draw in range(draws(setup, shots))
    ]
    if not todo:
        return []
    mark = {"finished": np.zeros((), np.int32)}
    with setup.slot("few_shot") as cell:
        done = cell.steps.latest(mark)
        rows = done.meta["rows"] if done else []
        setup.progress.skip(sum(_work(setup, shots) for _, shots, _ in todo[: len(rows)]))
        learner = FewShot(setup, base) if len(rows) < len(todo) else None
        for new_class, shots, draw in todo[len(rows) :]:
            rows.append(learner.learn(new_class, shots, draw, cell))
            cell.steps.save(len(rows) - 1, mark, {"rows": rows})
            if len(rows) == len(todo) or todo[len(rows)][0] != new_class:
                _tell(setup, [row for row in rows if row["class"] == rows[-1]["class"]])
        cell.finish()
    return rows


class FewShot:
    """What the runs share: the base classes' exemplars and the held-out images behind the frozen trunk."""

    def __init__(self, setup: Setup, base: Params):
        self.setup, self.base = setup, base
        c, f = setup.config.continual, setup.config.few_shot
        cached = setup.config.feature_cache.views > 0
        self.recipe = training.Recipe(
            network=setup.network,
            cut=c.cut,
            loss=methods.distilled_cross_entropy,
            batch_size=f.batch_size,
            learning_rate=f.learning_rate,
            uses_teacher=True,
            augmentation=setup.augmentation if c.augment else None,
            cached=cached,
            taught=cached,
        )
        if cached:
            self.arrays = (feature_cache.views(setup, base), setup.labels, feature_cache.taught(setup, base))
        else:
            self.arrays = setup.arrays
        self.m = f.exemplars or setup.exemplars(0)
        if f.replay == "memory":
            memory = base_memory(setup, base, self.m)
        else:
            memory = replay.empty_memory(setup.n_classes, self.m)
        self.memory_rows = np.asarray(memory.index).reshape(-1)
        self.length = max(self.m, longest_class(setup))
        self.validation = Encoded.held_out(setup, base, "validation", c.cut)
        self.test = Encoded.held_out(setup, base, "test", c.cut)

    def shots(self, new_class: int, shots: int, draw: int) -> np.ndarray:
        """The images of a draw: nested, so that three shots hold the one, and all of them for shots = 0."""
        setup = self.setup
        rows = setup.train_rows(np.arange(setup.n_classes) == new_class)
        key = rng.derive(setup.config.seed, "shots", setup.fold, new_class, draw)
        order = np.asarray(jax.random.permutation(key, len(rows)))
        return rows[order[: shots or len(rows)]]

    def pool(self, chosen: np.ndarray) -> np.ndarray:
        """The shots, and the exemplars if there are any; shots repeat until they are as many as a base class's."""
        replayed = (self.memory_rows >= 0).any()
        repeated = np.resize(chosen, max(len(chosen), self.m)) if replayed else chosen
        repeated = np.pad(repeated, (0, self.length - len(repeated)), constant_values=-1)
        return np.concatenate([self.memory_rows, repeated]).astype(np.int32)

    def learn(self, new_class: int, shots: int, draw: int, cell: Slot) -> dict:
        """One new class from few of its images, from the base model: accuracies in [0, 1], epochs and seconds.

        The fit in progress is kept in the cell.
        """
        setup, recipe, f = self.setup, self.recipe, self.setup.config.few_shot
        began = time.perf_counter()
        known = setup.base_mask()
        known[new_class] = True
        context = context_for(setup, known, 0)
        key = rng.derive(setup.config.seed, "few_shot", setup.fold, new_class, shots, draw)
        column_key, train_key = jax.random.split(key)
        head = fill_column(self.base["head"], column_key, new_class)
        state, frozen = recipe.init({**self.base, "head": head})
        chosen = self.shots(new_class, shots, draw)
        pool = jnp.asarray(self.pool(chosen))
        if setup.config.protocol.name == "published":
            include = self.validation.labels == new_class
        else:
            include = context.class_mask[self.validation.labels]

        def validate(trainable):
            logits = self.validation.logits(setup, merge(trainable, frozen), recipe.cut)
            return training.score(logits, self.validation.labels, include, context.class_mask)

        def train_epoch(state, epoch):
            key = jax.random.fold_in(train_key, epoch)
            return training.run_epoch(
                state, frozen, self.base, self.arrays, pool, context, key, recipe, validate=validate
            )

        stopping = fitting.EarlyStopping("max", f.patience, restore=setup.restore)
        name = setup.data.class_names[new_class]
        unit = f"few-shot fold {setup.fold}, {name}, {shots or 'all'} shots, draw {draw}"
        setup.progress.begin(unit, f.max_epochs, images_an_epoch(setup, shots))
        resume, keep = cell.resume(unit, state), functools.partial(cell.save, unit)
        fitted = fitting.fit(state, train_epoch, stopping, f.max_epochs, setup.progress.epoch, resume, keep)
        setup.progress.finish()
        params = merge(fitted.state.trainable, frozen)
        logits = self.test.logits(setup, params, recipe.cut)
        counts = np.asarray(training.confusion(logits, self.test.labels, context.class_mask))
        correct, total = np.diagonal(counts), counts.sum(1)
        base = setup.base_mask()
        return {
            "class": name,
            "shots": shots,
            "draw": draw,
            "new_class_accuracy": float(correct[new_class] / total[new_class]),
            "base_accuracy": float(correct[base].sum() / total[base].sum()),
            "accuracy": float(correct.sum() / total.sum()),
            "epoch": fitted.epoch,
            "seconds": time.perf_counter() - began,
        }


def _tell(setup: Setup, rows: list[dict]) -> None:
    new, base = (np.mean([r[k] for r in rows]) for k in ("new_class_accuracy", "base_accuracy"))
    log.info("few-shot fold %d, %s: new class %.3f, base %.3f", setup.fold, rows[0]["class"], new, base)
