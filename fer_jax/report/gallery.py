"""Grad-CAM gallery: an image of every known class under its map, and the model's answer.

Both variants are shown, each with its rank correlation under a randomised head, because a map alone is no evidence.
"""

import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax.data.arrays import FaceArrays
from fer_jax.explain import maps as explain
from fer_jax.explain.figures import overlay
from fer_jax.inference.trained import Trained, in_batches, logits
from fer_jax.models.head import predict_class
from fer_jax.report import drawing
from fer_jax.report.thumbnails import sheet

SIDE = 96
TITLE_WIDTH = 32  # characters of a figure's title in a line


class Sanity(NamedTuple):
    """Mean rank correlation of maps with those of a randomised head; 0 is right, None if all maps are constant.

    constant: how many maps are left out, since they are constant.
    """

    correlation: float | None
    constant: int


class Entries(NamedTuple):
    """The gallery's faces (see `entries`), the layer of their maps, and the sanity check by variant."""

    faces: list[dict]
    layer: str
    sanity: dict[str, Sanity]


def entries(trained: Trained, data: FaceArrays, test: np.ndarray) -> Entries:
    """Chooses a test image of every known class: the one with the median probability of that class.

    Returns:
      faces with `name`, `answer`, `probability` of the class, `image` u8[H, W, 3], and `seen`, by variant the image
      under its map; and the layer of the maps.

    Raises:
      UserError: the network has no layer with a map.
    """
    layer = explain.default_layer(trained.network, trained.image_size)
    rows = test[trained.class_mask[data.label[test]]]
    labels, mask = data.label[rows], jnp.asarray(trained.class_mask)
    scores = jnp.asarray(in_batches(lambda images: logits(trained.params, images, trained.network), data.image[rows]))
    answers = np.asarray(predict_class(scores, mask))
    p = np.asarray(explain.softmax_at(scores, mask, (1,)))[0][np.arange(len(rows)), labels]
    picked = []
    for c in np.flatnonzero(trained.class_mask):
        of_class = np.flatnonzero(labels == c)
        picked.append(of_class[np.argsort(p[of_class], kind="stable")[len(of_class) // 2]])
    picked = np.asarray(picked)
    images = data.image[rows[picked]]
    maps, sanity = _maps(trained, jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels[picked]), layer)
    faces = [
        {
            "name": trained.class_names[labels[i]],
            "answer": trained.class_names[answers[i]],
            "probability": float(p[i]),
            "image": image,
            "seen": {variant: overlay(image, maps[variant][row]) for variant in explain.VARIANTS},
        }
        for row, (i, image) in enumerate(zip(picked, images, strict=True))
    ]
    return Entries(faces, layer, sanity)


def _maps(
    trained: Trained, images: jax.Array, classes: jax.Array, layer: str
) -> tuple[dict[str, np.ndarray], dict[str, Sanity]]:
    """Heat maps f32[B, H, W] and what they stand, by variant."""
    _, randomised = next(explain.cascade(trained.params, trained.network))
    learned, changed = (
        explain.gradients(params, images, classes, trained.network, layer) for params in (trained.params, randomised)
    )
    heat, sanity = {}, {}
    for variant in explain.VARIANTS:
        maps = explain.class_map(*learned, variant)
        correlation = explain.rank_correlation(maps, explain.class_map(*changed, variant))
        there = correlation[~np.isnan(correlation)]
        heat[variant] = np.asarray(explain.heat_map(maps, images.shape[1]))
        mean = float(there.mean()) if there.size else None
        sanity[variant] = Sanity(mean, len(correlation) - there.size)
    return heat, sanity


def in_page(faces: list[dict]) -> list[dict]:
    """Returns the faces with a `picture`, the image and its maps side by side, in place of the arrays."""
    return [
        {
            **{key: one[key] for key in ("name", "answer", "probability")},
            "picture": sheet(
                _pictures(one),
                f"{one['name']}: the image, and under its {' and its '.join(explain.VARIANTS)} map",
                side=SIDE,
            ),
        }
        for one in faces
    ]


@matplotlib.rc_context(drawing.STYLE)
def figure(faces: list[dict]) -> Figure:
    """Draws all faces in one figure: each image, and under it its guided and its plain map."""
    columns = min(3, len(faces))
    rows = -(-len(faces) // columns)
    drawn = Figure(figsize=(2.2 * columns, 1.15 * rows))
    for place, one in enumerate(faces):
        # Placed by hand: finding a layout would take longer than drawing all of it.
        row, column = divmod(place, columns)
        axes = drawn.add_axes(((column + 0.03) / columns, 1 - (row + 0.97) / rows, 0.94 / columns, 0.6 / rows))
        axes.set_axis_off()
        axes.imshow(np.concatenate(_pictures(one), axis=1))
        right = one["answer"] == one["name"]
        title = one["name"] if right else f"{one['name']} → {one['answer']}"
        axes.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=7, color="black" if right else drawing.COLOURS[3])
    return drawn


def _pictures(face: dict) -> list[np.ndarray]:
    return [face["image"], *face["seen"].values()]
