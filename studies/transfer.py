"""What are ImageNet weights worth to the base task?

Command: python -m studies.transfer --out docs/results/transfer.json     (make transfer)
Result:  docs/results/transfer.json
Time:    two hours on two cores; started again, it goes on after the last fit

Measured on rendered faces. EfficientNet-Lite0 learns the six basic expressions twice: from its published weights and
from random ones, with the same people and pictures, by the same rules. One of these rules is that batch-norm is frozen:
from random weights it keeps the statistics of the first images and learns no scale, which the gain includes. Each seed
has people of its own, split three ways. A fit ends where the accuracy of its validation people has not risen for
`--patience` epochs, with its best epoch.

Each start has a learning rate of its own, which the validation people of `--search-seed` choose. As long as the best
rate is the lowest or the highest of those tried, one beyond it is tried as well, up to `--most-rates`. A rate that
learned nothing is no bound: the one halfway to it is tried, too. The result says whether the rate is inside what was
tried, and for each fit whether it reached its plateau before `--max-epochs`. The seeds that are measured are others.
Their test people are read once a start, with what was chosen.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import metrics, objectives, protocol, rng
from fer_jax.augment import Augmentation
from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.builder import draw
from fer_jax.models import efficientnet_weights
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, Params, merge
from fer_jax.objectives import Context
from fer_jax.runs import environment
from fer_jax.runs.progress import log, start_logging
from fer_jax.training import encoding
from fer_jax.training import fit as fitting
from fer_jax.training.batch import Batch
from fer_jax.training.fit import EarlyStopping, Job, Run
from fer_jax.training.scores import score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe
from studies import record

STARTS = ("pretrained", "scratch")
N_CLASSES = categories.N_BASIC
CALIBRATION_IMAGES = 256
FACTOR = 4.0  # between one learning rate and the next
CHANCE = 1.2 / N_CLASSES  # a fit that is no better than this learned nothing


@dataclasses.dataclass(frozen=True)
class People:
    """Pictures of one seed's people: images u8[N, H, W, 3], labels i32[N], and who may be read when."""

    images: jax.Array
    labels: jax.Array
    split: protocol.Split


