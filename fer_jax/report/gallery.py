"""Where the model looks: an image of every known class under its Grad-CAM, and what the model answers."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fer_jax import explain
from fer_jax.data.arrays import FaceArrays
from fer_jax.explain_figures import overlay
from fer_jax.models.head import predict_class
from fer_jax.report import drawing
from fer_jax.report.thumbnails import sheet
from fer_jax.trained import Trained, in_batches, logits

SIDE = 96
VARIANT = "guided"


def entries(trained: Trained, data: FaceArrays, test: np.ndarray) -> tuple[list[dict], str]:
    """A test image of every known class, the one with the median probability of the class, and the layer of the maps.

    Returns:
      `name`, `answer`, `probability` of the class, `image` and `seen` u8[H, W, 3] (under its map) each; the layer.

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
    maps = explain.grad_cam(trained.params, jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels[picked]),
                            trained.network, layer, VARIANT)  # fmt: skip
    found = [
        {
            "name": trained.class_names[labels[i]],
            "answer": trained.class_names[answers[i]],
            "probability": float(p[i]),
            "image": image,
            "seen": overlay(image, heat),
        }
        for i, image, heat in zip(picked, images, np.asarray(maps), strict=True)
    ]
    return found, layer


def in_page(found: list[dict]) -> list[dict]:
    """Entries with `picture`, the image and its map side by side, in the place of arrays."""
    return [
        {
            **{key: one[key] for key in ("name", "answer", "probability")},
            "picture": sheet(
                [one["image"], one["seen"]], f"{one['name']}: the image, and where the model looks", side=SIDE
            ),
        }
        for one in found
    ]


@matplotlib.rc_context(drawing.STYLE)
def figure(found: list[dict]) -> Figure:
    """All entries as one picture."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    drawn = Figure(figsize=(1.6 * columns, 1.0 * rows))
    every = drawn.subplots(rows, columns, squeeze=False, gridspec_kw={"left": 0.01, "right": 0.99, "bottom": 0.01,
                           "top": 1 - 0.2 / rows, "wspace": 0.05, "hspace": 0.35}).ravel()  # fmt: skip
    for axes in every:
        axes.set_axis_off()
    for axes, one in zip(every, found, strict=False):
        axes.imshow(np.concatenate([one["image"], one["seen"]], axis=1))
        right = one["answer"] == one["name"]
        axes.set_title(one["name"] if right else f"{one['name']} → {one['answer']}", fontsize=7,
                       color="black" if right else drawing.COLOURS[3])  # fmt: skip
    return drawn
