"""The gallery's figure, by hand."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fer_jax.explain import maps as explain
from fer_jax.report import gallery

LONG = "disgustedly surprised"


def faces(n):
    image = np.zeros((8, 8, 3), np.uint8)
    seen = {variant: image + 50 * i for i, variant in enumerate(explain.VARIANTS)}
    return [{"name": LONG, "answer": "happily disgusted", "probability": 0.1, "image": image, "seen": seen}] * n


def test_titles_are_whole_and_do_not_touch():
    figure = gallery.figure(faces(7))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    titled = [axes.title for axes in figure.axes if axes.get_title()]
    assert len(titled) == 7
    assert all(" ".join(title.get_text().split()) == f"{LONG} → happily disgusted" for title in titled)
    boxes = [title.get_window_extent(canvas.get_renderer()) for title in titled]
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    # Nor does one reach into the picture above.
    pictures = [axes.get_window_extent() for axes in figure.axes]
    assert not any(box.overlaps(picture) for box in boxes for picture in pictures)


def test_a_face_stands_alone_and_under_both_maps():
    (one,) = gallery.in_page(faces(1))
    assert one["picture"].alt == f"{LONG}: the image, and under its guided and its plain map"
    assert (one["picture"].width, one["picture"].height) == (3 * gallery.SIDE, gallery.SIDE)
