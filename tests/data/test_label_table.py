"""Runs on action units alone: labels in a table, units in a detector's, and no picture anywhere."""

import csv
import pathlib

import numpy as np
import pytest

from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.config.file import read_config
from fer_jax.data.facs_faces import categories
from fer_jax.data.load import load
from fer_jax.errors import UserError
from tests.support import unit_files

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "units.py"
PEOPLE, CLASSES = 12, categories.NAMES[: categories.N_BASIC + categories.N_COMPOUND]
OWN = {
    "data.name": "label_table", "data.image_size": 8, "data.exclude": (), "data.base_classes": CLASSES[:6],
    "data.n_base": 6, "data.near_duplicates": "keep",
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Twelve people in 21 expressions by the sheet's shares, labels and py-feat's table, one row missing."""
    root, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    labels, units = [], []
    for person in range(PEOPLE):
        for number, name in enumerate(CLASSES):
            present = rng.random(len(categories.UNITS)) < categories.presence_probability()[number]
            file = f"{name}/p{person:02}.jpg"
            labels.append([file, name, f"person {person}"])
            units.append((file, 0.9, {u: rng.uniform(0.5, 1) for u, on in zip(categories.UNITS, present) if on}))  # noqa: B905
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "label", "subject"], *labels])
    unit_files.pyfeat(root / "fex.csv", units[1:])
    return root


def overrides(root: pathlib.Path, **changes) -> list[str]:
    flat = {**OWN, "data.labels_csv": str(root / "labels.csv"), "data.units.path": str(root / "fex.csv"),
            "protocol.n_folds": 4, "protocol.n_orders": 1, **changes}  # fmt: skip
    return [f"--config.{key}={value}" for key, value in flat.items()]


def config(root: pathlib.Path, **changes):
    return read_config([f"--config={_file(root)}", *overrides(root, **changes)])


def _file(root: pathlib.Path) -> pathlib.Path:
    """The config, whose data are those of another kind of data set."""
    path = root / "config.py"
    path.write_text(
        f"import runpy\ndef get_config():\n    config = runpy.run_path({str(CONFIG)!r})['get_config']()\n"
        "    config.data = {'name': 'label_table', 'dir': '', 'image_size': 8, 'exclude': (), 'n_base': 6,\n"
        "                   'residency': 'auto', 'labels_csv': '', 'base_classes': (),\n"
        "                   'units': {'path': '', 'input': True}}\n    return config\n"
    )
    return path


def test_units_are_the_pictures(tables, logged):
    data = load(config(tables).data)
    assert data.image.shape == (PEOPLE * len(CLASSES) - 1, 8, 8, 3)
    assert data.class_names[:6] == CLASSES[:6]
    assert len(np.unique(data.subject)) == PEOPLE
    grey = data.image[..., 0].reshape(len(data.label), -1)
    np.testing.assert_allclose(grey[:, :20] / 255, data.targets["action_units"], atol=0.003)
    assert not grey[:, 20:].any()
    assert "1 images without a row and 0 of low confidence" in logged.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data.units.path": ""}, "config.data.units.path is ''; with label_table"),
        ({"data.units.input": False}, "config.data.units.input is False; with label_table"),
        ({"data.units.kind": "both"}, "config.data.units.kind is 'both'; it may be one of intensity, presence"),
        ({"data.units.flips": 0.7}, "config.data.units.flips is 0.7; it may be a number from 0 to 0.5"),
        ({"augment.flip": 0.5}, "config.data.units.input is True; with config.augment"),
        ({"data.labels_csv": "no.csv"}, "config.data.labels_csv no.csv cannot be read"),
        ({"data.units.path": "no.csv"}, "config.data.units.path no.csv does not exist"),
        (
            {"data.units.minimum_confidence": 2.0},
            "config.data.units.minimum_confidence is 2.0; it may be",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tables, change, said, capsys, tmp_path):
    arguments = ["--config", str(_file(tables)), "--workdir", str(tmp_path / "run"), *overrides(tables, **change)]
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main.main(["train", *arguments]))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fer-jax: ")]
    assert stop.value.code == 2
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("file,label,subject,split", "a.png,x,p,train", "b.png,y,P,test"),
         "subject 'P' is in both splits: a.png and b.png; a subject may be in train or in test"),
        (("file,label,Subject", "a.png,x,p"), "labels.csv has 'Subject', which is not read; it may be called 'subj"),
        (("file,label", "a/b.png,x", "./A\\B.png,y"), "labels.csv, line 3 has ./A\\B.png for the second time, after 2"),
    ],
)  # fmt: skip
def test_a_table_that_says_other_than_it_seems_is_told(tables, tmp_path, lines, said):
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as error:
        load(config(tables, **{"data.base_classes": (), "data.labels_csv": str(tmp_path / "labels.csv")}).data)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_fifteen_increments_on_units_alone(tables, tmp_path):
    methods = ("units_lda", "units_mixture", "units_naive_bayes", "units_ridge", "features_units_naive_bayes", "er")
    changes = {"methods": methods, "basic.objective": "action_units", "basic.body.max_epochs": 2,
               "continual.max_epochs": 1}  # fmt: skip
    found = experiment.train(config(tables, **changes), tmp_path / "run")
    for name in methods:
        (run,) = found["continual"][name]["runs"]
        assert len(run["accuracy_matrix"]) == 16
        if name.startswith("units"):
            assert run["metrics"]["final_accuracy"] > 0.4, name
    assert found["data"]["metadata"]["units"]["images_without_row"] == 1
    # Other units are other data, and a run goes on with its own.
    path = tables / "fex.csv"
    text = path.read_text()
    try:
        path.write_text(text.replace("0.9,3.5,0.1,0.0", "0.9,3.5,0.1,0.7"))
        with pytest.raises(UserError, match="data_sha256"):
            experiment.train(config(tables, **changes), tmp_path / "run")
    finally:
        path.write_text(text)
