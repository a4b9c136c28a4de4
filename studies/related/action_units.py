"""Does a network that learned action units need fewer labelled pictures to learn expressions?

Command: python -m studies.related.action_units --out docs/results/related/action_units.json     (make related)
Result:  docs/results/related/action_units.json
Time:    five minutes on two cores

Paper: Leveraging Previous Facial Action Units Knowledge for Emotion Recognition on Faces, arXiv 2311.11980. Read: the
abstract alone. A network that recognises action units serves one that recognises emotions.

Our choice: stage 1 learns by binary cross-entropy which of the 17 units are there. Stage 2 names the 21
expressions by a linear layer on its features and the units' probabilities; the trunk is frozen. Against it the same
network learns expressions alone by cross-entropy from the same labelled pictures, in as many updates. Units are labels
too: stage 1 has 17 of them for each of all pictures, 24,990, also where few of the pictures have an expression's label.

Measurement: accuracy on unseen people from few, more and all labelled pictures a class; the accuracy on the fifteen
compound expressions of a network that saw units of basic ones alone, by the table of units, without a picture of any
compound one; and the share of units that is told wrongly, with the exact ceiling where every unit is told wrongly as
often. Controls: units permuted over the pictures must gain nothing over the same network untrained; the picture's own
units must beat the share of people who show a unit in its category, which needs the category of all pictures in their
place; and by the table units are worth no more than the exact ceiling of a detector with as many errors.
"""

import functools

import jax.numpy as jnp
import numpy as np

from fer_jax import objectives
from fer_jax.data.facs_faces import bayes, categories
from fer_jax.models.network import Network, Params
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, BASIC, Examples

STAGE_1 = objectives.OBJECTIVES["action_units"].replace(
    terms={"action_units": objectives.TERMS["action_units"]}, targets=("action_units",)
)
COMPOUND = ALL[len(BASIC) :]
AMOUNTS = {"few": "5 a class", "more": "20 a class", "all": "70 a class"}
SHOTS = tuple(AMOUNTS)
OWN, MEANS, PERMUTED, UNTRAINED, PLAIN = "units", "category means", "permuted units", "untrained", "cross-entropy"
LEAST = 0.02  # a share of the table is no nearer to 0 or 1, so that one wrong unit does not exclude a category


def unit_probabilities(params: Params, features: np.ndarray) -> np.ndarray:
    """Returns the probability of each unit, f32[N, 17], by the head of stage 1."""
    (layer,) = params["heads"]["units"]
    return 1 / (1 + np.exp(-(features @ layer["kernel"] + layer["bias"])))


