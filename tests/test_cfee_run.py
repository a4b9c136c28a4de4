"""configs/cfee.py from files to report: the paper's network and data form, on rendered faces under CFEE's names."""

import hashlib
import json
import pathlib

import numpy as np
import pytest

from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.data.images import read_image
from fer_jax.models import keras_file
from fer_jax.models.resnet_v2 import ResNetV2
from tests.support import cfee_tree, keras_files

ROOT = pathlib.Path(__file__).parents[1]
SMALL_WEIGHTS = ROOT / "tests" / "reference" / "small_weights_legacy.h5"
COMPOUND = tuple(
    name.lower() for name in cfee_tree.SHEET_NAMES if name.lower() not in cfee_tree.BASE and name != "Neutral"
)
N_SUBJECTS = 20
ONE_EPOCH = {
    "methods": ("kd_psmr",), "protocol.n_orders": 1,
    "basic.head.max_epochs": 1, "basic.body.max_epochs": 1, "continual.max_epochs": 1,
    "few_shot.shots": (1,), "few_shot.draws": 1, "few_shot.max_epochs": 1,
}  # fmt: skip


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(workdir: pathlib.Path, capsys, **overrides) -> dict:
    """The results of configs/cfee.py with overrides."""
    code = main.main(["train", "--config", str(ROOT / "configs" / "cfee.py"), "--workdir", str(workdir),
                      *(f"--config.{key}={value}" for key, value in overrides.items())])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """20 subjects × 22 categories at 128 pixels."""
    root = tmp_path_factory.mktemp("cfee")
    cfee_tree.write_tree(root, cfee_tree.rendered(N_SUBJECTS, 128))
    return root


@pytest.mark.slow
def test_three_phases_with_the_papers_network(tree, recipe, tmp_path, capsys):
    """All fifteen compound classes, from a full-size file of weights; an epoch each, at 64 pixels."""
    weights = tmp_path / "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras_files.write_legacy(
        weights, [row for row in recipe.make_weights("resnet50v2") if not row[0].startswith("dense")]
    )
    workdir = tmp_path / "run"
    found = train(workdir, capsys, **ONE_EPOCH, **{
        "data.manual_dir": tree, "data.dir": tmp_path / "tfds", "data.image_size": 64,
        "protocol.folds": (0,), "model.weights": weights,
    })  # fmt: skip
    assert found["data"]["classes"] == [*cfee_tree.BASE, *COMPOUND]
    assert (found["data"]["images"], found["data"]["subjects"]) == (N_SUBJECTS * 21, N_SUBJECTS)
    assert found["data"]["metadata"]["skipped"] == []
    assert found["config"]["model.input_range"] == "minus_one_one"
    (basic,) = found["basic"]
    assert basic["weights_sha256"] == sha256(weights)
    assert set(basic["stages"]) == {"head", "body"}
    assert np.sum(basic["test_confusion"]) == 6 * 2  # two subjects a fold
    (run,) = found["continual"]["kd_psmr"]["runs"]
    assert np.shape(run["final_confusion"]) == (21, 21)
    np.testing.assert_array_equal(run["test_counts"], [2] * 21)
    assert run["trained_steps"] == list(range(16))
    assert run["exemplars_per_class"] == [4] * 15  # ⌊⌊.3 · 16 · 21⌋ / 21⌋
    assert [row["class"] for row in found["few_shot"]["rows"]] == list(COMPOUND)
    page = (workdir / "report" / "index.html").read_text()
    assert f"cfee: {N_SUBJECTS * 21} images of {N_SUBJECTS} subjects" in " ".join(page.split())
    assert (workdir / "report" / "confusion_kd_psmr.png").stat().st_size > 1000


def shallow(path: pathlib.Path) -> pathlib.Path:
    """Random weights of a network of a block a stage, as Keras would write them."""
    generator = np.random.default_rng(0)
    rows = [
        (layer, keras_file.NORM[leaf] if "scale" in leaves else leaf, generator.uniform(0, 0.2, shape))
        for layer, leaves in ResNetV2((1, 1, 1, 1), (4, 8, 16, 32), 64, 7).shapes().items()
        for leaf, shape in leaves.items()
    ]
    keras_files.write_legacy(path, rows)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "depths"), [("published", (1, 1, 1, 1)), ("held_out", (3, 4, 6, 3))])
def test_a_narrow_network_from_a_file_of_weights(protocol, depths, tmp_path, capsys, monkeypatch):
    """Three of the compound classes and three folds of two people; pictures of noise."""
    weights = SMALL_WEIGHTS if depths == (3, 4, 6, 3) else shallow(tmp_path / "shallow.h5")
    lines = []
    monkeypatch.setattr(experiment.log, "info", lambda text, *values: lines.append(text % values))
    cfee_tree.write_tree(tmp_path / "cfee", cfee_tree.noise(6))
    left_out = tuple(name for name in COMPOUND if name not in ("happily surprised", "hatred", "awed"))
    found = train(tmp_path / "run", capsys, **ONE_EPOCH, **{
        "data.manual_dir": tmp_path / "cfee", "data.dir": tmp_path / "tfds", "data.image_size": 32,
        "data.exclude": ("neutral", *left_out), "protocol.name": protocol,
        "protocol.n_folds": 3, "protocol.folds": (0, 1),
        "model.depths": depths, "model.widths": (4, 8, 16, 32), "model.weights": weights,
        "basic.batch_size": 4, "continual.batch_size": 4, "few_shot.batch_size": 4, "memory.share": 1.0,
    })  # fmt: skip
    said = f"the network starts from the weights of {weights}, sha256 {sha256(weights)}"
    assert lines.count(said) == 1
    published = protocol == "published"
    assert found["protocol"] == protocol
    assert found["config"]["model.input_range"] == ("zero_one" if published else "minus_one_one")
    assert [basic["weights_sha256"] for basic in found["basic"]] == [sha256(weights)] * 2
    runs = found["continual"]["kd_psmr"]["runs"]
    best = max(found["basic"], key=lambda basic: basic["validation_accuracy"])["fold"]
    assert [run["fold"] for run in runs] == ([best] if published else [0, 1])
    if published:  # it selects on the very images that it reports
        assert all(basic["validation_confusion"] == basic["test_confusion"] for basic in found["basic"])
    assert all(run["trained_steps"] == [0, 1, 2, 3] for run in runs)


@pytest.mark.slow
def test_the_tree_has_the_releases_form(tmp_path):
    cfee_tree.write_tree(tmp_path, cfee_tree.rendered(2, 128))
    pictures = sorted((tmp_path / "CFEE_Database_230").glob("Group*/Images*/*.jpg"))
    assert len(pictures) == 2 * 22
    assert pictures[0].name == "01_101_IMG_1000.jpg"
    # Neutral and happy of one person: two different faces.
    neutral, happy = read_image(pictures[0]), read_image(pictures[0].with_name("02_101_IMG_1000.jpg"))
    assert neutral.shape == (128, 128, 3)
    assert np.abs(neutral.astype(int) - happy).max() > 60
