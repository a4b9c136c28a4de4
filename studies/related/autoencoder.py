"""Does a regression on an autoencoder's code find arousal and valence, with no label spent on the code?

Command: python -m studies.related.autoencoder --out docs/results/related/autoencoder.json     (make related)
Result:  docs/results/related/autoencoder.json
Time:    seven minutes on two cores

Paper: Allognon, Britto and Koerich, Continuous Emotion Recognition via Deep Convolutional Autoencoder and Support
Vector Regressor, arXiv 2001.11976 (RECOLA: CCC .516 for valence, .264 for arousal). Read: the abstract and the
beginning. A convolutional autoencoder learns from pictures alone, a support vector regression from its code, and
predictions are centred and scaled.

Our choice: arousal is the mean of the 17 units' intensities, valence that of units 12 and 6 less 4 and 15. Convolutions
of stride 2 make a code of 64 numbers, convolutions after upsampling make the picture of it; the loss is the mean
square. The regression is linear, ε-insensitive (ε .1 of a standard deviation), with a squared penalty. Predictions are
centred and scaled on validation people; training, validation and test people differ.

Measurement: the concordance correlation coefficient (CCC) on test people. Beside it the same encoder untrained, and
trained to name the 22 categories. Controls: principal components of the pixels, as many as the code has numbers; and
shuffled targets, whose CCC must be about 0.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import objectives
from fer_jax.data.facs_faces import categories
from fer_jax.models.backbone import Backbone
from fer_jax.models.head import ExpressionHead
from fer_jax.models.layers import conv
from fer_jax.models.network import Network
from fer_jax.objectives import Objective, WeightDecay
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import Examples

AFFECT, INSENSITIVE, PENALTY = ("arousal", "valence"), 0.1, 1e-3
ARMS, SHUFFLED = ("random encoder", "principal components", "autoencoder", "supervised encoder"), "shuffled targets"


class Autoencoder(Backbone):
    """Convolutions to a code; with `side`, the pictures' side, back to the picture, which then is the features."""

    widths: tuple[int, ...]
    code: int
    side: int = 0
    input_range = "zero_one"
    cuts = property(lambda self: ("input", "code", "features") if self.side else ("input", "features"))
    feature_width = property(lambda self: 3 * self.side**2 or self.code)

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "code" if layer.startswith("decoder") else "input"

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the code from a picture, or a picture from the code."""
        if cut == "input":
            for number, width in enumerate(self.widths):
                x = nn.relu(conv(f"encoder{number}", width, 3, 2, use_bias=True)(x))
            return nn.Dense(self.code, name="encoder_code")(x.reshape(x.shape[0], -1))
        least = self.side >> len(self.widths)
        x = nn.relu(nn.Dense(least**2 * self.widths[-1], name="decoder_code")(x))
        x = x.reshape(-1, least, least, self.widths[-1])
        for number, width in enumerate((*self.widths[-2::-1], 3)):
            x = x.repeat(2, 1).repeat(2, 2)
            x = conv(f"decoder{number}", width, 3, use_bias=True)(x if not number else nn.relu(x))
        return nn.sigmoid(x).reshape(x.shape[0], -1)


def mean_square(outputs, context):
    """Returns the mean squared difference to the picture, f32[R]."""
    return jnp.mean((outputs.features - outputs.targets["picture"].reshape(len(outputs.labels), -1) / 255.0) ** 2, -1)


def insensitive(outputs, context):
    """Returns how far predictions are off beyond what counts for nothing, f32[R]."""
    return jnp.sum(jnp.maximum(jnp.abs(outputs.logits - outputs.targets["affect"]) - INSENSITIVE, 0), -1)


REGRESSION = Objective(
    {"insensitive": insensitive}, {"l2": WeightDecay("head/logits/kernel", PENALTY)}, targets=("affect",)
)


def affect(units: np.ndarray) -> np.ndarray:
    """Returns arousal and valence of intensities f32[N, 17], f32[N, 2]."""
    of = {unit: units[:, place] for place, unit in enumerate(categories.UNITS)}
    return np.stack([units.mean(1), of[12] + of[6] - of[4] - of[15]], 1)


def concordance(x: np.ndarray, y: np.ndarray) -> float:
    """Returns `2 ρ σx σy / (σx² + σy² + (μx - μy)²)` of f[N] and f[N]."""
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def components(pictures: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Returns the first n principal components of pictures[rows], of all pictures, f32[N, n]."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32) / 255
    centred = flat - flat[rows].mean(0)
    _, vectors = np.linalg.eigh(centred[rows] @ centred[rows].T)
    return centred @ (centred[rows].T @ vectors[:, -n:])


def measure(work: Work) -> dict[str, float]:
    """Returns the CCC of arousal and valence of every arm."""
    s = work.settings
    which = learning.cells(range(sum(s.people)), range(len(categories.NAMES)))
    examples = learning.faces(which, learning.sampled(work.seed, which), s.size)
    ends = np.cumsum(s.people)
    part = np.searchsorted(ends, which[:, 0], side="right")
    train, validation, test = (np.flatnonzero(part == number) for number in range(3))
    truth = affect(np.asarray(examples.facts.targets["action_units"]))
    scaled = (truth - truth[train].mean(0)) / truth[train].std(0)
    codes = encoders(work, examples, train)
    row: dict[str, list[float]] = {}
    for arm, turn in [*((arm, 0) for arm in codes), *((SHUFFLED, turn) for turn in range(s.shuffles))]:
        target = scaled.copy()
        if arm == SHUFFLED:
            target[train] = np.random.default_rng([work.seed, turn]).permutation(scaled[train])
        code = codes.get(arm, codes["autoencoder"])
        facts = examples.facts._replace(labels=jnp.zeros(len(code), jnp.int32), targets={"affect": jnp.asarray(target)})
        found = learning.probe(work, f"regression, {arm} {turn}", Examples(code, facts, 2), train, s.fit, REGRESSION)
        for number, name in enumerate(AFFECT):
            own, right = found[:, number], truth[:, number]
            factor = right[validation].std() / max(own[validation].std(), 1e-9)
            moved = (own - own[validation].mean()) * factor + right[validation].mean()
            row.setdefault(f"{arm}: {name}", []).append(concordance(moved[test], right[test]))
    return {name: float(np.mean(values)) for name, values in row.items()}


def encoders(work: Work, examples: Examples, train: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the code of all pictures by each encoder, f32[N, code]."""
    s = work.settings
    whole, plain = networks(work, examples.n_classes)
    start = whole.init(jax.random.key(work.seed), s.size)
    pictures = examples._replace(facts=examples.facts._replace(targets={"picture": jnp.asarray(examples.pictures)}))
    by = learning.recipe(whole, Objective({"mean square": mean_square}, targets=("picture",)), augmentation=None)
    own = learning.train(work, "autoencoder", by, pictures, train, start, s.epochs)
    layers = {name: leaf for name, leaf in start["backbone"].items() if name.startswith("encoder")}
    named = plain.init(jax.random.key(work.seed), s.size, layers)
    taught = learning.train(
        work, "supervised encoder", learning.recipe(plain, objectives.cross_entropy), examples, train, named, s.epochs
    )
    return {
        "random encoder": learning.encoded(start, whole, examples.pictures, "code"),
        "principal components": components(examples.pictures, train, s.code),
        "autoencoder": learning.encoded(own, whole, examples.pictures, "code"),
        "supervised encoder": learning.encoded(taught, plain, examples.pictures),
    }