def by_table(probabilities: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """Returns the category whose units a picture's are likeliest to be, of these classes, i[N]."""
    shares = np.clip(categories.presence_probability()[list(classes)], LEAST, 1 - LEAST)
    likely = probabilities @ np.log(shares).T + (1 - probabilities) @ np.log(1 - shares).T
    return np.asarray(classes)[likely.argmax(1)]


def first_of_each(labels: np.ndarray, train: np.ndarray, shots: int) -> np.ndarray:
    """Returns the first pictures of each class of those that train."""
    return np.concatenate([train[labels[train] == c][:shots] for c in np.unique(labels)])


def measure(work: Work) -> dict[str, float]:
    """Returns accuracies of every arm with every number of labelled pictures."""
    s = work.settings
    which = learning.cells(range(s.people + s.unseen), ALL)
    examples = learning.faces(which, learning.sampled(work.seed, which), s.size)
    train, test = (np.flatnonzero(seen) for seen in (which[:, 0] < s.people, which[:, 0] >= s.people))
    labels, net = which[:, 1], learning.network(s.widths, examples.n_classes)
    start = learning.starting(work, net, examples.pictures[train])
    arms = stage_1(work, net, examples, train, start)
    row = {}
    for name, shots in zip(SHOTS, (*s.shots, len(train)), strict=True):
        rows = first_of_each(labels, train, shots)
        # A pool that is repeated makes epochs of equal length.
        pool = np.tile(rows, -(-len(train) // len(rows)))[: len(train)]
        alone = learning.train(work, f"{PLAIN}, {name}", learning.recipe(net), examples, pool, start, s.epochs)
        row[f"{PLAIN}: {name}"] = learning.accuracy(alone, net, examples, test)
        for arm, params in arms.items():
            features = learning.encoded(params, net, examples.pictures)
            known = (
                np.concatenate([features, unit_probabilities(params, features)], 1) if "heads" in params else features
            )
            given = examples._replace(pictures=known)
            scores = learning.probe(work, f"stage 2, {arm}, {name}", given, pool, s.fit)
            named = np.where(np.asarray(examples.mask), scores, -np.inf).argmax(1)
            row[f"{arm}: {name}"] = float(np.mean(named[test] == labels[test]))
    return row | table_alone(work, net, examples, arms[OWN], train, test, start)


def stage_1(work: Work, net: Network, examples: Examples, train: np.ndarray, start: Params) -> dict[str, Params]:
    """Returns the networks of stage 1 by arm, and the untrained one."""
    units = np.asarray(examples.facts.targets["action_units"]) > 0
    permuted = units.copy()
    permuted[train] = np.random.default_rng(work.seed).permutation(units[train])
    means = categories.presence_probability()[np.asarray(examples.facts.labels)]
    arms = {UNTRAINED: start}
    for name, target in ((OWN, units), (MEANS, means), (PERMUTED, permuted)):
        told = examples._replace(
            facts=examples.facts._replace(targets={"action_units": jnp.asarray(target, jnp.float32)})
        )
        by = learning.recipe(net, STAGE_1)
        arms[name] = learning.train(work, f"stage 1, {name}", by, told, train, start, work.settings.epochs)
    return arms


def table_alone(work, net, examples: Examples, own: Params, train, test, start: Params) -> dict[str, float]:
    """Returns what the table of units names, without a labelled picture of the classes in question."""
    labels, units = (np.asarray(one) for one in (examples.facts.labels, examples.facts.targets["action_units"] > 0))
    basic, compound = train[np.isin(labels[train], BASIC)], test[np.isin(labels[test], COMPOUND)]
    told = examples._replace(facts=examples.facts._replace(targets={"action_units": jnp.asarray(units, jnp.float32)}))
    of_basic = learning.train(
        work, "stage 1, basic expressions", learning.recipe(net, STAGE_1), told, basic, start, work.settings.epochs
    )
    unseen = unit_probabilities(of_basic, learning.encoded(of_basic, net, examples.pictures[compound]))
    seen = unit_probabilities(own, learning.encoded(own, net, examples.pictures[test]))
    wrong = float(np.mean((seen > 0.5) != units[test]))
    return {
        "compound by table": float(np.mean(by_table(unseen, COMPOUND) == labels[compound])),
        "all by table": float(np.mean(by_table(seen, ALL) == labels[test])),
        "units told wrongly": wrong,
        "ceiling with such a detector": bayes.bayes_accuracy(np.asarray(ALL), flips=wrong),
    }


@functools.cache
def ceilings() -> dict[str, float]:
    """Returns the exact accuracy of a classifier that sees every unit."""
    return {"21": bayes.bayes_accuracy(np.asarray(ALL))}


def less(arm: str, than: str, shots: str, **bound: float) -> Statement:
    """Returns a statement of how much better an arm is than another one."""
    return Statement(
        f"{AMOUNTS[shots]}: {arm} less {than}", lambda row: row[f"{arm}: {shots}"] - row[f"{than}: {shots}"], **bound
    )


STUDY = Study(
    "action_units", "Action units first", "2311.11980",
    "knowledge of action units helps to recognise emotions", measure,
    claims=(
        *(less(OWN, PLAIN, shots, above=0.0) for shots in SHOTS),
        Statement("compound expressions by the table alone, less chance",
                  lambda row: row["compound by table"] - 1 / len(COMPOUND), above=0.0),
    ),
    controls=(
        *(less(PERMUTED, UNTRAINED, shots, below=0.02) for shots in SHOTS),
        *(less(OWN, MEANS, shots, above=0.0) for shots in SHOTS),
        Statement("by the table: predicted units less the ceiling of such a detector",
                  lambda row: row["all by table"] - row["ceiling with such a detector"], below=0.0),
    ),
    shown={
        **{f"{arm}: {shots}": f"{arm}, {AMOUNTS[shots]}" for shots in SHOTS for arm in (PLAIN, OWN, MEANS, PERMUTED)},
        "compound by table": "compound expressions by the table alone",
        "all by table": "all expressions by the table alone",
        "ceiling with such a detector": "exact ceiling of such a detector",
        "units told wrongly": "units told wrongly",
    },
    options={"people": 70, "unseen": 280, "shots": (5, 20), "size": 48, "widths": (16, 32, 48, 64), "epochs": 20,
             "fit": 30},
    ceilings=ceilings,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
