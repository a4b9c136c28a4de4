"""The command's numbers and figures on a finished run, and its mistakes in one line."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from fer_jax import protocol
from fer_jax.cli import main
from fer_jax.explain import figures as explain_figures
from fer_jax.explain import maps
from fer_jax.explain import run as explain_run
from fer_jax.inference import trained


def test_an_estimate_counts_people_not_images():
    found = explain_run.by_subject(np.asarray([1.0, 3.0, 6.0]), np.asarray([7, 7, 8]))
    assert (found["mean"], found["n"]) == (4.0, 2)


def hand_made():
    """Two people; the first has two happy faces, the second neither a sad nor an angry one. Maps are by hand."""
    rows = [  # class, person, map
        (0, 7, [1, 0, 0, 0]),
        (1, 7, [0, 1, 0, 0]),
        (2, 7, [0, 0, 1, 0]),
        (3, 7, [2, 1, 1, 0]),
        (0, 8, [0, 0, 0, 1]),
        (3, 8, [0, 0, 0, 5]),
        (0, 7, [0, 0, 0, 1]),
    ]
    label, subject, heat = zip(*rows, strict=True)
    heat = np.asarray(heat, np.float32).reshape(-1, 2, 2)
    image = np.zeros((len(rows), 2, 2, 3), np.uint8)
    names = ("happy", "sad", "angry", "happily sad", "sadly angry")
    model = types.SimpleNamespace(class_names=names, known_names=names[:4])
    model.config = types.SimpleNamespace(data=types.SimpleNamespace(n_base=3))
    label, subject = np.asarray(label), np.asarray(subject)
    return model, explain_run.TestFold(image, label, subject, None, None, {"guided": heat}), heat


def test_partners_are_of_the_same_person_where_there_is_one():
    _, fold, _ = hand_made()
    assert fold.partners(3, 0).tolist() == [0, 6]
    assert fold.partners(5, 0).tolist() == [4]
    assert fold.partners(5, 1).tolist() == [1]  # the second person has no sad face: somebody else's
    assert fold.partners(5, 2).tolist() == [2]
    assert fold.partners(5, 4).tolist() == []


def test_overlaps_by_hand():
    found = explain_run._overlaps(*hand_made())
    # Person 7: happy (1/2 + 0) / 2, sad 1/4, angry 1/4. Person 8: happy 1, sad and angry 0.
    one = found["classes"]["happily sad"]
    mean = lambda said: {kind: estimate["mean"] for kind, estimate in said.items()}  # noqa: E731
    assert one["parents"] == ["happy", "sad"]
    assert mean(one["with_each_parent"]) == {"happy": 0.625, "sad": 0.125}
    assert mean(found["all"]) == {"with_parents": 0.375, "with_others": 0.125, "difference": 0.25}
    assert one["with_parents"] == found["all"]["with_parents"]
    assert found["all"]["difference"]["n"] == 2
    half = 0.25 * stats.t.ppf(0.975, 1)  # of person differences 0 and 1/2
    assert found["all"]["difference"]["low"] == pytest.approx(0.25 - half)
    assert one["example"] == 5
    assert found["not_compound"] == []


def test_temperatures_by_hand():
    model = types.SimpleNamespace(class_mask=np.asarray([True, True, False]))
    logits = np.log([[1, 9, 1e6], [9, 1, 1e6], [1, 1, 1e6]]).astype(np.float32)  # the last class is unknown
    fold = explain_run.TestFold(None, None, np.asarray([7, 7, 8]), logits, None, {})
    found = explain_run._temperatures(model, fold)
    for temperature, odds in (("1", 9), ("2", 3), ("10", 9**0.1)):  # to 1; even for the second person
        entropy = (stats.entropy([odds, 1]) + np.log(2)) / 2
        assert found[temperature]["entropy"]["mean"] == pytest.approx(entropy, rel=1e-5)
        assert found[temperature]["highest_probability"]["mean"] == pytest.approx((odds / (odds + 1) + 0.5) / 2)
    assert found["1"]["entropy"]["n"] == 2


def test_constant_maps_are_counted_and_left_out():
    found = explain_run._of_varied_maps(np.asarray([0.5, np.nan, 1.0, np.nan]), np.asarray([7, 7, 8, 9]))
    assert found["constant_maps"] == 2
    assert (found["rank_correlation"]["mean"], found["rank_correlation"]["n"]) == (0.75, 2)
    nothing = explain_run._of_varied_maps(np.asarray([np.nan]), np.asarray([7]))
    assert nothing["constant_maps"] == 1
    assert np.isnan(nothing["rank_correlation"]["mean"])
    assert explain_run.in_words(nothing["rank_correlation"]) == "unknown (n = 0)"


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
        (["--out", f"{__file__}/x"], f"/x lies under {__file__}, which is a file; it may be a folder"),
        (["--classes"], "--classes is not an argument of explain"),
    ],
)
def test_mistakes_are_one_line(tiny_run, capsys, arguments, said):
    code = main.main(["explain", "--workdir", str(tiny_run), *arguments])
    told = capsys.readouterr().err
    assert (code, len(told.splitlines())) == (2, 1)
    assert said in told
    assert not (tiny_run / "explain").exists()


def positive_weights(workdir, data, variant: str) -> float:
    """The share of positive channel weights on all test images, each for the class that is answered, over people."""
    model = trained.restore(workdir)
    rows = protocol.split(data.subject, model.fold, model.config.protocol.n_folds).test
    rows = rows[model.class_mask[data.label[rows]]]
    images = jnp.asarray(data.image[rows]) / 255.0
    logits = np.where(model.class_mask, trained.logits(model.params, data.image[rows], model.network), -np.inf)
    layer = maps.default_layer(model.network, model.image_size)
    parts = maps.gradients(model.params, images, jnp.asarray(logits.argmax(1)), model.network, layer)
    share = (np.asarray(maps.channel_weights(*parts, variant)) > 0).mean(1)
    return np.mean([share[data.subject[rows] == one].mean() for one in np.unique(data.subject[rows])])


@pytest.mark.slow
def test_a_finished_run_is_explained(tiny_run, tiny_data, tmp_path, capsys):
    out = tmp_path / "out"
    assert main.main(["explain", "--workdir", str(tiny_run), "--out", str(out), "--class", "sadly fearful"]) == 0
    found = json.loads((out / "explain.json").read_text())
    for overlap in (found["overlap"]["guided"], found["overlap"]["plain"]):
        assert set(overlap["classes"]) == {"happily surprised", "happily disgusted", "sadly fearful"}
        assert overlap["classes"]["sadly fearful"]["parents"] == ["sad", "fearful"]
        assert overlap["all"]["with_parents"]["n"] == found["test_subjects"] == 2
    for variant in maps.VARIANTS:
        share = found["channel_weights"][variant]["positive"]["mean"]
        assert share == pytest.approx(positive_weights(tiny_run, tiny_data, variant))
    assert found["sanity"]["plain"][0]["down_to"] == "head"
    assert set(found["faithfulness"]) == {"guided", "plain", "random"}
    assert found["figures"] == ["checks", "class_sadly_fearful", "overlap", "parents", "temperature"]
    for name in found["figures"]:
        assert min(Image.open(out / f"{name}.png").size) > 150
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert str(out / "parents.png") in capsys.readouterr().out
    assert main.main(["explain", "--workdir", str(tiny_run), "--method", "base", "--out", str(out)]) == 0
    assert json.loads((out / "explain.json").read_text())["overlap"]["guided"]["all"] is None
