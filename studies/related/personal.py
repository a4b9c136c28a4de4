"""Must a network be trained on pictures of its user, where people show expressions in their own way?

Command: python -m studies.related.personal --out docs/results/related/personal.json     (make related)
Result:  docs/results/related/personal.json
Time:    ten minutes on two cores

Paper: Gaya-Morey et al., Assessing the Efficacy of Deep Learning Approaches for Facial Expression Recognition in
Individuals with Intellectual Disabilities, arXiv 2401.11877. Read: the abstract and the beginning. Twelve networks do
badly on such people after training on others, with the condition or without; training on the user is needed.

Our choice: people with habits of their own. Of each of their expressions a core unit is dropped with probability .4 and
a unit that nobody shows in it added with .1, for good. Six basic expressions and neutral. A learns from typical people,
B from as many other people with habits, C is B trained on with a few pictures of the user. The pictures of a user that
test are other ones of the same expressions: this study does not split by person, since its question is the user.

Measurement: accuracy of A and B on many people with habits, since few have too few habits to tell A from B; of C and B
on C's users; and how far Grad-CAM maps overlap. Control: C trained on another user's pictures, in as many steps, must
not gain on B. Ceilings are exact: the best rule that knows the typical table, or that of people with habits; or the
user's own habits, by drawing 2,000 of them.
"""

import functools

import jax.numpy as jnp
import numpy as np

from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.sampling import Picture
from fer_jax.explain import maps
from fer_jax.explain.figures import overlay
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ADDED, BASIC, DROPPED, NEUTRAL, Examples

CLASSES, REPEATS = (*BASIC, NEUTRAL), 8
FLIPS = 0.01  # the typical rule takes a pattern that nobody shows for the likeliest one with so many errors
MODELS = ("A", "B", "C")


def shares_with_habits(table: np.ndarray) -> np.ndarray:
    """Returns how often people with habits show each unit, f64[C, 17], from typical people's shares."""
    return np.where(table == 1, 1 - DROPPED, np.where(table == 0, ADDED, table))


def group(work: Work, first: int, people: int, pictures: int, habits: bool) -> Examples:
    """Returns pictures of people, numbered from `first`."""
    which = learning.cells(range(first, first + people), CLASSES, pictures)
    shown = learning.sampled(work.seed, which)
    return learning.faces(which, learning.with_habits(work.seed, which, shown) if habits else shown, work.settings.size)


def measure(work: Work) -> dict[str, float]:
    """Returns accuracies on the users, and the overlaps of maps."""
    s = work.settings
    typical, others = (group(work, number * s.people, s.people, s.pictures, number == 1) for number in (0, 1))
    users = group(work, 2 * s.people, s.users, s.few + s.tests, habits=True)
    net = learning.network(s.widths, users.n_classes)
    by, every = learning.recipe(net), np.arange(len(typical.pictures))
    start = learning.starting(work, net, typical.pictures)
    a = learning.train(work, "A", by, typical, every, start, s.epochs)
    b = learning.train(work, "B", by, others, every, start, s.epochs)
    number, subject = np.arange(len(users.pictures)) % (s.few + s.tests), np.asarray(users.facts.subjects)
    adapting = learning.recipe(net, batch_size=len(CLASSES) * s.few, learning_rate=s.rate)
    rows: dict[str, list[float]] = {}
    for user in range(s.users):
        own, other = (2 * s.people + (user + step) % s.users for step in (0, 1))
        test = np.flatnonzero((subject == own) & (number >= s.few))
        models = {"A": a, "B": b}
        for name, whose in (("C", own), ("another user's", other)):
            few = np.flatnonzero((subject == whose) & (number < s.few))
            models[name] = learning.train(
                work, f"user {user}, {name}", adapting, users, np.tile(few, REPEATS), b, s.adapt
            )
        for name, params in models.items():
            rows.setdefault(name, []).append(learning.accuracy(params, net, users, test))
        one = test[number[test] == s.few]
        heat = {name: heat_maps(models[name], net, users, one) for name in MODELS}
        for first, second in (("A", "B"), ("A", "C"), ("B", "C")):
            overlap = maps.overlap(heat[first], heat[second])
            rows.setdefault(f"overlap of {first} and {second}", []).append(float(jnp.mean(overlap)))
    met = group(work, 2 * s.people + s.users, s.met, 1, habits=True)
    of_many = {f"{name}, of many": learning.accuracy(params, net, met, np.arange(len(met.pictures)))
               for name, params in (("A", a), ("B", b))}  # fmt: skip
    return {name: float(np.mean(values)) for name, values in rows.items()} | of_many


