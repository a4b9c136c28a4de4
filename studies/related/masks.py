"""How are expressions recognised under a mask: by a network as it is, tuned, or trained on masks alone?

Command: python -m studies.related.masks --out docs/results/related/masks.json     (make related)
Result:  docs/results/related/masks.json
Time:    seven minutes on two cores

Paper: Barros and Sciutti, I Only Have Eyes for You, arXiv 2104.08353. Read: the abstract and the authors' code
(pablovin/FaceChannelMask). A picture of a mask is laid over nose, mouth and chin by landmarks; FaceChannel is tuned as
a whole, in its last layers, or not at all. On masked faces all > last > none, on plain ones all < last.

Our choice: the mask covers everything below the eyes down to the picture's edge, in one colour. Its outline follows the
head's position and never the expression: the jaw would betray unit 26. The lines of unit 9 on the bridge of the nose
stay visible, so the ceiling is that of units 1 to 9. All 21 expressions; the last layers are the last block and the
head. Tuning shows masked faces alone.

Measurement: accuracy on unseen people, masked and plain, among all and among the six basic expressions. Controls: no
accuracy under the mask lies above its exact ceiling; the same masked pictures rendered without units 10 to 26 are named
as well (what is covered does not leak); and a mask of equal area turned upside down, since a forehead is smaller than a
mask, costs less.
"""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.parameters import NUISANCE, named, neutral_nuisance
from fer_jax.data.facs_faces.render import grid
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import ALL, BASIC, Examples

EDGE = -0.02  # of the mask in face coordinates, at the lower lids: lower down the cheeks that unit 12 raises would show
COLOUR = np.asarray((105, 155, 190), np.uint8)
SEEN = tuple(unit for unit in categories.UNITS if unit <= 9)
ARMS = ("none", "last", "all", "from scratch")


@jax.jit
def _heights(nuisance: jax.Array, pixels: jax.Array) -> jax.Array:
    """Returns how low each pixel of each picture lies in face coordinates, f32[N, side, side]."""
    return jax.vmap(lambda one: grid(named(one, NUISANCE), len(pixels))[1])(nuisance)


def masked(pictures: np.ndarray, nuisance: np.ndarray | None, upside_down: bool = False) -> np.ndarray:
    """Lays a mask over pictures u8[N, side, side, 3]; without nuisance over faces that are cropped all alike.

    upside_down: as many pixels of each picture are covered from its upper edge on.
    """
    if nuisance is None:
        nuisance = np.asarray(neutral_nuisance())[None]
    height = np.asarray(_heights(jnp.asarray(nuisance), jnp.zeros(pictures.shape[1])))
    covered = height > EDGE
    if upside_down:
        ranks = height.reshape(len(height), -1).argsort(1).argsort(1).reshape(height.shape)
        covered = ranks < covered.sum((1, 2), keepdims=True)
    return np.where(covered[..., None], COLOUR, pictures)


def population(work: Work) -> tuple[dict[str, Examples], np.ndarray, np.ndarray]:
    """Returns the pictures plain, masked and so on, and which of them train and test."""
    s, more = work.settings, {}
    if s.config:
        plain, train, test = learning.of_files(work)
        nuisance = None
    else:
        which = learning.cells(range(s.people), ALL, s.pictures)
        shown = learning.sampled(work.seed, which)
        plain, nuisance = learning.faces(which, shown, s.size), shown.nuisance
        train, test = learning.apart(which)
        hidden = ~np.isin(categories.UNITS, SEEN)
        bare = shown._replace(action_units=np.where(hidden, 0, shown.action_units).astype(np.float32))
        more["without hidden units"] = masked(learning.rendered(bare, s.size), nuisance)
    pictures = {
        "plain": plain.pictures,
        "masked": masked(plain.pictures, nuisance),
        "upside down": masked(plain.pictures, nuisance, upside_down=True),
        **more,
    }
    return {name: plain._replace(pictures=one) for name, one in pictures.items()}, train, test


def measure(work: Work) -> dict[str, float]:
    """Returns the accuracy of every arm on every kind of pictures."""
    s = work.settings
    views, train, test = population(work)
    plain, mask = views["plain"], views["masked"]
    net = learning.network(s.widths, plain.n_classes)
    block = net.backbone.cuts[-4]
    start = {name: learning.starting(work, net, views[name].pictures[train]) for name in ("plain", "masked")}
    none = learning.train(work, "none", learning.recipe(net), plain, train, start["plain"], s.epochs)
    tuned = {
        name: learning.train(work, name, learning.recipe(net, cut=cut, learning_rate=s.rate), mask, train, none, s.tune)
        for name, cut in (("last", block), ("all", "input"))
    }
    alone = learning.train(work, "from scratch", learning.recipe(net), mask, train, start["masked"], s.epochs)
    basic = test[np.isin(np.asarray(plain.facts.labels)[test], BASIC)]
    row = {}
    for arm, params in zip(ARMS, (none, tuned["last"], tuned["all"], alone), strict=True):
        for view, examples in views.items():
            row[f"{arm}: {view}"] = learning.accuracy(params, net, examples, test)
        if not s.config:
            six = learning.accuracy(params, net, mask.part(basic), np.arange(len(basic)))
            row[f"{arm}: masked, six"] = six
            row |= {f"{arm}: {kind} above": found - ceilings()[kind] for kind, found in
                    (("21", row[f"{arm}: masked"]), ("six", six))}  # fmt: skip
    return row


def ceilings() -> dict[str, float]:
    """Returns the exact ceilings under the mask."""
    kinds = {"21": np.asarray(ALL), "six": np.asarray(BASIC)}
    return {name: bayes.bayes_accuracy(classes, seen=SEEN) for name, classes in kinds.items()}


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns four people plain and under every mask."""
    shown = learning.sampled(work.seed, np.asarray([[0, 0, 0], [1, 1, 0], [2, 4, 0], [3, 5, 0], [4, 2, 0], [5, 9, 0]]))
    plain = learning.rendered(shown, 96)
    return [plain, masked(plain, shown.nuisance), masked(plain, shown.nuisance, upside_down=True)], (
        "Happy, sad, surprised, disgusted, fearful and sadly angry: plain, masked, and with the mask upside down."
    )


def less(arm: str, than: str, view: str) -> Statement:
    """Returns the statement that an arm does better than another one on a kind of pictures."""
    return Statement(
        f"{view}: {arm} less {than}", lambda row: row[f"{arm}: {view}"] - row[f"{than}: {view}"], above=0.0
    )


STUDY = Study(
    "masks", "Masked faces", "2104.08353",
    "tuning all layers helps most under masks, and costs most on plain faces", measure,
    claims=(less("all", "last", "masked"), less("last", "none", "masked"), less("last", "all", "plain")),
    controls=(
        *(
            Statement(f"{arm}, masked, of {kind}, less the ceiling", itemgetter(f"{arm}: {kind} above"), below=0.0)
            for arm in ("all", "from scratch")
            for kind in ("21", "six")
        ),
        Statement("all, masked: less without the hidden units",
                  lambda row: row["all: masked"] - row["all: without hidden units"], below=0.02),
        Statement("none: a mask upside down less a mask",
                  lambda row: row["none: upside down"] - row["none: masked"], above=0.0),
    ),
    shown={f"{arm}: {view}": f"{arm}, {view}" for view in ("masked", "plain", "masked, six") for arm in ARMS},
    options={"people": 90, "pictures": 2, "size": 48, "widths": (16, 32, 48, 64), "epochs": 45, "tune": 24,
             "rate": 1e-3},
    picture=picture, ceilings=ceilings, takes_files=True,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
