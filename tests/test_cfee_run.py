"""configs/cfee.py from files to report: the paper's network and data form, on rendered faces under CFEE's names."""

import json
import pathlib

import cfee_tree
import numpy as np
import pytest

from fer_jax import main
from fer_jax.data.images import read_image

ROOT = pathlib.Path(__file__).parents[1]
INCREMENTS = ("Happily surprised", "Hatred", "Awed")
N_SUBJECTS = 20


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """20 subjects × 22 categories at 128 pixels."""
    root = tmp_path_factory.mktemp("cfee")
    cfee_tree.write_tree(root, cfee_tree.rendered(N_SUBJECTS, 128))
    return root


@pytest.mark.slow
def test_three_phases_with_the_papers_network(tree, tmp_path, capsys):
    left_out = tuple(
        name.lower() for name in cfee_tree.SHEET_NAMES if name.lower() not in cfee_tree.BASE and name not in INCREMENTS
    )
    overrides = {
        "data.manual_dir": tree, "data.dir": tmp_path / "tfds", "data.image_size": 96, "data.exclude": left_out,
        "protocol.folds": (0,), "protocol.n_orders": 1, "methods": ("kd_psmr",),
        "basic.head.max_epochs": 1, "basic.body.max_epochs": 1, "continual.max_epochs": 1,
        "few_shot.shots": (1,), "few_shot.draws": 1, "few_shot.max_epochs": 1,
    }  # fmt: skip
    workdir = tmp_path / "run"
    code = main.main(["train", "--config", str(ROOT / "configs" / "cfee.py"), "--workdir", str(workdir),
                      *(f"--config.{key}={value}" for key, value in overrides.items())])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    found = json.loads((workdir / "results.json").read_text())
    assert found["data"]["classes"] == [*cfee_tree.BASE, *(name.lower() for name in INCREMENTS)]
    assert (found["data"]["images"], found["data"]["subjects"]) == (N_SUBJECTS * 9, N_SUBJECTS)
    assert found["data"]["metadata"]["skipped"] == []
    assert found["config"]["model.input_range"] == "minus_one_one"
    (basic,) = found["basic"]
    assert set(basic["stages"]) == {"head", "body"}
    assert np.sum(basic["test_confusion"]) == 6 * 2  # two subjects a fold
    (run,) = found["continual"]["kd_psmr"]["runs"]
    assert np.shape(run["final_confusion"]) == (9, 9)
    np.testing.assert_array_equal(run["test_counts"], [2] * 9)
    assert run["trained_steps"] == [0, 1, 2, 3]
    assert [row["class"] for row in found["few_shot"]["rows"]] == [name.lower() for name in INCREMENTS]
    page = (workdir / "report" / "index.html").read_text()
    assert f"cfee: {N_SUBJECTS * 9} images of {N_SUBJECTS} subjects" in " ".join(page.split())
    assert (workdir / "report" / "confusion_kd_psmr.png").stat().st_size > 1000


def test_the_tree_has_the_releases_form(tree):
    pictures = sorted((tree / "CFEE_Database_230").glob("Group*/Images*/*.jpg"))
    assert len(pictures) == N_SUBJECTS * 22
    assert pictures[0].name == "01_101_IMG_1000.jpg"
    # Neutral and happy of one person: two different faces.
    neutral, happy = read_image(pictures[0]), read_image(pictures[0].with_name("02_101_IMG_1000.jpg"))
    assert neutral.shape == (128, 128, 3)
    assert np.abs(neutral.astype(int) - happy).max() > 60