def heat_maps(params, net, examples: Examples, rows: np.ndarray):
    """Returns Grad-CAM maps of pictures for their own classes, f32[R, H, W]."""
    images = jnp.asarray(examples.pictures[rows], jnp.float32) / 255
    layer = maps.default_layer(net, images.shape[1])
    return maps.grad_cam(params, images, examples.facts.labels[rows], net, layer, "plain")


@functools.cache
def ceilings() -> dict[str, float]:
    """Returns the accuracy of the best rules on people with habits."""
    table = categories.presence_probability()[list(CLASSES)]
    shown = bayes.patterns(shares_with_habits(table))
    typical = bayes.patterns(table * (1 - FLIPS) + (1 - table) * FLIPS).argmax(0)
    generator, known = np.random.default_rng(0), []
    for _ in range(2000):
        patterns = generator.uniform(size=table.shape) < shares_with_habits(table)
        known.append(len(np.unique(patterns, axis=0)) / len(table))
    return {
        "A": float(shown[typical, np.arange(shown.shape[1])].sum() / len(table)),
        "B": float(shown.max(0).sum() / len(table)),
        "C": float(np.mean(known)),
    }


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns a typical person, a user, and what the three models look at in the user."""
    s = work.settings
    which = learning.cells([2 * s.people], CLASSES, s.few + s.tests)
    shown = learning.sampled(work.seed, which)
    user = learning.faces(which, learning.with_habits(work.seed, which, shown), s.size)
    rows, net = np.flatnonzero(which[:, 2] == s.few), learning.network(s.widths, user.n_classes)
    sheet = [learning.rendered(Picture(*(one[rows] for one in shown)), s.size), user.pictures[rows]]
    for name in ("A", "B", "user 0, C"):
        heat = np.asarray(heat_maps(work.once(name, dict), net, user, rows))
        sheet.append(np.stack([overlay(*one) for one in zip(user.pictures[rows], heat, strict=True)]))
    return sheet, (
        f"{', '.join(categories.NAMES[c] for c in CLASSES).capitalize()}. Rows: a typical person; a user with habits; "
        "the user's Grad-CAM maps by A, B and C."
    )


def less(name: str, than: str, of: str) -> Statement:
    """Returns the statement that a model does better than another one."""
    return Statement(f"{name[0]} less {than[0]}, {of}", lambda row: row[name] - row[than], above=0.0)


STUDY = Study(
    "personal", "Personal models", "2401.11877",
    "people with habits of their own need a model trained on them", measure,
    claims=(less("B, of many", "A, of many", "many people"), less("C", "B", "C's users")),
    controls=(
        Statement("C on another user's pictures less B", lambda row: row["another user's"] - row["B"], below=0.02),
    ),
    shown={
        "A, of many": "A, typical people", "B, of many": "B, others with habits", "C": "C, the user",
        "B": "B on the users that C learns from", "another user's": "C on another user's pictures",
        **{f"overlap of {pair}": f"overlap of Grad-CAM maps (100 is equal), {pair}"
           for pair in ("A and B", "A and C", "B and C")},
    },
    options={"people": 1000, "pictures": 1, "users": 14, "met": 280, "few": 3, "tests": 6, "size": 48,
             "widths": (16, 32, 48, 64), "epochs": 20, "adapt": 12, "rate": 1e-3},
    picture=picture, ceilings=ceilings,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
