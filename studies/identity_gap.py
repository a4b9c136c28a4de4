"""How much harder are unseen people than unseen pictures of people seen?

Command: python -m studies.identity_gap --out docs/results/identity_gap.json     (make gap)
Result:  docs/results/identity_gap.json
Time:    eight minutes on one core

Measured on rendered faces. Both networks answer the same test pictures and train on equally many: one on other pictures
of the same people, the other on pictures of other people. A person's face at rest and their own way of showing an
expression (which of its units they use) may both make unseen people harder. There are two tasks: the six basic
expressions, and all 21.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from fer_jax import metrics, objectives, rng
from fer_jax.augment import Augmentation
from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.builder import draw
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, Params, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.objectives import Context
from fer_jax.runs import results
from fer_jax.training import encoding
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import run_epoch
from fer_jax.training.scores import score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe
from studies import record

SIZE = 64
TRAINING_PICTURES = 2  # of each person and expression; one more is for testing
TASKS = (categories.N_BASIC, categories.N_BASIC + categories.N_COMPOUND)


def recipe(n_classes: int) -> Recipe:
    """The quickstart's network, all of it trained."""
    network = Network(
        ResNetV2(depths=(1, 1, 1, 1), widths=(16, 32, 48, 64), stem_width=24, stem_kernel=5),
        ExpressionHead(hidden=(512, 128), n_classes=n_classes, dropout=0.0),
        "minus_one_one",
    )
    return Recipe(
        network, "input", objectives.cross_entropy, batch_size=32, learning_rate=1e-3,
        augmentation=Augmentation(0.5, 0.005, 0.02, 0.02),
    )  # fmt: skip


def accuracy_after_training(
    seed: int, images: jax.Array, labels: jax.Array, train: np.ndarray, test: np.ndarray, n_classes: int, epochs: int
) -> float:
    """Trains a fresh network on images[train]; its accuracy on images[test] after the last epoch."""
    network, trained = recipe(n_classes).network, params_after_training(seed, images, labels, train, n_classes, epochs)
    features = encoding.encode(trained, images, jnp.asarray(test), network, "head")
    logits = encoding.logits_from(trained, features, network, "head")
    _, accuracy = score(logits, labels[test], jnp.ones(len(test), bool), jnp.ones(n_classes, bool))
    return float(accuracy)


def params_after_training(
    seed: int, images: jax.Array, labels: jax.Array, train: np.ndarray, n_classes: int, epochs: int
) -> Params:
    """Trains a fresh network on images[train]; its parameters after the last epoch."""
    fit = recipe(n_classes)
    network = fit.network
    params = network.init(rng.derive(seed, "init"), images.shape[1])
    sample = network.scale_input(images[train[:: max(1, len(train) // 256)]] / 255.0)
    params["backbone"] = calibrate_batch_norm(network.backbone, params["backbone"], sample)
    state, frozen = fit.init(params)
    known = jnp.ones(n_classes, bool)
    context = Context.of_base(known)._replace(frozen=frozen)
    pool, source = jnp.asarray(train), Source(Batch(labels), images)
    for epoch in range(epochs):
        key = rng.derive(seed, "epoch", epoch)
        state, _ = run_epoch(state, source, pool, context, key, fit)
    return merge(state.trainable, frozen)


def compare(seed: int, n_classes: int, n_subjects: int, epochs: int) -> dict[str, float]:
    """Accuracy on the same test pictures, trained on the people in them and on others; people are drawn by the seed."""
    shape = (n_subjects, n_classes, TRAINING_PICTURES + 1)
    cells = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)  # subject, category, number
    images = jnp.concatenate([draw(seed, part, SIZE)[0] for part in np.array_split(cells, max(1, len(cells) // 60))])
    labels = jnp.asarray(cells[:, 1], jnp.int32)
    own, trains = cells[:, 0] < n_subjects // 2, cells[:, 2] < TRAINING_PICTURES
    # An odd person out is left out.
    other = (cells[:, 0] >= n_subjects // 2) & (cells[:, 0] < 2 * (n_subjects // 2))
    test = np.flatnonzero(own & ~trains)
    seen, unseen = (
        accuracy_after_training(seed, images, labels, np.flatnonzero(people & trains), test, n_classes, epochs)
        for people in (own, other)
    )
    return {"seed": seed, "image_disjoint": seen, "subject_disjoint": unseen, "gap": seen - unseen}


def measure(
    seeds: Sequence[int],
    n_subjects: int,
    epochs: int,
    tasks: tuple[int, ...] = TASKS,
    before: dict | None = None,
    save: Callable[[dict], None] = lambda found: None,
) -> dict:
    """The comparison over seeds, with estimates, for every number of expressions.

    Args:
      before: an earlier result; its seeds are not measured again if it has the same settings and environment.
      save: is given the result after every seed.
    """
    found = {
        "settings": {"n_subjects": n_subjects, "epochs": epochs, "image_size": SIZE,
                     "training_pictures": TRAINING_PICTURES},
        "by_classes": {},
        "environment": results.environment("float32"),
    }  # fmt: skip
    same = before is not None and all(before.get(key) == found[key] for key in ("settings", "environment"))
    if same:
        found["by_classes"] = dict(before["by_classes"])
    for n_classes in tasks:
        known = found["by_classes"].get(str(n_classes), {"rows": []})["rows"]
        rows = [row for row in known if row["seed"] in seeds]
        for seed in track(seeds, f"{n_classes} expressions"):
            if seed not in [row["seed"] for row in rows]:
                rows.append(compare(seed, n_classes, n_subjects, epochs))
            names = ("image_disjoint", "subject_disjoint", "gap")
            estimates = {name: dataclasses.asdict(metrics.estimate([row[name] for row in rows])) for name in names}
            found["by_classes"][str(n_classes)] = {"estimates": estimates, "rows": rows}
            save(found)
    return found


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.add_argument(
        "--seeds", type=record.at_least(1), default=5, help="more than an earlier result has: it is gone on with"
    )
    parser.add_argument("--subjects", type=record.at_least(4), default=120)
    parser.add_argument("--epochs", type=record.at_least(1), default=24)
    parser.add_argument("--classes", type=int, nargs="+", choices=TASKS, default=TASKS)
    a = parser.parse_args()
    before = json.loads(a.out.read_text()) if a.out.exists() else None
    save = functools.partial(record.write, a.out)
    # Development looked at the people of earlier seeds.
    seeds = range(record.FIRST_SEED, record.FIRST_SEED + a.seeds)
    found = measure(seeds, a.subjects, a.epochs, tuple(a.classes), before, save)
    for n_classes, task in found["by_classes"].items():
        for name, e in task["estimates"].items():
            print(f"{n_classes}, {name}: {record.words(e)}")


if __name__ == "__main__":
    main()
