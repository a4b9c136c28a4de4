"""How well do classifiers of action units learn class by class, from exact units and from a detector's errors?

Command: python -m studies.units --out docs/results/units.json     (make units)
Result:  docs/results/units.json
Time:    a quarter of an hour on two cores; started again, it goes on after the last seed that is in the file

Measured on rendered faces. Each seed has people of its own, split by fold 0 of `held_out`, and a base model: the
quickstart's network, trained on the six basic expressions. The classifiers are those of the method rows `units_lda`,
`units_mixture`, `units_naive_bayes` and `units_ridge`, and of `features_units_lda` and so on, which read the base
model's features with the units beside them. They learn six expressions at once and fifteen one by one, and choose
their penalties on validation people. With errors every unit of every picture is flipped with a probability, and all
intensities get noise (`config.data.units`); pictures stay as they are. The Bayes accuracy is that of the flipped
pattern, exactly; the noise is left out of it, so it is an upper bound that a classifier of noisy units does not quite
reach. Who also sees the picture may exceed it, up to that of exact units. In the end complete runs of
`configs/units.py` with `units_lda`, on three class orders, are timed by the clock, from the command to the report.
"""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from fer_jax import metrics, protocol, statistics
from fer_jax.classifiers import CLASSIFIERS, Classifier
from fer_jax.data import units as unit_errors
from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.builder import draw
from fer_jax.data.facs_faces.sampling import sample_picture
from fer_jax.methods import METHODS
from fer_jax.phases.answers import best_penalty
from fer_jax.training import encoding
from studies import identity_gap, record

NAMES = tuple(
    f"{prefix}_{name}" for prefix in ("units", "features_units") for name in ("lda", "mixture", "naive_bayes", "ridge")
)
N_BASE, N_CLASSES = categories.N_BASIC, categories.N_BASIC + categories.N_COMPOUND
FOLDS, ORDER_SEED = 10, 42
CONFIG, RUNS = record.ROOT / "configs" / "units.py", 3
MEASURES = ("average_incremental_accuracy", "final_accuracy")


@functools.partial(jax.jit, static_argnums=0)
def _units(seed: int, cells: jax.Array) -> jax.Array:
    return jax.vmap(lambda cell: sample_picture(seed, cell[0], cell[1], 0).action_units)(cells)


