"""Do mixed identities and mixed domains make rendered faces enough to recognise real people by?

Command: python -m studies.related.synface --out docs/results/related/synface.json     (make related)
Result:  docs/results/related/synface.json
Time:    seven minutes on two cores

Paper: Qiu, Yu, Gong, Li, Liu and Tao, SynFace: Face Recognition with Synthetic Data, arXiv 2108.07960. Read: the
abstract and the authors' code (haibo-qiu/SynFace). Identity mixup makes a face between two people, φ a + (1 - φ) b with
φ in {0, .05, …, 1}, and mixes their labels alike; domain mixup does the same with a synthetic and a real picture.
Recognition from synthetic pictures < with identity mixup < with both < from real ones alone.

Our choice: a "real" picture is rendered, too, in stronger and warmer light, darker, blurred and with more noise. A
picture shows the inner face, in any category. What a face has one of several of (colours of hair and eyes, glasses) is
the nearer person's. All arms have as many pictures and updates; with both mixups each mixed face is mixed with a real
one of few other people. All labels are shares of people, learned by cross-entropy of a linear layer on the features,
for 60 epochs: mixed labels are learned slowly.

Measurement: unseen people in real pictures; the share of pairs that is told rightly as the same or not, by the cosine
of features, at the threshold where both kinds have as many errors. Controls: the same mixed faces with person a's label
alone, and domains mixed by shares of 0 or 1, must do worse. Beside it: whether mixed faces of the same expression help
to name expressions of unseen people.
"""

import jax.numpy as jnp
import numpy as np
import optax

from fer_jax import objectives
from fer_jax.data.facs_faces.parameters import IDENTITY, NUISANCE
from fer_jax.data.facs_faces.sampling import Picture
from fer_jax.objectives import Objective
from fer_jax.training.batch import Batch
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, Examples

SYNTHETIC, IDENTITIES, BOTH, REAL = "synthetic", "identity mixup", "identity and domain mixup", "real"
HARD, UNMIXED = "identity mixup, one label", "domains not mixed"
ARMS, STRANGERS = (SYNTHETIC, IDENTITIES, BOTH, REAL, HARD, UNMIXED), 10_000
SHARES = np.linspace(0, 1, 21)
ONE_OF_SEVERAL = ("hair_colour", "eye_colour", "glasses", "freckles")
SHIFTS = {
    "light_strength": 0.3,
    "light_warm": 0.15,
    "exposure": -0.15,
    "contrast": -0.2,
    "noise": 0.05,
    "softness": 0.5,
}


def soft_cross_entropy(outputs, context):
    """Returns the cross-entropy to shares of people, f32[R]."""
    return optax.softmax_cross_entropy(outputs.logits, outputs.targets["shares"])


SOFT = Objective({"soft cross-entropy": soft_cross_entropy}, targets=("shares",))


def between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns identities f32[N, I] between those of a and b, which have shares f[N] of a."""
    share = share[:, None]
    mixed = share * a + (1 - share) * b
    nearer = np.where(share >= 0.5, a, b)
    return np.where(np.isin(list(IDENTITY), ONE_OF_SEVERAL), nearer, mixed).astype(np.float32)


def as_real(pictures: Picture) -> Picture:
    """Returns the pictures in the circumstances of the real domain."""
    shift = np.asarray([SHIFTS.get(name, 0.0) for name in NUISANCE], np.float32)
    return pictures._replace(nuisance=pictures.nuisance + shift)


def mixed_people(seed: int, which: np.ndarray, shown: Picture) -> tuple[Picture, np.ndarray, np.ndarray]:
    """Returns pictures of people between those of cells and others of them, the others, and the shares."""
    generator, people = np.random.default_rng(seed), np.unique(which[:, 0])
    other = people[
        (np.searchsorted(people, which[:, 0]) + generator.integers(1, len(people), len(which))) % len(people)
    ]
    share = generator.choice(SHARES, len(which))
    partner = learning.sampled(seed, np.stack([other, which[:, 1], which[:, 2]], 1)).identity
    return shown._replace(identity=between(shown.identity, partner, share)), other, share


def training_sets(work: Work) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the pictures u8[N, H, W, 3] of every arm, and whose they are, f32[N, people]."""
    s, generator = work.settings, np.random.default_rng([work.seed, 1])
    which, few = learning.cells(range(s.people), ALL), learning.cells(range(s.people, s.people + s.few), ALL)
    shown, labels = learning.sampled(work.seed, which), np.eye(s.people + s.few, dtype=np.float32)
    mixed, other, share = mixed_people(work.seed, which, shown)
    plain, mixed, real, of_few = (
        learning.cropped(learning.rendered(one, s.size))
        for one in (shown, mixed, as_real(shown), as_real(learning.sampled(work.seed, few)))
    )
    a, b, share = labels[which[:, 0]], labels[other], share[:, None].astype(np.float32)
    between_two = share * a + (1 - share) * b
    partner = generator.integers(0, len(few), len(which))
    sets = {SYNTHETIC: (plain, a), IDENTITIES: (mixed, between_two), REAL: (real, a), HARD: (mixed, a)}
    for arm, shares in ((BOTH, SHARES), (UNMIXED, SHARES[[0, -1]])):
        drawn = generator.choice(shares, len(which)).astype(np.float32)[:, None]
        whole = drawn[..., None, None]
        pictures = np.round(whole * mixed + (1 - whole) * of_few[partner]).astype(np.uint8)
        sets[arm] = pictures, drawn * between_two + (1 - drawn) * labels[few[partner, 0]]
    return sets


