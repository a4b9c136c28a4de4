"""Does training on many resolutions make expressions readable in small faces, at no cost in large ones?

Command: python -m studies.related.resolutions --out docs/results/related/resolutions.json     (make related)
Result:  docs/results/related/resolutions.json
Time:    seven minutes on two cores

Paper: Massoli, Cafarelli, Gennaro and Falchi, MAFER: a Multi-resolution Approach to Facial Expression Recognition,
arXiv 2103.05723. Read: the abstract and the authors' code (fvmassoli/affwild2-challenge). In training a face is made
2^floor(3 + 5u) pixels wide and as large as it was again, both bilinear, and left as it is where that is no less.

Our choice: faces of 64 pixels, so that two in five stay as they are and the others are of 8, 16 or 32; the quickstart's
network, without their squeeze and excitation; where a face gets smaller, pixels are averaged, which theirs are not. Six
basic expressions; every arm has the same pictures and as many updates.

Measurement: accuracy on unseen people at 4 to 64 pixels, trained on all resolutions or on full ones. Controls: noise of
the energy that the resolution takes away must not do the same; and specialists of 8 and of 16 pixels, the ceiling that
a net of all must come near to. That 2 points may be lost at 64 pixels, and 5 to a specialist, is our bound.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.augment import Augmentation, augment, lower_resolution
from studies.related import common, learning
from studies.related.common import Statement, Study, Work
from studies.related.learning import BASIC

SIDES, SPECIALISTS = (4, 8, 16, 32, 64), (8, 16)
FULL, MANY, NOISE = "full resolution", "many resolutions", "noise of equal energy"
USUAL = Augmentation(0.5, 0.005, 0.02, 0.02)
SMALL = (8, 16)
LOST, ADDED = 2**29, 2**29 + 1  # keys are derived by them, which positions are smaller than


def resized(images: jax.Array, side: int) -> jax.Array:
    """Makes images f32[B, H, W, 3] of a side and as large as they were again; those that are no larger stay."""
    shape = images.shape
    if side >= shape[1]:
        return images
    return jax.image.resize(jax.image.resize(images, (shape[0], side, side, 3), "bilinear"), shape, "bilinear")


def noisy(key: jax.Array, images: jax.Array, positions: jax.Array) -> jax.Array:
    """Augments as usual, and adds noise of the energy that a lower resolution would take away."""
    images = USUAL(key, images, positions)
    lost = lower_resolution(jax.random.fold_in(key, LOST), images, 1.0, positions) - images
    scale = jnp.sqrt(jnp.mean(lost**2, (1, 2, 3), keepdims=True))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, ADDED), positions)
    noise = jax.vmap(lambda one: jax.random.normal(one, images.shape[1:]))(keys)
    return jnp.clip(images + scale * noise, 0, 1)


def of_one(key: jax.Array, images: jax.Array, positions: jax.Array, side: int) -> jax.Array:
    """Augments as usual, and makes every image of one resolution."""
    return resized(augment(key, images, 0.5, 0.005, 0.02, 0.02, positions), side)


@functools.cache
def specialist(side: int):
    """Returns the augmentation of one resolution, the same function for the same side."""
    return functools.partial(of_one, side=side)


def shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """Returns pictures u8[N, H, W, 3] of a side, as large as they were."""
    make = jax.jit(lambda part: jnp.round(resized(part.astype(jnp.float32), side)).astype(jnp.uint8))
    return np.concatenate([np.asarray(make(part)) for part in np.array_split(pictures, max(1, len(pictures) // 128))])


def measure(work: Work) -> dict[str, float]:
    """Returns the accuracy of every arm at every resolution."""
    s = work.settings
    if s.config:
        examples, train, test = learning.of_files(work)
    else:
        which = learning.cells(range(s.people), BASIC, s.pictures)
        examples = learning.faces(which, learning.sampled(work.seed, which), s.size)
        train, test = learning.apart(which)
    net = learning.network(s.widths, examples.n_classes)
    start = learning.starting(work, net, examples.pictures[train])
    arms = {FULL: USUAL, MANY: Augmentation(0.5, 0.005, 0.02, 0.02, resolution=1.0), NOISE: noisy}
    arms |= {f"specialist of {side}": specialist(side) for side in SPECIALISTS if side < examples.pictures.shape[1]}
    seen = {
        side: (one := examples.part(test))._replace(pictures=shrunk(one.pictures, side))
        for side in SIDES
        if side <= examples.pictures.shape[1]
    }
    row = {}
    for arm, augmentation in arms.items():
        by = learning.recipe(net, augmentation=augmentation)
        params = learning.train(work, arm, by, examples, train, start, s.epochs)
        for side, one in seen.items():
            row[f"{arm}: {side}"] = learning.accuracy(params, net, one, np.arange(len(test)))
    return row


def picture(work: Work) -> tuple[list[np.ndarray], str]:
    """Returns six people at every resolution."""
    shown = learning.rendered(learning.sampled(work.seed, np.asarray([[c, c, 0] for c in BASIC])), 64)
    return [shrunk(shown, side) for side in SIDES[::-1]], (
        "Happy, sad, fearful, angry, surprised and disgusted at 64, 32, 16, 8 and 4 pixels."
    )


def less(arm: str, than: str, side: int, **bound: float) -> Statement:
    """Returns a statement of how much better an arm is than another one at a resolution."""
    return Statement(
        f"at {side} pixels: {arm} less {than}", lambda row: row[f"{arm}: {side}"] - row[f"{than}: {side}"], **bound
    )


STUDY = Study(
    "resolutions", "Multi-resolution training", "2103.05723",
    "much is gained in small faces, and little lost in large ones", measure,
    claims=(*(less(MANY, FULL, side, above=0.0) for side in SMALL), less(MANY, FULL, 64, above=-0.02)),
    controls=(
        *(less(MANY, NOISE, side, above=0.0) for side in SMALL),
        *(less(f"specialist of {side}", MANY, side, below=0.05) for side in SPECIALISTS),
    ),
    shown={
        **{f"{arm}: {side}": f"{arm}, {side}" for side in SIDES for arm in (FULL, MANY, NOISE)},
        **{f"specialist of {side}: {side}": f"specialist, {side}" for side in SPECIALISTS},
    },
    options={"people": 120, "pictures": 2, "size": 64, "widths": (16, 32, 48, 64), "epochs": 32},
    picture=picture, takes_files=True,
)  # fmt: skip

if __name__ == "__main__":
    common.main(STUDY, __doc__)
