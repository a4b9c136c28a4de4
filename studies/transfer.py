"""What are ImageNet weights worth to the base task?

Command: python -m studies.transfer --out docs/results/transfer.json     (make transfer)
Result:  docs/results/transfer.json
Time:    half an hour on two cores

Measured on rendered faces. EfficientNet-Lite0 learns the six basic expressions twice: from its published weights and
from random ones, with the same people, pictures, epochs and learning rates to choose from. Each seed has people of its
own, split three ways: validation people choose the learning rate, each side its own; test people are read once, with
the chosen one.
"""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

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
from fer_jax.training import encoding
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import run_epoch
from fer_jax.training.scores import score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe
from studies import record

STARTS = ("pretrained", "scratch")
N_CLASSES = categories.N_BASIC
CALIBRATION_IMAGES = 256


@dataclasses.dataclass(frozen=True)
class People:
    """Pictures of one seed's people: images u8[N, H, W, 3], labels i32[N], and who may be read when."""

    images: jax.Array
    labels: jax.Array
    split: protocol.Split


def recipe(learning_rate: float, backbone: EfficientNetLite) -> Recipe:
    """The base phase in one stage, all of the network trained, for both starts alike."""
    head = ExpressionHead(hidden=(128,), n_classes=N_CLASSES, dropout=0.0)
    network = Network(backbone, head, backbone.input_range)
    return Recipe(
        network, "input", objectives.cross_entropy, batch_size=32, learning_rate=learning_rate,
        augmentation=Augmentation(0.5, 0.005, 0.02, 0.02),
    )  # fmt: skip


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


def train(seed: int, fit: Recipe, params: Params, data: People, epochs: int) -> Params:
    """All epochs on the training pictures; the last epoch's parameters."""
    state, frozen = fit.init(params)
    known = jnp.ones(N_CLASSES, bool)
    context = Context.of_base(known)._replace(frozen=frozen)
    pool, source = jnp.asarray(data.split.train), Source(Batch(data.labels), data.images)
    for epoch in range(epochs):
        key = rng.derive(seed, "epoch", epoch)
        state, _ = run_epoch(state, source, pool, context, key, fit)
    return merge(state.trainable, frozen)


def accuracy(params: Params, fit: Recipe, data: People, rows: np.ndarray) -> float:
    """Share of images[rows] that are named rightly."""
    features = encoding.encode(params, data.images, jnp.asarray(rows), fit.network, "head")
    logits = encoding.logits_from(params, features, fit.network, "head")
    _, share = score(logits, data.labels[rows], jnp.ones(len(rows), bool), jnp.ones(N_CLASSES, bool))
    return float(share)


def compare(
    seed: int,
    n_subjects: int,
    size: int,
    epochs: int,
    rates: list[float],
    backbone: EfficientNetLite,
    pretrained: Params,
) -> dict[str, float]:
    """Test accuracy from both starts, each with the learning rate that its validation people prefer."""
    data, row = people(seed, n_subjects, size), {"seed": seed}
    for start in STARTS:
        best = -1.0
        for rate in rates:
            fit = recipe(rate, backbone)
            params = starting_params(seed, start, fit.network, data, pretrained)
            trained = train(seed, fit, params, data, epochs)
            validation = accuracy(trained, fit, data, data.split.validation)
            row[f"{start}_validation_{rate:g}"] = validation
            if validation > best:
                best, chosen = validation, (rate, fit, trained)
        rate, fit, trained = chosen
        row[f"{start}_learning_rate"] = rate
        row[start] = accuracy(trained, fit, data, data.split.test)
    return {**row, "gain": row["pretrained"] - row["scratch"]}


def measure(seeds: range, n_subjects: int, size: int, epochs: int, rates: list[float]) -> dict:
    """The comparison over seeds, with estimates.

    Raises:
      UserError: the package of the weights is not installed.
    """
    backbone, load = EfficientNetLite(), record.load()
    weights = efficientnet_weights.find()
    pretrained, _ = efficientnet_weights.load(weights, backbone)
    rows = [compare(seed, n_subjects, size, epochs, rates, backbone, pretrained) for seed in track(seeds, "seeds")]
    names = (*STARTS, "gain")
    return {
        "settings": {"seeds": len(seeds), "first_seed": seeds[0], "n_subjects": n_subjects, "image_size": size,
                     "epochs": epochs, "learning_rates": rates, "classes": N_CLASSES},
        "estimates": {name: dataclasses.asdict(metrics.estimate([row[name] for row in rows])) for name in names},
        "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "rows": rows,
        "environment": record.environment("float32", load),
    }  # fmt: skip


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.add_argument("--seeds", type=record.at_least(1), default=3)
    # Test people of a measurement that its settings were chosen after are not unseen any more: take others.
    parser.add_argument("--first-seed", type=record.at_least(0), default=10)
    parser.add_argument("--subjects", type=record.at_least(3), default=150)
    parser.add_argument("--size", type=record.at_least(32), default=48)
    parser.add_argument("--epochs", type=record.at_least(1), default=20)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-4, 4e-4])
    a = parser.parse_args()
    if min(a.learning_rates) <= 0:
        parser.error(f"--learning-rates has {min(a.learning_rates):g}; they may be above 0")
    seeds = range(a.first_seed, a.first_seed + a.seeds)
    found = measure(seeds, a.subjects, a.size, a.epochs, a.learning_rates)
    record.write(a.out, found)
    for name, e in found["estimates"].items():
        print(f"{name}: {record.words(e)}")


if __name__ == "__main__":
    main()
