"""Does an adversary take people out of the features of expressions, or only out of its own sight?

Command: python -m studies.related.anonymity --out docs/results/related/anonymity.json     (make related)
Result:  docs/results/related/anonymity.json
Time:    six minutes on two cores

Paper: Narula, Wang and Chaspari, An adversarial learning framework for preserving users' anonymity in face-based
emotion recognition, arXiv 2001.06103. Read: the abstract alone. In turns a network is trained to recognise expressions
and not to let people be recognised; it does the first as well as before, and the second worse (Yale, JAFFE).

Our choice: a recogniser I of people, of one hidden layer, sees the features of the network and minimises CE_id; the
network minimises CE_e - λ min(CE_id, log n), so that it gains nothing by more than I's ignorance of the n people. I
takes four steps a batch, the network one, after a phase of expressions alone that all arms share. λ = 0 goes on with
that. The pictures that test are other ones of the same people in the same categories: this study does not split by
person, since its question is the person.

Measurement: the accuracy of expressions; of I; and, which decides, of a fresh and larger attacker that learns people
from the features as they are in the end. Controls: without an adversary (λ = 0) the attacker can do it; I itself ends
near chance, as it must if the game was played; and so few features of λ = 0, drawn at random, that expressions are
recognised no better, leave the attacker more. Other pictures than those that test choose how few.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import rng
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, Params, merge
from fer_jax.training.batch import Batch
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, Examples

PLAIN, HIDDEN, COMPRESSED = "no adversary", "adversary", "random compression"
ARMS, KEPT = (PLAIN, HIDDEN), (2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192)
ATTACKER, AHEAD = {"hidden": (256,)}, 4  # I takes so many steps to one of the network


def recogniser(n: int) -> ExpressionHead:
    """Returns the recogniser I of n people."""
    return ExpressionHead((128,), n, dropout=0.0)


def scaled(features: jax.Array) -> jax.Array:
    """Returns features f32[N, D] standardised, so that a smaller scale does not hide what they hold."""
    return (features - features.mean(0)) * jax.lax.rsqrt(features.var(0) + 1e-6)


@functools.cache
def players(net: Network, n: int, augmentation):
    """Returns the recogniser and the network as players, the same functions for the same arguments."""

    def seen(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the logits of expressions, of people, and whose pictures they are."""
        whole = merge(params["network"], params["rest"])
        images = net.trunk(whole, augmentation(key, batch.images, jnp.arange(len(batch.images))), "input")
        logits, features = net.tail(whole, images, "input")
        return logits, recogniser(n).apply({"params": params["recogniser"]}, scaled(features)), batch.subjects

    def of_people(params, batch, key, weight):
        _, logits, subjects = seen(params, batch, key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, subjects).mean()

    def of_expressions(params, batch, key, weight):
        logits, people, subjects = seen(params, batch, key)
        known = jnp.where(params["mask"], logits, -1e9)
        own = optax.softmax_cross_entropy_with_integer_labels(known, batch.labels).mean()
        other = optax.softmax_cross_entropy_with_integer_labels(people, subjects).mean()
        return own - weight * jnp.minimum(other, jnp.log(n))

    return (("recogniser", of_people),) * AHEAD + (("network", of_expressions),)


def population(work: Work) -> tuple[Examples, np.ndarray, np.ndarray, np.ndarray]:
    """Returns pictures with people numbered from 0, and which train, choose and test: of every person in turns."""
    s = work.settings
    if s.config:
        data = learning.files(s.config)
        facts = Batch(jnp.asarray(data.label), jnp.asarray(data.subject))
        examples = Examples(data.image, facts, len(data.class_names))
        several = np.bincount(data.subject)[data.subject] > 1
        examples = examples.part(np.flatnonzero(several))
    else:
        which = learning.cells(range(s.people), ALL, s.pictures)
        examples = learning.faces(which, learning.sampled(work.seed, which), s.size)
    label, subject = np.asarray(examples.facts.labels), np.asarray(examples.facts.subjects)
    _, numbers = np.unique(subject, return_inverse=True)
    turns = np.lexsort((label, numbers))
    facts = Batch(examples.facts.labels, jnp.asarray(numbers, jnp.int32))
    return examples._replace(facts=facts), turns[::2], turns[1::4], turns[3::4]


