"""The command's numbers and figures on a finished run, and its mistakes in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from fer_jax import explain_figures, explain_run, main


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("happily surprised", ("happy", "surprised")),
        ("angrily disgusted", ("angry", "disgusted")),
        ("disgustedly surprised", ("disgusted", "surprised")),
        ("hatred", ("angry", "disgusted")),
        ("happily bored", None),
        ("happy", None),
        ("neutral", None),
    ],
)
def test_parents_are_read_off_the_name(name, expected):
    assert explain_run.parents(name, ("happy", "sad", "fearful", "angry", "surprised", "disgusted")) == expected


def test_an_estimate_counts_people_not_images():
    found = explain_run.by_subject(np.asarray([1.0, 3.0, 6.0]), np.asarray([7, 7, 8]))
    assert (found["mean"], found["n"]) == (4.0, 2)


def test_an_overlay_is_the_grey_image_where_the_map_is_0():
    image = np.full((4, 4, 3), (30, 60, 90), np.uint8)
    heat = np.zeros((4, 4))
    heat[0] = 1
    found = explain_figures.overlay(image, heat)
    assert (found[1:] == 60).all()
    assert found[0, 0, 0] > 150


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--class", "bored"], "--class is 'bored'; it may be one of happy, sad"),
        (["--layer", "conv9"], "--layer is 'conv9'; it may be one of input, conv2_block1"),
        (["--variant", "blind"], "--variant is 'blind'; it may be one of guided, plain"),
        (["--out", __file__], "is a file; it may be a folder"),
        (["--classes"], "--classes is not an argument of explain"),
    ],
)
def test_mistakes_are_one_line(tiny_run, capsys, arguments, said):
    code = main.main(["explain", "--workdir", str(tiny_run), *arguments])
    told = capsys.readouterr().err
    assert (code, len(told.splitlines())) == (2, 1)
    assert said in told
    assert not (tiny_run / "explain").exists()


@pytest.mark.slow
def test_a_finished_run_is_explained(tiny_run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main.main(["explain", "--workdir", str(tiny_run), "--out", str(out), "--class", "sadly fearful"]) == 0
    found = json.loads((out / "explain.json").read_text())
    assert set(found["overlap"]["classes"]) == {"happily surprised", "happily disgusted", "sadly fearful"}
    assert found["overlap"]["classes"]["sadly fearful"]["parents"] == ["sad", "fearful"]
    assert found["overlap"]["all"]["with_parents"]["n"] == found["test_subjects"] == 2
    assert found["sanity"]["plain"][0]["down_to"] == "head"
    assert set(found["faithfulness"]) == {"guided", "plain", "random"}
    entropy = [found["temperature"][t]["entropy"]["mean"] for t in ("1", "2", "5", "10")]
    assert entropy == sorted(entropy)
    assert found["figures"] == ["checks", "class_sadly_fearful", "overlap", "parents", "temperature"]
    for name in found["figures"]:
        assert min(Image.open(out / f"{name}.png").size) > 150
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert str(out / "parents.png") in capsys.readouterr().out
    assert main.main(["explain", "--workdir", str(tiny_run), "--method", "base", "--out", str(out)]) == 0
    assert json.loads((out / "explain.json").read_text())["overlap"]["all"] is None