def people(seed: int, n_subjects: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cells i32[N, 2], person and expression, and units f32[N, 17] of one picture of each."""
    shape = (n_subjects, N_CLASSES)
    cells = np.stack(np.unravel_index(np.arange(n_subjects * N_CLASSES), shape), 1).astype(np.int32)
    return cells, np.asarray(_units(seed, jnp.asarray(cells)))


def learn(
    classifier: Classifier, units: np.ndarray, labels: np.ndarray, split: protocol.Split, order: np.ndarray
) -> np.ndarray:
    """Returns the accuracy on every class after every step, f64[16, 21], NaN for classes that are not known yet."""
    steps = protocol.learned_at(order, N_BASE, 1)
    accuracy = np.full((steps.max() + 1, N_CLASSES), np.nan)
    state = classifier.empty(N_CLASSES, units.shape[1])
    if classifier.prepare is not None:
        state = classifier.prepare(state, jnp.asarray(units[split.train][labels[split.train] < N_BASE]))
    held = np.concatenate([split.validation, split.test])
    n_validation, seen = len(split.validation), jnp.asarray(units[held])
    for step in range(len(accuracy)):
        for c in np.flatnonzero(steps == step):
            of_class = jnp.asarray(units[split.train][labels[split.train] == c])
            state = classifier.add(state, int(c), of_class, jnp.ones(len(of_class), bool))
        known = steps <= step
        right = {
            penalty: _answers(classifier, state, seen, known, penalty) == labels[held]
            for penalty in classifier.penalties or (None,)
        }
        asked = known[labels[held]]
        validated = {penalty: float(one[:n_validation][asked[:n_validation]].mean()) for penalty, one in right.items()}
        own = right[best_penalty(validated) if classifier.penalties else None]
        for c in np.flatnonzero(known):
            accuracy[step, c] = own[n_validation:][labels[split.test] == c].mean()
    return accuracy


def _answers(classifier: Classifier, state, seen: jax.Array, known: np.ndarray, penalty: float | None) -> np.ndarray:
    scores = classifier.scores(state, seen, *([] if penalty is None else [jnp.float32(penalty)]))
    return np.where(known, np.asarray(scores), -np.inf).argmax(1)


def base_features(seed: int, cells: np.ndarray, split: protocol.Split, size: int, epochs: int) -> np.ndarray:
    """Returns the base model's features f32[N, 256] of the pictures of cells i[N, 2], person and expression.

    The base model is the quickstart's network after its last epoch, trained on the six basic expressions of the
    training people.
    """
    of_draw = np.concatenate([cells, np.zeros((len(cells), 1), cells.dtype)], 1)
    images, labels = jnp.asarray(draw(seed, of_draw, size)[0]), jnp.asarray(cells[:, 1], jnp.int32)
    train = split.train[cells[split.train, 1] < N_BASE]
    params = identity_gap.params_after_training(seed, images, labels, train, N_BASE, epochs)
    network = identity_gap.recipe(N_BASE).network
    return np.asarray(encoding.encode(params, images, jnp.arange(len(cells)), network, "head"))


def measure(seed: int, settings: Mapping, orders: np.ndarray) -> list[dict]:
    """Returns a row for each error rate, classifier and class order, of one seed's people."""
    cells, units = people(seed, settings["n_subjects"])
    subjects, labels = cells.T
    split = protocol.split(subjects, 0, FOLDS, "held_out")
    features = base_features(seed, cells, split, settings["image_size"], settings["epochs"])
    keys = [f"{seed}/{subject}/{label}".encode() for subject, label in cells.tolist()]
    learned, counts, rows = protocol.learned_at, np.bincount(labels[split.test], minlength=N_CLASSES), []
    for flips in settings["flips"]:
        noise = settings["noise"] if flips else 0.0
        seen = unit_errors.with_errors(units, keys, flips, noise)
        for name in NAMES:
            (classifier,) = (CLASSIFIERS[one] for one in METHODS[name].classifiers)
            read = seen if classifier.reads == "units" else np.concatenate([features, seen], 1)
            for number, order in enumerate(orders):
                a, learned_at = learn(classifier, read, labels, split, order), learned(order, N_BASE, 1)
                found = {measure: getattr(metrics, measure)(a, learned_at, counts) for measure in MEASURES}
                rows.append({"method": name, "seed": seed, "order": number, "flips": flips, "noise": noise, **found})
    return rows


def all_rows(
    settings: Mapping, orders: np.ndarray, before: Mapping | None, same: Mapping, save: Callable[[list[dict]], None]
) -> list[dict]:
    """Returns the rows of all seeds.

    Args:
      before: an earlier result; seeds that it has are not measured again if it has everything in `same`.
      save: is given the rows after every seed.
    """
    goes_on = before is not None and all(_comparable(before.get(key)) == _comparable(same[key]) for key in same)
    seeds = range(settings["first_seed"], settings["first_seed"] + settings["seeds"])
    rows = [row for row in before["rows"] if row["seed"] in seeds] if goes_on else []
    for seed in track(seeds, "seeds"):
        if seed not in {row["seed"] for row in rows}:
            rows += measure(seed, settings, orders)
            save(rows)
    return rows


def _comparable(part: Mapping | None) -> dict:
    """Returns settings or an environment without what may differ when a study goes on."""
    return {key: value for key, value in (part or {}).items() if key not in ("seeds", "load_before")}


def run_seconds() -> dict[str, dict]:
    """Returns the seconds of complete runs of CONFIG with one method by the clock, faces rendered before.

    cold: all programs are compiled. warm: they are those of an earlier run.
    """
    with tempfile.TemporaryDirectory() as folder:
        train = ("train", "--config", CONFIG, f"--config.methods=('{NAMES[0]}',)", "--workdir")
        record.seconds(*train, f"{folder}/first")
        cold = [record.seconds(*train, f"{folder}/cold{i}", "--no-compilation-cache") for i in range(RUNS)]
        warm = [record.seconds(*train, f"{folder}/warm{i}") for i in range(RUNS)]
    return {"cold": record.summary(cold), "warm": record.summary(warm)}


def ceiling(flips: float, orders: np.ndarray) -> dict[str, float]:
    """Returns the Bayes accuracy at these flips by measure, the mean over class orders."""
    table = bayes.bayes_table(orders, flips)
    return {"average_incremental_accuracy": float(table[:, 1:].mean()), "final_accuracy": float(table[:, -1].mean())}


def summary(rows: list[dict], orders: np.ndarray) -> list[dict]:
    """Returns for each error rate the Bayes accuracy, and estimates over seeds of each method."""
    levels = dict.fromkeys((row["flips"], row["noise"]) for row in rows)
    return [
        {
            "flips": flips,
            "noise": noise,
            "bayes": ceiling(flips, orders),
            "estimates": {
                name: {
                    measure: statistics.estimate({
                        (row["order"], row["seed"], 0): row[measure] for row in rows
                        if (row["method"], row["flips"], row["noise"]) == (name, flips, noise)
                    })
                    for measure in MEASURES
                }
                for name in NAMES
            },
        }
        for flips, noise in levels
    ]  # fmt: skip


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.add_argument("--seeds", type=record.at_least(1), default=5)
    parser.add_argument("--subjects", type=record.at_least(FOLDS), default=230)
    parser.add_argument("--orders", type=record.at_least(1), default=3)
    parser.add_argument("--flips", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2])
    parser.add_argument("--noise", type=record.at_least(0.0), default=0.1, help="of intensities, where there are flips")
    parser.add_argument("--size", type=record.at_least(16), default=48, help="pixels of a picture's side")
    parser.add_argument("--epochs", type=record.at_least(1), default=24, help="of the base model")
    a, load = parser.parse_args(), record.load()
    if not all(0 <= flips <= 0.5 for flips in a.flips):
        parser.error(f"--flips has {a.flips}; they may be from 0 to 0.5")
    orders = protocol.class_orders(categories.N_COMPOUND, a.orders, ORDER_SEED)
    settings = {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "n_subjects": a.subjects, "orders": a.orders,
                "flips": a.flips, "noise": a.noise, "image_size": a.size, "epochs": a.epochs}  # fmt: skip
    same = {"settings": settings, "environment": record.environment("float32", load)}
    before = json.loads(a.out.read_text()) if a.out.exists() else None
    rows = all_rows(settings, orders, before, same, lambda rows: record.write(a.out, {**same, "rows": rows}))
    levels = summary(rows, orders)
    record.write(a.out, {**same, "levels": levels, "run_seconds": run_seconds(), "rows": rows})
    for level in levels:
        for name, estimates in level["estimates"].items():
            e = estimates["final_accuracy"]
            print(f"flips {level['flips']:g}, {name}: {record.words(e)}; Bayes {level['bayes']['final_accuracy']:.3f}")


if __name__ == "__main__":
    main()
