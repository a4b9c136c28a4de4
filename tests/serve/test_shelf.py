"""The list of models: what was taught from the first one, at any depth; nothing damaged, nothing of another model."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from fer_jax.classifiers import Linear
from fer_jax.inference import calibration, taught, trained
from fer_jax.inference import predict as predicting
from fer_jax.inference.taught import Taught, TaughtClass
from fer_jax.serve.limits import Refusal
from fer_jax.serve.shelf import FIRST, LOADED, SHOWN, Shelf, described


@pytest.fixture(scope="module")
def first(tiny_run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("shelf") / "run"
    shutil.copytree(tiny_run, workdir)
    return predicting.build(trained.restore(workdir), cropped=True)


@pytest.fixture
def shelf(first):
    shutil.rmtree(first.trained.home / "taught", ignore_errors=True)
    return Shelf(first)


def written(first, folder, names, **changes) -> Taught:
    model, width = first.trained, first.trained.network.backbone.feature_width
    faces = np.zeros((1, model.image_size, model.image_size, 3), np.uint8)
    columns = len(model.class_names) + len(names)
    made = Taught(
        folder, model.workdir, model.method, model.fold, model.order, model.source.digest,
        tuple(TaughtClass(name, ("picture 1",), (name,), faces) for name in names),
        Linear(np.zeros((width, columns), np.float32), np.arange(columns, dtype=np.float32)),
        {"classifier": "exemplar_discriminant", "left_out": None,
         "held_out": {"before": 0.5, "after": 0.4, "images": 2}},
    )  # fmt: skip
    taught.write(dataclasses.replace(made, **changes))
    return made


def test_models_are_listed_as_they_were_accepted_and_below_what_they_were_taught_from(first, shelf):
    home = first.trained.home
    one = written(first, home / "taught" / "1", ["smirk"])
    two = written(first, home / "taught" / "1" / "taught" / "1", ["smirk", "wink"])
    three = written(first, home / "taught" / "a name", ["frown"])
    for when, made in enumerate((three, one, two), 1):
        os.utime(made.folder / "taught.json", (when, when))
    entries = shelf.entries()
    assert [entry.name for entry in entries] == ["kd_psmr, fold 0, order 0", "+ frown", "+ smirk", "+ wink"]
    by_name = {entry.name: entry for entry in entries}
    assert by_name["+ wink"].made_from == by_name["+ smirk"].key
    assert by_name["+ smirk"].made_from == by_name["+ frown"].made_from == entries[0].key == FIRST
    assert len({entry.key for entry in entries}) == 4
    assert shelf.predictor(FIRST) is first
    assert shelf.free_folder(home) == home / "taught" / "2"


@pytest.mark.slow
def test_a_model_is_loaded_once(first, shelf):
    written(first, first.trained.home / "taught" / "1", ["smirk"])
    key = shelf.entries()[1].key
    predictor = shelf.predictor(key)
    assert predictor.trained.taught.names == ("smirk",)
    assert shelf.predictor(key) is predictor
    assert described(predictor)["classes"][-1] == {"name": "smirk", "base": False, "taught": True, "parents": None}


def test_what_is_damaged_or_of_another_model_is_left_out_and_said(first, shelf, logged):
    home = first.trained.home
    written(first, home / "taught" / "1", ["smirk"], model_sha256="another")
    written(first, home / "taught" / "2", ["wink"])
    (home / "taught" / "2" / "model.npz").write_bytes(b"none")
    written(first, home / "taught" / ".3.taught.host.1", ["nod"])  # left by a kill
    for _ in range(2):
        assert [entry.key for entry in shelf.entries()] == [FIRST]
    assert logged.text.count("left out of the list of models") == 2
    assert shelf.free_folder(home) == home / "taught" / "3"


@pytest.mark.parametrize("key", ["", "none", "../../etc/passwd", "taught/1", "/etc", "\x00", "first "])
def test_a_key_that_the_server_did_not_make_names_nothing(first, shelf, key):
    written(first, first.trained.home / "taught" / "1", ["smirk"])
    with pytest.raises(Refusal, match="which is not there") as refused:
        shelf.predictor(key)
    assert refused.value.status == 404


def test_of_too_many_models_the_one_that_was_asked_longest_ago_is_dropped(first, shelf, monkeypatch):
    monkeypatch.setattr(Shelf, "ready", lambda self, model, fitted: model)
    monkeypatch.setattr(calibration, "of", lambda model: {})
    for number in range(LOADED + 1):
        written(first, first.trained.home / "taught" / str(number), [f"class {number}"])
    *keys, last = (entry.key for entry in shelf.entries()[1:])
    models = [shelf.predictor(key) for key in keys]
    assert shelf.predictor(keys[0]) is models[0]
    shelf.predictor(last)  # one too many
    assert shelf.predictor(keys[0]) is models[0]
    assert shelf.predictor(keys[1]) is not models[1]


def test_exemplars_are_the_runs_and_what_the_model_was_taught_by(first, shelf):
    made = written(first, first.trained.home / "taught" / "1", ["smirk"])
    of_run = shelf.exemplars(first.trained)
    assert {one["class"] for one in of_run} == set(first.trained.known_names)
    assert not any(one["taught"] for one in of_run)
    assert all(0 < len(one["pictures"]) == min(SHOWN, one["images"]) for one in of_run)
    *same, own = shelf.exemplars(dataclasses.replace(first.trained, taught=made))
    assert same == of_run
    assert (own["class"], own["taught"], own["images"], len(own["pictures"])) == ("smirk", True, 1, 1)


def test_another_model_in_the_folder_of_one_that_was_removed_is_another(first, shelf):
    folder = first.trained.home / "taught" / "1"
    written(first, folder, ["smirk"])
    old = shelf.entries()[1]
    shelf.predictor(old.key)
    shutil.rmtree(folder)
    written(first, folder, ["wink"])
    new = shelf.entries()[1]
    assert (old.name, new.name) == ("+ smirk", "+ wink")
    assert shelf.predictor(new.key).trained.taught.names == ("wink",)
    with pytest.raises(Refusal, match="which is not there"):
        shelf.predictor(old.key)


def test_a_model_that_was_removed_is_no_longer_there(first, shelf):
    made = written(first, first.trained.home / "taught" / "1", ["smirk"])
    key = shelf.entries()[1].key
    shutil.rmtree(made.folder)
    with pytest.raises(Refusal, match="which is not there"):
        shelf.predictor(key)


def test_a_description_has_parents_calibration_and_card(first, shelf):
    told = described(first)
    of = {one["name"]: one for one in told["classes"]}
    assert of["happily surprised"]["parents"] == ("happy", "surprised")
    assert of["happy"] == {"name": "happy", "base": True, "taught": False, "parents": None}
    assert {"Model", "Data", "Protocol", "Figures", "Limits", "Intended use", "Ethics"} < told["card"].keys()
    assert "Not intended: any decision about a person" in told["card"]["Intended use"]
    assert "python" not in told["card"]["Use"]
    assert told["notice"] == predicting.DRAWN
    assert "calibration error" in told["calibrated"]
    json.dumps(told)