def verified(features: np.ndarray, subjects: np.ndarray) -> float:
    """Returns the share of pairs told rightly by the cosine of features f32[N, D], where both kinds err as often."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(len(unit), 1)
    order = np.argsort((unit @ unit.T)[pairs])
    same = (subjects[:, None] == subjects)[pairs][order]
    missed, passed = np.cumsum(same) / same.sum(), 1 - np.cumsum(~same) / (~same).sum()
    place = np.abs(missed - passed).argmin()
    return float(1 - (missed[place] + passed[place]) / 2)


def measure(work: Work) -> dict[str, float]:
    """Returns how well each arm tells unseen people apart, and expressions with mixed faces and without."""
    s, sets = work.settings, training_sets(work)
    strangers = learning.cells(range(STRANGERS, STRANGERS + s.unseen), ALL)
    shown = learning.sampled(work.seed, strangers)
    real = learning.cropped(learning.rendered(as_real(shown), s.size))
    every, row = np.arange(len(sets[SYNTHETIC][0])), {}
    net = learning.network(s.widths, s.people + s.few, hidden=())
    start = learning.starting(work, net, sets[SYNTHETIC][0])
    for arm in ARMS:
        pictures, shares = sets[arm]
        facts = Batch(jnp.asarray(shares.argmax(1)), targets={"shares": jnp.asarray(shares)})
        by, examples = learning.recipe(net, SOFT), Examples(pictures, facts, shares.shape[1])
        params = learning.train(work, arm, by, examples, every, start, s.epochs)
        row[arm] = verified(learning.encoded(params, net, real), strangers[:, 0])
    return row | expressions(work, sets, learning.faces(strangers, shown, s.size))


def expressions(work: Work, sets: dict[str, tuple[np.ndarray, np.ndarray]], unseen: Examples) -> dict[str, float]:
    """Returns the accuracy on expressions of unseen people, half of the pictures being mixed or none."""
    s, row = work.settings, {}
    labels = jnp.asarray(learning.cells(range(s.people), ALL)[:, 1])
    facts = Batch(labels, targets={"twin_mixed": jnp.asarray(sets[IDENTITIES][0])})
    examples = Examples(sets[SYNTHETIC][0], facts, unseen.n_classes)
    unseen, every = unseen._replace(pictures=learning.cropped(unseen.pictures)), np.arange(len(labels))
    net = learning.network(s.widths, unseen.n_classes)
    start = learning.starting(work, net, examples.pictures)
    for name, objective in (("plain", "cross_entropy"), ("mixed", "identity_mixing")):
        by = learning.recipe(net, objectives.OBJECTIVES[objective])
        params = learning.train(work, f"expressions, {name}", by, examples, every, start, s.epochs)
        row[f"expressions: {name}"] = learning.accuracy(params, net, unseen, np.arange(len(unseen.pictures)))
    return row


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns faces between two people, and pictures between a rendered and a "real" one."""
    steps = np.linspace(1, 0, 6)
    (a, b), units, around = (
        np.repeat(one[:, None], 6, 1) for one in learning.sampled(work.seed, learning.cells((0, 1), (0,)))
    )
    line = learning.rendered(Picture(between(a, b, steps), units[0], around[0]), 96)
    ends = [line[0], learning.rendered(as_real(Picture(b[:1], units[1, :1], around[1, :1])), 96)[0]]
    domains = np.stack([np.round(share * ends[0] + (1 - share) * ends[1]) for share in steps]).astype(np.uint8)
    return [line, domains], (
        "From one person to another, their colours of hair and eyes changing half-way; and from a synthetic picture to "
        "a real one of somebody else."
    )


def less(arm: str, than: str) -> Statement:
    """Returns the statement that an arm does better than another one."""
    return Statement(f"{arm} less {than}", lambda row: row[arm] - row[than], above=0.0)


STUDY = Study(
    "synface", "SynFace's identity mixing", "2108.07960",
    "mixed identities, then mixed domains bring synthetic faces nearer to real ones", measure,
    claims=(less(IDENTITIES, SYNTHETIC), less(BOTH, IDENTITIES), less(REAL, BOTH)),
    controls=(less(IDENTITIES, HARD), less(BOTH, UNMIXED)),
    shown={
        **{arm: f"pairs told rightly: {arm}" for arm in ARMS},
        **{f"expressions: {name}": f"expressions of unseen people, {name} identities" for name in ("plain", "mixed")},
    },
    options={"people": 80, "few": 16, "unseen": 40, "size": 48, "widths": (16, 32, 48, 64), "epochs": 60},
    picture=picture,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
