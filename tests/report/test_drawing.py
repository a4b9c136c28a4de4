"""Figures in the page: their ids are their own, black is the page's ink, and colours can be seen on both grounds."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from fer_jax.report import drawing, training_curves


def relative_luminance(colour: str) -> float:
    """As WCAG 2.1 defines it."""
    c = np.asarray([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    c = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(c @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", drawing.COLOURS)
@pytest.mark.parametrize("ground", ["#ffffff", "#14171c"])
def test_lines_have_contrast_on_both_grounds(colour, ground):
    light, dark = sorted(map(relative_luminance, (colour, ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_twenty_methods_look_different():
    looks = [tuple(drawing.look(i).values()) for i in range(20)]
    assert len(set(looks)) == 20


def test_two_figures_in_one_page(tmp_path):
    pictures = []
    for name in ("a", "b b"):
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set_title("<title>")
        pictures.append(drawing.save(figure, tmp_path, drawing.slug(name), 'a "line" & <more>'))
    ids = [set(re.findall(r'\bid="([^"]+)"', picture.svg)) for picture in pictures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for picture, own in zip(pictures, ids, strict=True):
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', picture.svg)
        assert used
        assert set(used) <= own
        assert "#000000" not in picture.svg
        assert "currentColor" in picture.svg
        assert 'aria-label="a &quot;line&quot; &amp; &lt;more>"' in picture.svg
        assert "<title>" not in picture.svg
        assert all((tmp_path / file).stat().st_size > 500 for file in picture.files)


def test_training_curves_mark_every_increment():
    epoch = {"loss": 1.0, "val_loss": 1.1, "accuracy": 0.5, "val_accuracy": 0.4}
    base = {"stages": {"head": {"history": [epoch]}, "body": {"history": [epoch] * 3}}}
    measured = [{"class": "awed", "history": [epoch] * 2}, {"class": "nothing", "history": []}]
    fits = training_curves.parts(base, measured)
    assert [(name, len(history)) for name, history in fits] == [("base, head", 1), ("base, body", 3), ("awed", 2)]
    axes = training_curves.figure(fits).axes[0]
    assert [text.get_text() for text in axes.texts] == ["base, head", "base, body", "awed"]
    verticals = [
        line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert verticals == [0.5, 1.5, 4.5]
    assert training_curves.figure([("nothing", [])]) is None