def recipe(backbone: EfficientNetLite) -> Recipe:
    """The base phase in one stage, all of the network trained, for both starts alike; a fit has a rate of its own."""
    head = ExpressionHead(hidden=(128,), n_classes=N_CLASSES, dropout=0.0)
    network = Network(backbone, head, backbone.input_range)
    return Recipe(
        network, "input", objectives.cross_entropy, batch_size=32, learning_rate=1e-3,
        augmentation=Augmentation(0.5, 0.005, 0.02, 0.02),
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def people(seed: int, n_subjects: int, size: int) -> People:
    """One picture a person and basic expression; a third of the people test, a third validate, a third train."""
    shape = (n_subjects, N_CLASSES, 1)
    cells = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)  # subject, category, number
    images = jnp.concatenate([draw(seed, part, size)[0] for part in np.array_split(cells, max(1, len(cells) // 60))])
    split = protocol.split(cells[:, 0].astype(np.int32), 0, 3, "held_out")
    return People(images, jnp.asarray(cells[:, 1], jnp.int32), split)


def starting_params(seed: int, start: str, network: Network, data: People, pretrained: Params) -> Params:
    """One fresh head on published weights, or on random ones with batch statistics of training pictures."""
    params = network.init(rng.derive(seed, "init"), data.images.shape[1])
    if start == "pretrained":
        return {**params, "backbone": pretrained}
    train = data.split.train
    sample = network.scale_input(data.images[train[:: max(1, len(train) // CALIBRATION_IMAGES)]] / 255.0)
    return {**params, "backbone": calibrate_batch_norm(network.backbone, params["backbone"], sample)}


class Tried(NamedTuple):
    """A fit with one learning rate.

    validation: the best accuracy of the validation people, 0 of a fit that came to nothing.
    epochs: how many were run; plateau: whether the fit ended before the most that there may be.
    test: the test people's accuracy after the same epoch, where it was read.
    """

    validation: float
    epochs: int
    plateau: bool
    test: float | None = None


def scored(params: Params, network: Network, data: People, rows: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Mean loss on images[rows], and the share of them that is named rightly."""
    features = encoding.encode(params, data.images, jnp.asarray(rows), network, "head")
    logits = encoding.logits_from(params, features, network, "head")
    return score(logits, data.labels[rows], jnp.ones(len(rows), bool), jnp.ones(N_CLASSES, bool))


def search(rates: list[float], most: int, measure: Callable[[float], Tried]) -> dict[float, Tried]:
    """Tries learning rates, and further ones by FACTOR as long as the best is the lowest or the highest of all.

    Where a rate beside the best one learned nothing, the one halfway to it is tried too, down to a factor of two. Of
    equally good ones the one tried first counts. No more than `most` are tried.
    """
    tried = {rate: measure(rate) for rate in rates}
    while len(tried) < most and (rate := _next(tried)):
        tried[rate] = measure(rate)
    return tried


def _next(tried: dict[float, Tried]) -> float | None:
    """Returns the rate to try next, or None if the best one lies between two that learned or that are near."""
    best = best_rate(tried)
    above, below = min((r for r in tried if r > best), default=None), max((r for r in tried if r < best), default=None)
    if above is None:
        return best * FACTOR
    if below is None:
        return best / FACTOR
    for beside in (above, below):
        if tried[beside].validation <= CHANCE and not 0.49 < best / beside < 2.01:
            return math.sqrt(best * beside)
    return None


def best_rate(tried: dict[float, Tried]) -> float:
    """The learning rate that validation people prefer."""
    return max(tried, key=lambda rate: tried[rate].validation)


def in_words(a: argparse.Namespace) -> dict:
    """Returns the settings as the result names them."""
    return {
        "seeds": a.seeds, "first_seed": a.first_seed, "n_subjects": a.subjects, "image_size": a.size,
        "max_epochs": a.max_epochs, "patience": a.patience, "learning_rates": a.learning_rates,
        "most_rates": a.most_rates, "search_seed": a.search_seed, "classes": N_CLASSES,
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Fits of one network from both starts, by the command's settings."""

    settings: argparse.Namespace
    recipe: Recipe
    pretrained: Params

    def measured(self, seed: int, start: str, rate: float, tested: bool) -> Tried:
        """Trains, and leaves the outcome in the workdir; where the same code and settings left it, reads it."""
        file = self.settings.workdir / f"seed{seed}_{start}_{rate:g}.json"
        asked = {**in_words(self.settings), "commit": environment.commit()}
        if file.exists() and (left := json.loads(file.read_text()))["settings"] == asked:
            return Tried(**left["fit"])
        data = people(seed, self.settings.subjects, self.settings.size)
        params, found = self.train(seed, start, rate, data)
        if tested:
            found = found._replace(test=float(scored(params, self.recipe.network, data, data.split.test)[1]))
        record.write(file, {"settings": asked, "fit": found._asdict()})
        return found

    def train(self, seed: int, start: str, rate: float, data: People) -> tuple[Params | None, Tried]:
        """Trains until the validation people's accuracy has not risen for `patience` epochs.

        Returns the parameters of the epoch that validation people like best, None of a fit that came to nothing.
        """
        state, frozen = self.recipe.init(starting_params(seed, start, self.recipe.network, data, self.pretrained))
        # The rate is an argument of the compiled step, so that all fits share one program.
        context = Context.of_base(jnp.ones(N_CLASSES, bool))._replace(frozen=frozen, learning_rate=jnp.float32(rate))
        pool, source = jnp.asarray(data.split.train), Source(Batch(data.labels), data.images)

        def draw(epoch: int) -> tuple[jax.Array, jax.Array]:
            return pool, rng.derive(seed, "epoch", epoch)

        def validate(trainable: Params) -> dict[str, jax.Array]:
            loss, share = scored(merge(trainable, frozen), self.recipe.network, data, data.split.validation)
            return {"val_loss": loss, "val_accuracy": share}

        run, stopping = Run(state, source, context, draw, validate), EarlyStopping("max", self.settings.patience)
        try:
            (found,) = fitting.fit(Job((run,), self.recipe, stopping, self.settings.max_epochs))
        except FloatingPointError:  # a learning rate that is too high
            return None, Tried(0.0, 0, False)
        best = found.history[found.epoch]["val_accuracy"]
        at = f"seed {seed}, {start}, learning rate {rate:g}"
        log.info("%s: validation accuracy %.3f after %d of %d epochs", at, best, found.epoch + 1, len(found.history))
        return merge(found.state.trainable, frozen), Tried(best, len(found.history), found.stopped)

    def choose(self, seed: int) -> dict[str, dict]:
        """Returns each start's learning rate, and the validation accuracy of those tried with this seed's people."""
        a, chosen = self.settings, {}
        for start in STARTS:
            measure = functools.partial(self.measured, seed, start, tested=False)
            tried = search(a.learning_rates, a.most_rates, measure)
            rate = best_rate(tried)
            chosen[start] = {
                "learning_rate": rate,
                "inside": min(tried) < rate < max(tried),
                "tried": {
                    f"{rate:g}": {"validation": one.validation, "epochs": one.epochs, "plateau": one.plateau}
                    for rate, one in sorted(tried.items())
                },
            }
        return chosen

    def compare(self, seed: int, chosen: dict[str, dict]) -> dict[str, float | bool]:
        """Returns test accuracy from both starts, each with its rate and the epoch its validation people prefer."""
        row = {"seed": seed}
        for start in STARTS:
            found = self.measured(seed, start, chosen[start]["learning_rate"], tested=True)
            row[f"{start}_validation"] = found.validation
            row[f"{start}_epochs"], row[f"{start}_plateau"] = found.epochs, found.plateau
            row[start] = found.test
        return {**row, "gain": row["pretrained"] - row["scratch"]}


def measure(a: argparse.Namespace) -> dict:
    """The comparison over seeds, with estimates.

    Raises:
      UserError: the package of the weights is not installed.
    """
    backbone, load = EfficientNetLite(), record.load()
    weights = efficientnet_weights.find()
    pretrained, _ = efficientnet_weights.load(weights, backbone)
    seeds = range(a.first_seed, a.first_seed + a.seeds)
    comparison = Comparison(a, recipe(backbone), pretrained)
    chosen = comparison.choose(a.search_seed)
    rows = [comparison.compare(seed, chosen) for seed in seeds]
    names = (*STARTS, "gain")
    return {
        "settings": in_words(a),
        "search": chosen,
        "estimates": {name: dataclasses.asdict(metrics.estimate([row[name] for row in rows])) for name in names},
        "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "rows": rows,
        "environment": record.environment("float32", load),
    }


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.add_argument("--seeds", type=record.at_least(1), default=5)
    # Test people of a measurement that its settings were chosen after are not unseen any more: take others.
    parser.add_argument("--first-seed", type=record.at_least(0), default=30)
    parser.add_argument("--search-seed", type=record.at_least(0), default=0, help="its people choose learning rates")
    parser.add_argument("--subjects", type=record.at_least(3), default=150)
    parser.add_argument("--size", type=record.at_least(32), default=48)
    parser.add_argument("--max-epochs", type=record.at_least(1), default=800)
    parser.add_argument("--patience", type=record.at_least(1), default=100, help="epochs; a plateau is that long")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-4, 4e-4], help="tried first")
    parser.add_argument("--most-rates", type=record.at_least(1), default=8, help="a side tries no more")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/transfer"), metavar="DIR")
    a = parser.parse_args()
    if a.search_seed in range(a.first_seed, a.first_seed + a.seeds):
        parser.error(f"--search-seed has {a.search_seed}; it may be none of the seeds that are measured")
    if min(a.learning_rates) <= 0:
        parser.error(f"--learning-rates has {min(a.learning_rates):g}; they may be above 0")
    start_logging()
    found = measure(a)
    record.write(a.out, found)
    for name, e in found["estimates"].items():
        print(f"{name}: {record.words(e)}")


if __name__ == "__main__":
    main()
