"""How well do classifiers of action units learn class by class, from exact units and from a detector's errors?

Command: python -m studies.units --out docs/results/units.json     (make units)
Result:  docs/results/units.json
Time:    three minutes on two cores

Measured on the action units of rendered faces; no picture is rendered and no network is trained. Each seed has people
of its own, split by fold 0 of `held_out`. The classifiers are those of the method rows `units_lda`, `units_mixture`,
`units_naive_bayes` and `units_ridge`: they learn six expressions at once and fifteen one by one, and choose their
penalties on validation people. With errors every unit of every picture is flipped with a probability, and all
intensities get noise (`config.data.units`). The Bayes accuracy is that of the flipped pattern, exactly; the noise is
left out of it, so it is an upper bound that a classifier of noisy units does not quite reach.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from fer_jax import metrics, protocol, statistics
from fer_jax.classifiers import CLASSIFIERS, Classifier
from fer_jax.data import units as unit_errors
from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.sampling import sample_picture
from fer_jax.methods import METHODS
from fer_jax.phases.answers import best_penalty
from studies import record

NAMES = ("units_lda", "units_mixture", "units_naive_bayes", "units_ridge")
N_BASE, N_CLASSES = categories.N_BASIC, categories.N_BASIC + categories.N_COMPOUND
FOLDS, ORDER_SEED = 10, 42
MEASURES = ("average_incremental_accuracy", "final_accuracy")


@functools.partial(jax.jit, static_argnums=0)
def _units(seed: int, cells: jax.Array) -> jax.Array:
    return jax.vmap(lambda cell: sample_picture(seed, cell[0], cell[1], 0).action_units)(cells)


def people(seed: int, n_subjects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns units f32[N, 17], labels i[N] and subjects i[N] of one picture a person and expression."""
    cells = np.stack(np.unravel_index(np.arange(n_subjects * N_CLASSES), (n_subjects, N_CLASSES)), 1)
    return np.asarray(_units(seed, jnp.asarray(cells))), cells[:, 1], cells[:, 0].astype(np.int32)


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


def measure(seed: int, n_subjects: int, flips: float, noise: float, orders: np.ndarray) -> list[dict]:
    """Returns a row for each classifier and class order, of one seed's people seen with these errors."""
    units, labels, subjects = people(seed, n_subjects)
    keys = [f"{seed}/{subject}/{label}".encode() for subject, label in zip(subjects, labels, strict=True)]
    units = unit_errors.with_errors(units, keys, flips, noise)
    split = protocol.split(subjects, 0, FOLDS, "held_out")
    counts, rows = np.bincount(labels[split.test], minlength=N_CLASSES), []
    for name in NAMES:
        (classifier,) = (CLASSIFIERS[one] for one in METHODS[name].classifiers)
        for number, order in enumerate(orders):
            a, learned_at = learn(classifier, units, labels, split, order), protocol.learned_at(order, N_BASE, 1)
            found = {measure: getattr(metrics, measure)(a, learned_at, counts) for measure in MEASURES}
            rows.append({"method": name, "seed": seed, "order": number, "flips": flips, "noise": noise, **found})
    return rows


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
    a, load = parser.parse_args(), record.load()
    if not all(0 <= flips <= 0.5 for flips in a.flips):
        parser.error(f"--flips has {a.flips}; they may be from 0 to 0.5")
    orders, rows = protocol.class_orders(categories.N_COMPOUND, a.orders, ORDER_SEED), []
    for seed in track(range(a.seeds), "seeds"):
        for flips in a.flips:
            rows += measure(seed, a.subjects, flips, a.noise if flips else 0.0, orders)
    settings = {"seeds": a.seeds, "n_subjects": a.subjects, "orders": a.orders, "flips": a.flips, "noise": a.noise}
    levels = summary(rows, orders)
    environment = record.environment("float32", load)
    record.write(a.out, {"settings": settings, "levels": levels, "rows": rows, "environment": environment})
    for level in levels:
        for name, estimates in level["estimates"].items():
            e = estimates["final_accuracy"]
            print(f"flips {level['flips']:g}, {name}: {record.words(e)}; Bayes {level['bayes']['final_accuracy']:.3f}")


if __name__ == "__main__":
    main()
