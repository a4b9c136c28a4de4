"""Phase 3: from the base model each time, one compound class from a few images.

The shots are the only images of the new class that have a say: every fit runs `few_shot.max_epochs` epochs. The base
classes' validation images could not choose among them, since they are answered best before the new class is learned.
`few_shot.selection` may let validation images of the new class choose: those with the base classes' ("seen") are an
oracle, whose shots are more than it says; alone ("new") they are the published code's choice.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import replay, rng
from fer_jax.classifiers import Classifier
from fer_jax.config import names
from fer_jax.models.head import fill_column
from fer_jax.models.network import merge
from fer_jax.phases import job, trunk_cache
from fer_jax.phases.fold import Fold, Params
from fer_jax.phases.memory import base_memory
from fer_jax.phases.part import context_for
from fer_jax.phases.shots_by_statistics import ByStatistics, composed
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.runs.progress import log
from fer_jax.runs.slots import Slot
from fer_jax.training.fit import NEVER, EarlyStopping, Job, Run
from fer_jax.training.scores import confusion, score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe


def images_an_epoch(fold: Fold, shots: int) -> int:
    """Returns the most images that an epoch reads: the shots, and with replay the exemplars."""
    f = fold.config.few_shot
    shots = shots or fold.longest_class
    m = f.exemplars or fold.exemplars(0)
    return fold.n_base * m + max(shots, m) if f.replay == "memory" else shots


def draws(fold: Fold, shots: int) -> int:
    """Returns how often shots are drawn; with all images there is one draw."""
    return fold.config.few_shot.draws if shots else 1


def drawn_shots(fold: Fold, new_class: int, shots: int, draw: int) -> np.ndarray:
    """Returns the images of a draw: nested, so that three shots contain the one, and all images for shots = 0."""
    rows = fold.train_rows(np.arange(fold.n_classes) == new_class)
    key = rng.derive(fold.config.seed, "shots", fold.number, new_class, draw)
    order = np.asarray(jax.random.permutation(key, len(rows)))
    return rows[order[: shots or len(rows)]]


def work(fold: Fold) -> list[int]:
    """Counts the images that every class passes through at most, including all shots, draws and epochs."""
    a_class = sum(draws(fold, shots) * _work(fold, shots) for shots in fold.config.few_shot.shots)
    return [a_class] * (fold.n_classes - fold.n_base)


def fits(fold: Fold) -> int:
    """Counts what is learned, one class from one draw: fits of a network, or where none is trained, answers."""
    return (fold.n_classes - fold.n_base) * sum(_counts(fold, shots) for shots, _ in _drawn(fold))


def _counts(fold: Fold, shots: int | None) -> bool:
    """Returns True for what is a fit of its own: where a network is trained, all but what needs no image."""
    return shots is not None or "network" not in fold.config.few_shot.answers


def _work(fold: Fold, shots: int) -> int:
    """Images that one draw passes through at most, epochs counted; none where no network is trained."""
    if "network" not in fold.config.few_shot.answers:
        return 0
    return fold.config.few_shot.max_epochs * images_an_epoch(fold, shots)


def run(fold: Fold, base: Params) -> list[dict]:
    """Runs all classes, shots and draws, resuming after the last finished draw.

    Returns:
      one dict a class, shots, draw and answer: accuracy on the new class, on the base classes, and on all of them. Its
      shots are None where the answer needs no image of the class.
    """
    if not fold.config.few_shot.shots:
        return []
    todo = [(new_class, *drawn) for new_class in range(fold.n_base, fold.n_classes) for drawn in _drawn(fold)]
    mark = {"finished": np.zeros((), np.int32)}
    with fold.slot("few_shot") as slot:
        done = slot.steps.latest(mark)
        rows, at = (done.meta["rows"], done.number + 1) if done else ([], 0)
        finished = [shots for _, shots, _ in todo[:at] if _counts(fold, shots)]
        fold.progress.skip("few-shot", len(finished), sum(_work(fold, s) for s in finished if s is not None))
        learner = FewShot(fold, base) if at < len(todo) else None
        for number, (new_class, shots, draw) in enumerate(todo[at:], at):
            if None not in learner.answers:
                fold.progress.begin(_called(fold, new_class, shots, draw), "few-shot", 1, 0, 0)
            rows += learner.rows(new_class, shots, draw, slot)
            if None not in learner.answers:
                fold.progress.finish()
            last = number + 1 == len(todo) or todo[number + 1][0] != new_class
            if last or None in learner.answers:  # without training a class takes less time than to save it
                slot.steps.save(number, mark, {"rows": rows})
            if last:
                _tell(fold, [row for row in rows if _drawn_as(row, rows[-1])])
        slot.finish()
    return rows


def _called(fold: Fold, new_class: int, shots: int | None, draw: int) -> str:
    name, many = fold.data.class_names[new_class], {None: "no", 0: "all"}.get(shots, shots)
    return f"few-shot fold {fold.number}, {name}, {many} shots, draw {draw}"


def _drawn(fold: Fold) -> list[tuple[int | None, int]]:
    """Returns the shots and the draw of all that is learned of one class; None where no image of it is needed."""
    answers = [names.of_few_images(name) for name in fold.config.few_shot.answers]
    imagined = any(_needs_no_image(one) for one in answers)
    learned = any(not _needs_no_image(one) for one in answers)
    shots = fold.config.few_shot.shots if learned else ()
    return [(None, 0)] * imagined + [(one, draw) for one in shots for draw in range(draws(fold, one))]


def _needs_no_image(classifier: Classifier | None) -> bool:
    return classifier is not None and classifier.reads == "parts"


class FewShot:
    """The part that all draws share: the base classes' exemplars and the held-out images behind the frozen trunk."""

    def __init__(self, fold: Fold, base: Params):
        self.fold, self.base = fold, base
        c, f = fold.config.continual, fold.config.few_shot
        self.recipe = Recipe(
            network=fold.network,
            cut=c.cut,
            objective=fold.sized(names.objective(f.objective, f.terms)),
            batch_size=f.batch_size,
            learning_rate=f.learning_rate,
            uses_teacher=True,
            augmentation=fold.augmentation if c.augment else None,
            spread_by=fold.config.devices.spread_by,
        )
        self.m = f.exemplars or fold.exemplars(0)
        self.length = max(self.m, fold.longest_class)
        self.validation = Encoded.held_out(fold, base, "validation", c.cut)
        self.test = Encoded.held_out(fold, base, "test", c.cut)
        self.answers = [names.of_few_images(name) for name in f.answers]
        self.by_statistics = {
            one.name: ByStatistics(fold, base, one) for one in self.answers if one is not None and one.empty is not None
        }

    @functools.cached_property
    def source(self) -> Source:
        """Where a network that is trained reads its batches."""
        fold, base, cut = self.fold, self.base, self.recipe.cut
        facts = fold.facts(self.recipe.objective)
        if not fold.config.feature_cache.views:
            return Source(facts, fold.images)
        return Source(facts, trunk_cache.views(fold, base, cut), trunk_cache.taught(fold, base, cut), cached=True)

    @functools.cached_property
    def memory_rows(self) -> np.ndarray:
        """The exemplars that a network is trained on beside the shots, i32[C * m], -1 where there is none."""
        if self.fold.config.few_shot.replay != "memory":
            return np.asarray(replay.empty_memory(self.fold.n_classes, self.m).index).reshape(-1)
        return np.asarray(base_memory(self.fold, self.base, self.m).index).reshape(-1)

    def rows(self, new_class: int, shots: int | None, draw: int, slot: Slot) -> list[dict]:
        """Learns one new class from few of its images, or None, from the base model; returns a row for each answer."""
        rows = []
        for answer in self.answers:
            if _needs_no_image(answer) != (shots is None):
                continue
            began = time.perf_counter()
            if answer is None:
                measured = self.learn(new_class, shots, draw, slot)
            else:
                counts = (
                    composed(self.fold, self.base, answer, new_class) if shots is None
                    else self.by_statistics[answer.name].counts(new_class, self.shots(new_class, shots, draw))
                )  # fmt: skip
                measured = {"answer": answer.name, "epoch": None, **self.accuracies(counts, new_class)}
            drawn = {"class": self.fold.data.class_names[new_class], "shots": shots, "draw": draw}
            rows.append({**drawn, **measured, "seconds": time.perf_counter() - began})
        return rows

    def accuracies(self, counts: np.ndarray, new_class: int) -> dict[str, float]:
        """Returns the accuracies in [0, 1] of counts [C, C]: on the new class, the base classes, and all of them."""
        correct, total = np.diagonal(counts), counts.sum(1)
        base = self.fold.base_mask()
        return {
            "new_class_accuracy": float(correct[new_class] / total[new_class]),
            "base_accuracy": float(correct[base].sum() / total[base].sum()),
            "accuracy": float(correct.sum() / total.sum()),
        }

    def shots(self, new_class: int, shots: int, draw: int) -> np.ndarray:
        """Returns the images of a draw, as `drawn_shots`."""
        return drawn_shots(self.fold, new_class, shots, draw)

    def pool(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the shots and any exemplars; shots repeat until they are as many as a base class's."""
        replayed = (self.memory_rows >= 0).any()
        repeated = np.resize(chosen, max(len(chosen), self.m)) if replayed else chosen
        repeated = np.pad(repeated, (0, self.length - len(repeated)), constant_values=-1)
        return np.concatenate([self.memory_rows, repeated]).astype(np.int32)

    def learn(self, new_class: int, shots: int, draw: int, slot: Slot) -> dict:
        """Trains one new class from few of its images, from the base model; returns accuracies and the epoch.

        The fit in progress is saved in the slot.
        """
        fold, recipe, f = self.fold, self.recipe, self.fold.config.few_shot
        known = fold.base_mask()
        known[new_class] = True
        context = context_for(fold, known, 0)
        key = rng.derive(fold.config.seed, "few_shot", fold.number, new_class, shots, draw)
        column_key, train_key = jax.random.split(key)
        head = fill_column(self.base["head"], column_key, new_class)
        state, frozen = recipe.init({**self.base, "head": head}, jax.random.fold_in(key, 1))
        context = context._replace(frozen=frozen, teacher=self.base)
        pool = jnp.asarray(self.pool(self.shots(new_class, shots, draw)))
        include = {
            "none": jnp.asarray(fold.base_mask()),
            "seen": context.class_mask,
            "new": jnp.arange(fold.n_classes) == new_class,
        }[f.selection][self.validation.labels]

        def validate(trainable):
            logits = self.validation.logits(fold, merge(trainable, frozen), recipe.cut)
            loss, accuracy = score(logits, self.validation.labels, include, context.class_mask)
            return {"val_loss": loss, "val_accuracy": accuracy}

        def pool_and_key(epoch):
            return pool, jax.random.fold_in(train_key, epoch)

        stopping = EarlyStopping("max", f.patience, restore=fold.restore)
        if f.selection == "none":  # all epochs are run, and the last one is taken; what is validated is shown
            stopping = NEVER
        named = job.Named(_called(fold, new_class, shots, draw), "few-shot")
        run = Run(state, self.source, context, pool_and_key, validate)
        images = images_an_epoch(fold, shots)
        (fitted,) = job.train(fold, named, Job((run,), recipe, stopping, f.max_epochs), images, slot)
        fold.progress.finish()
        params = merge(fitted.state.trainable, frozen)
        logits = self.test.logits(fold, params, recipe.cut)
        counts = np.asarray(confusion(logits, self.test.labels, context.class_mask))
        return {**self.accuracies(counts, new_class), "epoch": fitted.epoch}


def _drawn_as(row: dict, other: dict) -> bool:
    """Returns True for two rows of one class and answer."""
    return all(row.get(key) == other.get(key) for key in ("class", "answer"))


def _tell(fold: Fold, rows: list[dict]) -> None:
    new, base = (np.mean([r[k] for r in rows]) for k in ("new_class_accuracy", "base_accuracy"))
    log.info("few-shot fold %d, %s: new class %.3f, base %.3f", fold.number, rows[0]["class"], new, base)
