"""A workdir that commit 0450aeb made is read by every command that asks a trained model."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from fer_jax.cli import main
from fer_jax.inference import trained
from fer_jax.inference.trained import run_config

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
OWN_RULE = "fer_jax.ingredients.random_alone"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the workdir and its data set, which the config looks for in `data/` of the current one.

    The data set is kept, since two kinds of processors render it with a few values that differ by one.
    """
    folder = tmp_path_factory.mktemp("older")
    shutil.copytree(FIXTURES / "workdir_0450aeb", folder / "run")
    shutil.copytree(FIXTURES / "data_0450aeb", folder / "data")
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("method", ["base", "kd_psmr", OWN_RULE])
def test_its_models_answer_as_they_did(folder, method):
    """The base model's and each method's accuracy on the test images is what that run measured."""
    model = trained.restore(folder / "run", method)
    data, split = trained.load_data(model)
    rows = split.test[model.class_mask[data.label[split.test]]]
    logits = trained.in_batches(lambda images: trained.logits(model.params, images, model.network), data.image[rows])
    answers = np.where(model.class_mask, logits, -np.inf).argmax(1)
    there = json.loads((folder / "run" / "results.json").read_text())
    if method == "base":
        expected = there["basic"][0]["test_confusion"]
    else:
        expected = there["continual"][method]["runs"][0]["final_confusion"]
    found = np.zeros((len(data.class_names),) * 2, int)
    np.add.at(found, (data.label[rows], answers), 1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_predict_explain_export_and_report_read_it(folder, capsys):
    model = trained.restore(folder / "run")
    data, _ = trained.load_data(model)
    Image.fromarray(data.image[0]).save(folder / "face.png")
    for arguments in (
        ["predict", "--workdir", "run", "face.png", "--cropped", "--json"],
        ["predict", "--workdir", "run", "--method", OWN_RULE, "face.png", "--cropped", "--json"],
        ["explain", "--workdir", "run"],
        ["export", "--workdir", "run", "--format", "safetensors", "--out", "exported"],
        ["report", "--workdir", "run"],
    ):
        assert main.main(arguments) == 0, capsys.readouterr().err
    assert (folder / "run" / "explain" / "explain.json").exists()
    assert (folder / "exported" / "model.safetensors").exists()
    assert "happily surprised" in (folder / "run" / "report" / "index.html").read_text()


def test_training_does_not_go_on_in_it(folder, capsys):
    """Methods learn otherwise since: a table would have rows of both."""
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    config, nested = folder / "config.py", run_config(folder / "run").to_dict()
    config.write_text(
        f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict({nested!r})\n"
    )
    assert main.main(["train", "--config", str(config), "--workdir", "run"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fer-jax: --workdir run has checkpoints of format 2, and training goes on in format 3; take another folder"
    )
    assert {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()} == before