def networks(work: Work, n_classes: int) -> tuple[Network, Network]:
    """Returns the autoencoder, and the same encoder with a head of classes."""
    s, heads = work.settings, (ExpressionHead((), 1, dropout=0.0), ExpressionHead((128,), n_classes, dropout=0.0))
    encoders = Autoencoder(s.widths, s.code, s.size), Autoencoder(s.widths, s.code)
    return tuple(map(Network, encoders, heads))


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns test people above what the autoencoder makes of them."""
    s = work.settings
    which = learning.cells(range(sum(s.people) - 2, sum(s.people)), (0, 1, 2, 3))
    shown = learning.rendered(learning.sampled(work.seed, which), s.size)
    whole, _ = networks(work, 1)
    trained = work.once("autoencoder", dict)
    made = learning.encoded(trained, whole, shown).reshape(shown.shape)
    words = "Unseen people, and what the autoencoder makes of their codes."
    return [shown, np.round(255 * made).astype(np.uint8)], words


def mean(arm: str):
    """Returns what takes an arm's mean CCC from a row."""
    return lambda row: sum(row[f"{arm}: {name}"] for name in AFFECT) / len(AFFECT)


def better(arm: str, than: str) -> Statement:
    """Returns the statement that an arm's mean CCC is the higher one."""
    return Statement(f"{arm} less {than}", lambda row: mean(arm)(row) - mean(than)(row), above=0.0)


STUDY = Study(
    "autoencoder", "Autoencoder and support vector regression", "2001.11976",
    "a code learned without labels holds arousal and valence", measure,
    claims=(better("autoencoder", "random encoder"), better("supervised encoder", "autoencoder")),
    controls=(
        better("autoencoder", "principal components"),
        *(Statement(f"CCC of {name}, shuffled targets", lambda row, name=name: row[f"{SHUFFLED}: {name}"], **bound)
          for name in AFFECT for bound in ({"below": 0.1}, {"above": -0.1})),
    ),
    shown={f"{arm}: {name}": f"CCC of {name}, {arm}" for arm in ARMS for name in AFFECT},
    options={"people": (60, 20, 40), "size": 48, "widths": (16, 32, 48), "code": 64, "epochs": 90, "fit": 60,
             "shuffles": 10}, percent=False, picture=picture,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