def measure(work: Work) -> dict[str, float]:
    """Returns how well expressions and people are recognised from the features of every arm."""
    s, row = work.settings, {}
    examples, train, chosen_on, test = population(work)
    n = int(examples.facts.subjects.max()) + 1
    net = learning.network(s.widths, examples.n_classes)
    by = learning.recipe(net)
    start = learning.starting(work, net, examples.pictures[train])
    start = learning.train(work, "expressions", by, examples, train, start, s.epochs)
    who = examples._replace(facts=examples.facts._replace(labels=examples.facts.subjects), n_classes=n)
    for arm in ARMS:
        ended, own = game(work, arm, net, start, examples, train, n)
        features = learning.encoded(ended, net, examples.pictures)
        named = np.asarray(recogniser(n).apply({"params": own}, scaled(features[test]))).argmax(1)
        row |= {
            f"{arm}: expressions": learning.accuracy(ended, net, examples, test),
            f"{arm}: own adversary": float(np.mean(named == np.asarray(who.facts.labels)[test])),
            f"{arm}: fresh attacker": learning.probed(
                work, f"attacker, {arm}", who._replace(pictures=features), train, test, s.attack, **ATTACKER
            ),
        }
        if arm == PLAIN:
            plain = features
    enough = learning.accuracy(ended, net, examples, chosen_on)  # of the last arm
    row |= compressed(work, plain, examples, who, (train, chosen_on, test), enough)
    return row | {"chance": 1 / n}


def game(work: Work, arm: str, net: Network, start: Params, examples: Examples, train, n: int) -> tuple[Params, Params]:
    """Returns the network and the recogniser after they played; without an adversary the recogniser only watches."""
    mine, rest = net.split(start, "input")
    fresh = recogniser(n).init(rng.derive(work.seed, "recogniser"), jnp.zeros((1, net.backbone.feature_width)))
    params = {"network": mine, "rest": rest, "recogniser": fresh["params"], "mask": examples.mask}
    pair = players(net, n, learning.recipe(net).augmentation)
    weight = work.settings.weight if arm == HIDDEN else 0.0
    ended = learning.play(work, arm, pair, params, examples, train, weight)
    return merge(ended["network"], rest), ended["recogniser"]


def compressed(work: Work, features, examples: Examples, who: Examples, parts, enough: float) -> dict[str, float]:
    """Returns the same of the fewest features, drawn at random, that tell expressions as well as `enough`."""
    s, (train, chosen_on, test) = work.settings, parts
    drawn = np.random.default_rng(work.seed).permutation(features.shape[1])
    for n in (*(n for n in KEPT if n < len(drawn)), len(drawn)):
        few = features[:, drawn[:n]]
        recognised = work, f"expressions of {n}", examples._replace(pictures=few), train
        if learning.probed(*recognised, chosen_on, s.attack, hidden=(128,)) >= enough:
            break
    told = learning.probed(*recognised, test, s.attack, hidden=(128,))
    attacked = learning.probed(work, f"attacker of {n}", who._replace(pictures=few), train, test, s.attack, **ATTACKER)
    found = {"expressions": told, "fresh attacker": attacked, "features kept": few.shape[1] / len(drawn)}
    return {f"{COMPRESSED}: {what}": value for what, value in found.items()}


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns test pictures above those whose features are nearest to theirs, without an adversary and with one."""
    examples, train, _, test = population(work)
    n = int(examples.facts.subjects.max()) + 1
    net, start = learning.network(work.settings.widths, examples.n_classes), work.once("expressions", dict)
    shown = test[:: max(1, len(test) // 8)][:8]
    rows = [examples.pictures[shown]]
    for arm in ARMS:
        ended, _ = game(work, arm, net, start, examples, train, n)
        features = learning.encoded(ended, net, examples.pictures)
        unit = np.asarray(scaled(features))
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        rows.append(examples.pictures[train[(unit[shown] @ unit[train].T).argmax(1)]])
    return rows, (
        "Test pictures, and training pictures of nearest features: without and with an adversary. No picture changes."
    )


def less(name: str, than: str, **bound: float) -> Statement:
    """Returns a statement of the difference of two numbers of a row."""
    return Statement(f"{name} less {than}", lambda row: row[name] - row[than], **bound)


STUDY = Study(
    "anonymity", "Adversarial anonymity", "2001.06103",
    "features can lose who it is and retain the expression", measure,
    claims=(
        less(f"{HIDDEN}: fresh attacker", "chance", below=0.1),
        less(f"{PLAIN}: expressions", f"{HIDDEN}: expressions", below=0.03),
    ),
    controls=(
        less(f"{PLAIN}: fresh attacker", "chance", above=0.2),
        less(f"{HIDDEN}: own adversary", "chance", below=0.1),
        less(f"{HIDDEN}: fresh attacker", f"{PLAIN}: fresh attacker", below=0.0),
        less(f"{HIDDEN}: fresh attacker", f"{COMPRESSED}: fresh attacker", below=0.0),
    ),
    shown={
        **{f"{arm}: {what}": f"{arm}, {what}" for what in ("fresh attacker", "own adversary", "expressions")
           for arm in ARMS},
        **{f"{COMPRESSED}: {what}": f"{COMPRESSED}, {what}" for what in
           ("fresh attacker", "expressions", "features kept")},
        "chance": "chance of naming a person",
    },
    options={"people": 20, "pictures": 8, "size": 48, "widths": (16, 32, 48, 64), "epochs": 30, "play": 20,
             "batch": 32, "rate": 1e-3, "weight": 0.5, "attack": 30},
    picture=picture, takes_files=True,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
