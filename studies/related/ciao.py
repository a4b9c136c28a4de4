"""Does an inhibition of the encoder's last layer, learned by contrast, adapt it to people of other expressions?

Command: python -m studies.related.ciao --out docs/results/related/ciao.json     (make related)
Result:  docs/results/related/ciao.json
Time:    four minutes on two cores

Paper: Barros and Sciutti, CIAO! A Contrastive Adaptation Mechanism for Non-Universal Facial Expression Recognition,
arXiv 2208.07221. Read: the abstract alone, and of FaceChannel its inhibition. The encoder stands still but for its last
layer, which is adapted to each data set by a contrastive loss.

Our choice: on the map x before the last layer S = relu(conv(x)) / (0.5 + relu(conv_I(x))). conv is the encoder's,
conv_I alone is trained, by the supervised contrastive loss of S's features (temperature .1), and starts at a tenth of
the usual size, so that S starts near the encoder's. Then a linear layer learns the 21 expressions. The encoder knows
typical people. Data sets are two populations, each with expressions of its own: of each category a core unit is dropped
with probability .4 and a unit that nobody shows in it added with .1. Maps are computed once, without augmentation.

Measurement: accuracy on unseen people of the population, as the mean of both; of a linear layer alone, after CIAO, and
after the last convolution, as large as conv_I, was trained by cross-entropy. Controls: labels shuffled in the
contrastive loss gain nothing; neither the same layer by cross-entropy nor a plain convolution by the same contrast,
relu(conv(x)) + relu(conv_A(x)), does better by more than two points.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import objectives, rng
from fer_jax.data.facs_faces import categories
from fer_jax.models.backbone import Backbone
from fer_jax.models.head import ExpressionHead
from fer_jax.models.layers import conv
from fer_jax.models.network import Network, Params
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.objectives import Objective
from fer_jax.training import encoding
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, Examples

ALONE, CIAO, TUNED = "head alone", "CIAO", "last layer tuned"
SHUFFLED, NAMED, ADDED = "CIAO, shuffled labels", "inhibition by cross-entropy", "added convolution"
ARMS = (ALONE, CIAO, TUNED, SHUFFLED, NAMED, ADDED)
FIRST, POPULATIONS, SMALL = 1000, (1, 2), 0.1  # the number of the first person of a population; how conv_I starts
CONTRAST = Objective({"contrast": objectives.TERMS["supervised_contrastive"]})


class Encoder(ResNetV2):
    """The quickstart's network with a last convolution of its own."""

    last: int = 64
    cuts = property(lambda self: (*ResNetV2.cuts.fget(self)[:-1], "excited", "features"))
    feature_width = property(lambda self: self.last)

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "post_relu" if layer == "last_conv" else super().layer_cut(layer)

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "excited":
            return x.max((1, 2))
        return nn.relu(convolution("last_conv", self.last)(x)) if cut == "post_relu" else super().advance(cut, x)


