"""What do class weights and a class-balanced sampler change where classes are 20 : 1?

Command: python -m studies.imbalance --out docs/results/imbalance.json     (make imbalance)
Result:  docs/results/imbalance.json
Time:    three quarters of an hour on two cores

Measured on rendered faces. Of the six basic expressions, and of the fifteen compound ones, the rarest has a twentieth
of the most frequent one's training images, those between fall geometrically (as arXiv 1901.05555 makes long-tailed
sets), and the seed decides which is which. Validation people are thinned out alike, test people are not. The base task
and the increments are trained plainly, with class weights, and with class-balanced batches, on the same images.
Macro-F1 and mean recall are over classes; each seed has people and a base model of its own.
"""

import argparse
import dataclasses
import pathlib

import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import experiment, metrics, protocol
from fer_jax.config.rules import optional, whole
from fer_jax.data import facs_faces
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.objectives import BALANCES
from fer_jax.runs.progress import log, start_logging
from studies import record

RATIO, FOLDS, N_BASE = 20, 5, 6
METHODS = ("er", "kd_psmr")
SEEDS = 15


def thinned(data: FaceArrays, ratio: int, seed: int) -> FaceArrays:
    """Returns the data set thinned out: test people whole, the others' classes from all images to a `ratio`-th.

    A fifth of the people tests, by number the last; the first of FOLDS folds of the others validates.
    """
    people = np.unique(data.subject)
    test = np.isin(data.subject, people[-max(1, len(people) // 5) :])
    validates = np.isin(data.subject, protocol.subject_folds(data.subject[~test], FOLDS)[0])
    generator, rows = np.random.default_rng(seed), [np.flatnonzero(test)]
    for group in (range(N_BASE), range(N_BASE, len(data.class_names))):
        shares = ratio ** -np.linspace(0, 1, len(group))
        for c, share in zip(generator.permutation(group), shares, strict=True):
            for part in (validates, ~validates):
                own = generator.permutation(np.flatnonzero(~test & part & (data.label == c)))
                rows.append(own[: max(1, round(share * len(own)))])
    rows = np.sort(np.concatenate(rows))
    return dataclasses.replace(
        data,
        image=data.image[rows],
        label=data.label[rows],
        subject=data.subject[rows],
        official_test=test[rows],
        targets={name: values[rows] for name, values in data.targets.items()},
    )


def _load(config: ml_collections.ConfigDict) -> FaceArrays:
    # Without the class that the config leaves out, so that the rarest is one of those that remain.
    data = facs_faces.DATA_SET.load(config).without(("neutral",))
    return thinned(data, config.imbalance, config.seed)


DATA_SET = DataSet(facs_faces.DATA_SET.keys | {"data.imbalance": optional(whole(1), RATIO)}, _load)


def settings(seed: int, balance: str, n_subjects: int) -> ml_collections.ConfigDict:
    """Returns the config of one run: the quickstart's network on two class orders."""
    config = configs.complete(record.quickstart(
        seed=seed, data__seed=seed, data__name="studies.imbalance.DATA_SET", data__exclude=(),
        data__n_subjects=n_subjects, protocol__n_folds=FOLDS, protocol__n_orders=2, methods=METHODS,
        feature_cache__views=4, few_shot__shots=(),
    ))  # fmt: skip
    config.basic.balance = config.continual.balance = balance
    return config


def run(seed: int, balance: str, n_subjects: int, workdir: pathlib.Path, console=None) -> dict[str, float]:
    """Trains one seed one way, or reads it; returns the measures by name."""
    config = settings(seed, balance, n_subjects)
    found = experiment.train(config, workdir / f"seed{seed}_{balance}", console)
    confusion = np.asarray(found["basic"][0]["test_confusion"])[:N_BASE, :N_BASE]
    measures = {
        "base, macro-F1": metrics.macro_f1(confusion),
        "base, mean recall": metrics.mean_class_recall(confusion),
    }
    for method in METHODS:
        runs = found["continual"][method]["runs"]
        for name in ("macro_f1_final", "macro_f1_average", "mean_class_recall_final"):
            measures[f"{method}, {name}"] = float(np.mean([one["metrics"][name] for one in runs]))
    return measures


def compare(seeds: range, n_subjects: int, workdir: pathlib.Path, console=None) -> dict:
    """Returns the measures of every seed and way, their estimates, and those of the differences from no balancing."""
    rows = {balance: [] for balance in BALANCES}
    for seed in seeds:
        for balance in BALANCES:
            log.info("seed %d, %s", seed, balance)
            rows[balance].append(run(seed, balance, n_subjects, workdir, console))

    def estimates(values: list[dict[str, float]]) -> dict[str, dict]:
        return {name: dataclasses.asdict(metrics.estimate([one[name] for one in values])) for name in values[0]}

    differences = {
        balance: estimates([
            {name: own[name] - plain[name] for name in own}
            for own, plain in zip(rows[balance], rows["none"], strict=True)
        ])
        for balance in BALANCES[1:]
    }  # fmt: skip
    return {
        "rows": rows,
        "estimates": {balance: estimates(values) for balance, values in rows.items()},
        "differences": differences,
    }


def main() -> None:
    """Measures, writes JSON to `--out`, and tells."""
    parser = record.command(__doc__)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--seeds", type=record.at_least(1), default=SEEDS, help="base models a way")
    parser.add_argument("--subjects", type=record.at_least(20), default=230, help="people of each seed")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/imbalance"), metavar="DIR")
    a, load = parser.parse_args(), record.load()
    seeds = range(record.FIRST_SEED, record.FIRST_SEED + a.seeds)
    with record.in_one_line(parser):
        found = compare(seeds, a.subjects, record.own_folder(a.workdir), start_logging())
    first = configs.flatten(configs.resolve(settings(0, "none", a.subjects)))
    environment = record.environment(first["model.precision"], load)
    record.write(
        a.out,
        {
            "config": first,
            "settings": {"seeds": a.seeds, "first_seed": record.FIRST_SEED, "n_subjects": a.subjects, "ratio": RATIO},
            **found,
            "environment": environment,
        },
    )
    for balance, measures in found["estimates"].items():
        for name, one in measures.items():
            print(f"{balance}, {name}: {100 * one['mean']:.1f} %, {one['n']} base models")


if __name__ == "__main__":
    main()
