"""Matrices as the page has them: by hand."""

import numpy as np

from fer_jax.report import matrices

RUN = {
    "learned_at": [0, 2, 1],
    "class_order": [2, 1],
    "trained_steps": [0, 1, 2],
    "accuracy_matrix": [[1.0, None, None], [0.5, None, 0.75], [0.25, 1.0, 0.0]],
}
NAMES = ["a", "b", "c"]


def test_accuracy_by_step_and_in_the_order_of_learning():
    found = matrices.accuracy_table(RUN, NAMES)
    assert found["columns"] == ["a", "c", "b"]
    assert [name for name, _ in found["rows"]] == ["0: base classes", "1: c", "2: b"]
    assert found["rows"][1][1] == [(0.5, "50"), (0.75, "75"), None]


def test_confusion_is_told_by_what_is_not_zero():
    counted = [(0, [[2, 0, 0], [0, 0, 0], [0, 0, 0]]), (2, [[1, 1, 0], [0, 2, 0], [0, 2, 0]])]
    found = matrices.confusion_steps(RUN, NAMES, counted)
    assert found["names"] == ["a", "c", "b"]
    assert found["steps"][0] == {"label": "step 0: base classes; 1 classes, accuracy 100.0 %", "cells": [[0, 0, 2]]}
    assert found["steps"][1]["cells"] == [[0, 0, 1], [0, 2, 1], [1, 2, 2], [2, 2, 2]]
    assert found["steps"][1]["label"] == "step 2: b; 3 classes, accuracy 50.0 %"
    table = matrices.confusion_table(found)
    assert table["rows"][0] == ("a", [(0.5, "1"), None, (0.5, "1")])
    assert table["rows"][1] == ("c", [None, None, (1.0, "2")])


def test_figures_show_every_class_and_step():
    figure = matrices.accuracy_figure(RUN, NAMES)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0: base classes", "1: c", "2: b"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["100", "50", "75", "25", "0", "100"]
    figure = matrices.confusion_figure(np.asarray([[1, 3], [0, 2]]), ["a", "b"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.25, 0.75], [0, 1]])