class Last(Backbone):
    """A last layer on flattened maps [x, relu(conv(x))] f32[B, side² (width + last)]; one convolution is trained."""

    side: int
    width: int
    last: int
    arm: str
    cuts, input_range = ("input", "features"), "zero_one"
    feature_width = property(lambda self: self.last)

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "input"

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the features."""
        below, excited = jnp.split(x.reshape(len(x), self.side, self.side, -1), [self.width], -1)
        own = nn.relu(convolution("own", self.last)(below))
        if self.arm == TUNED:
            return own.max((1, 2))
        return (excited + own if self.arm == ADDED else excited / (0.5 + own)).max((1, 2))


def convolution(name: str, width: int) -> nn.Conv:
    """Returns the one kind of last convolution."""
    return conv(name, width, 3, use_bias=True)


def encoder(work: Work) -> Network:
    """Returns the network that learns from typical people."""
    s = work.settings
    of = learning.network(s.widths, len(categories.NAMES))
    backbone = Encoder(of.backbone.depths, of.backbone.widths, of.backbone.stem_width, of.backbone.stem_kernel)
    return Network(backbone.clone(last=s.last), of.head, of.input_range)


def population(work: Work, number: int, people: int, size: int) -> tuple[np.ndarray, Examples]:
    """Returns cells and pictures of people of one population; 0 is the typical one."""
    which = learning.cells(range(FIRST * number, FIRST * number + people), ALL)
    shown = learning.sampled(work.seed, which)
    if number:
        alike = np.stack([np.full(len(which), number), which[:, 1], which[:, 0]], 1)
        shown = learning.with_habits(work.seed, alike, shown)
    return which, learning.faces(which, shown, size)


def targets(work: Work) -> list[tuple[Examples, np.ndarray, np.ndarray]]:
    """Returns the data sets to adapt to, and which of each train and test."""
    if work.settings.config:
        return [learning.of_files(work)]
    found = [population(work, number, work.settings.adapted, work.settings.size) for number in POPULATIONS]
    return [(examples, *learning.apart(which, 2)) for which, examples in found]


def measure(work: Work) -> dict[str, float]:
    """Returns the accuracy of every arm, the mean over data sets."""
    s, sets = work.settings, targets(work)
    net, (_, typical) = encoder(work), population(work, 0, s.people, sets[0][0].pictures.shape[1])
    start, every = learning.starting(work, net, typical.pictures), np.arange(len(typical.pictures))
    base = learning.train(work, "encoder", learning.recipe(net), typical, every, start, s.epochs)
    rows = [adapted(work, number, net, base, *one) for number, one in enumerate(sets, 1)]
    return {arm: float(np.mean([row[arm] for row in rows])) for arm in ARMS}


def adapted(work: Work, number: int, net: Network, base: Params, examples: Examples, train, test) -> dict[str, float]:
    """Returns the accuracy of every arm on one data set."""
    s, row = work.settings, {}
    maps = [learning.encoded(base, net, examples.pictures, cut) for cut in ("post_relu", "excited")]
    flat = examples._replace(pictures=np.concatenate(maps, -1).reshape(len(maps[0]), -1))
    shuffled = np.asarray(examples.facts.labels).copy()
    shuffled[train] = np.random.default_rng([work.seed, number]).permutation(shuffled[train])
    for arm in ARMS:
        features = maps[1].max((1, 2))
        if arm != ALONE:
            head = ExpressionHead((128,), examples.n_classes, dropout=0.0)
            last = Network(Last(maps[0].shape[1], maps[0].shape[-1], s.last, arm), head)
            labels = jnp.asarray(shuffled) if arm == SHUFFLED else examples.facts.labels
            told = flat._replace(facts=examples.facts._replace(labels=labels))
            contrast = arm in (CIAO, SHUFFLED, ADDED)
            by = learning.recipe(last, CONTRAST if contrast else objectives.cross_entropy, augmentation=None,
                                 batch_size=s.batch, learning_rate=s.rate)  # fmt: skip
            params = learning.train(work, f"{number}, {arm}", by, told, train, beginning(work, last, base), s.adapt)
            features = encoding.features_from(params, jnp.asarray(flat.pictures), last, "input")
        given = examples._replace(pictures=np.asarray(features))
        row[arm] = learning.probed(work, f"{number}, head, {arm}", given, train, test, s.fit)
    return row


def beginning(work: Work, last: Network, base: Params) -> Params:
    """Returns the parameters that an arm starts from: the encoder's convolution if that is tuned, else a small one."""
    key, of = rng.derive(work.seed, "last"), last.backbone
    layers = of.init(key, jnp.zeros((1, of.side**2 * (of.width + of.last))))["params"]
    small = {"own": {"kernel": SMALL * layers["own"]["kernel"], "bias": layers["own"]["bias"]}}
    head = last.head.init(key, jnp.zeros((1, of.last)))["params"]
    return {"backbone": {"own": base["backbone"]["last_conv"]} if of.arm == TUNED else small, "head": head}


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns three populations in the same categories."""
    rows = []
    for number in (0, *POPULATIONS):
        which, examples = population(work, number, 1, 96)
        rows.append(examples.pictures[np.isin(which[:, 1], (0, 1, 2, 4, 5, 13))])
    return rows, (
        "Happy, sad, fearful, surprised, disgusted and fearfully surprised: a typical person, and one of each of the "
        "populations that are adapted to."
    )


def less(arm: str, than: str, **bound: float) -> Statement:
    """Returns a statement of how much better an arm is than another one."""
    return Statement(f"{arm} less {than}", lambda row: row[arm] - row[than], **bound)


STUDY = Study(
    "ciao", "CIAO's inhibitory adaptation", "2208.07221",
    "an inhibition learned by contrast adapts an encoder to a data set", measure,
    claims=(less(CIAO, ALONE, above=0.0), less(CIAO, TUNED, above=-0.02)),
    controls=(
        less(SHUFFLED, ALONE, below=0.02), less(CIAO, SHUFFLED, above=0.0),
        less(CIAO, NAMED, above=-0.02), less(CIAO, ADDED, above=-0.02),
    ),
    shown={arm: arm for arm in ARMS},
    options={"people": 100, "adapted": 80, "size": 48, "widths": (16, 32, 48), "last": 64, "epochs": 20, "batch": 128,
             "rate": 1e-3, "adapt": 100, "fit": 30},
    picture=picture, takes_files=True,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
