"""docs/extending.md, executed: its files are written out, and what it says is run with them."""

import json
import pathlib
import re
import sys

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from fer_jax import experiment
from fer_jax.cli import main
from fer_jax.config import dotted
from fer_jax.config.file import read_config
from fer_jax.data.load import load
from fer_jax.errors import UserError
from fer_jax.inference import export, trained
from fer_jax.models import backbones
from fer_jax.runs.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", TEXT, flags=re.DOTALL))


@pytest.fixture
def written(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.chdir(tmp_path)
    dotted._named.clear()
    yield tmp_path
    dotted._named.clear()
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.parametrize("name", FILES)
def test_each_takes_thirty_lines_at_most(name):
    assert len(FILES[name].strip().splitlines()) <= (15 if name == "focal.py" else 30)


def train(workdir, *overrides) -> dict:
    """Trains on the digits, seconds; nothing is drawn."""
    quick = ["--config.protocol.n_orders=1", "--config.basic.body.max_epochs=8", "--config.continual.max_epochs=4",
             "--config.model.widths=(32,16)", "--config.joint.max_epochs=1"]  # fmt: skip
    config = read_config([f"--config={ROOT / 'configs' / 'digits.py'}:5x2", *quick, *overrides])
    return experiment.train(config, workdir)


def test_losses_methods_and_rules_of_ones_own(written):
    usual = train(written / "usual", "--config.methods=('er','mine.hard_replay','mine.least_sure_replay')")
    loss = train(written / "loss", "--config.methods=('er',)", "--config.continual.loss=focal.focal")
    rule = train(written / "rule", "--config.methods=('er',)", "--config.memory.rule=mine.least_sure")
    assert loss["config"]["continual.loss"] == "focal.focal"
    # Two classes an increment: the model knows them all in the end.
    assert trained.restore(written / "usual").known_names == tuple(usual["data"]["classes"])
    # With another loss alone, or other exemplars alone, it is another model; it learns as well.
    ran = [(results, method) for results in (usual, loss, rule) for method in results["continual"]]
    final = [results["continual"][method]["runs"][0]["final_confusion"] for results, method in ran]
    er, hard, least_sure, with_loss, with_rule = map(str, final)
    assert len({er, hard, least_sure, with_loss}) == 4
    # A rule in the method's own place and in the config's are the same.
    assert with_rule == least_sure
    for results, method in ran:
        assert results["continual"][method]["metrics"]["final_accuracy"]["mean"] > 0.3


def test_a_composed_loss_is_the_weighted_sum(written):
    plain, hesitant = (
        train(written / str(weight), "--config.methods=('er',)",
              f"--config.continual.terms=(('cross_entropy',1.0),('hesitant.certainty',{weight}))")
        for weight in (1e-9, 0.5)
    )  # fmt: skip
    losses = [results["continual"]["er"]["runs"][0]["final_confusion"] for results in (plain, hesitant)]
    assert losses[0] != losses[1]
    # A vanishing weight leaves the method as it is.
    alone = train(written / "alone", "--config.methods=('er',)")
    assert losses[0] == alone["continual"]["er"]["runs"][0]["final_confusion"]


def test_an_unbalanced_rule_sees_what_is_stored_and_stays_within_the_budget(written):
    results = train(written / "run", "--config.methods=('er',)", "--config.memory.rule=apart.RULE")
    assert results["continual"]["er"]["metrics"]["final_accuracy"]["mean"] > 0.3
    with Checkpoints(written / "run" / "checkpoints" / "fold0" / "er" / "order0") as checkpoints:
        last = checkpoints.glance(checkpoints.steps()[-1])[0]["steps"][-1]
    stored = [sum(image >= 0 for image in images) for images in last["memory"]]
    budget = last["exemplars_per_class"] * len(stored)
    assert sum(stored) == budget
    assert len(set(stored)) > 2, "classes share the budget by their scores"


def test_a_classifier_and_a_correction_are_reported(written):
    results = train(
        written / "run", "--config.methods=('er',)", "--config.continual.classifiers=('cosine.CLASSIFIER',)",
        "--config.continual.correction=shorter.shorten",
    )  # fmt: skip
    cosine = results["continual"]["er (cosine)"]["metrics"]["final_accuracy"]["mean"]
    assert cosine > 0.5
    with Checkpoints(written / "run" / "checkpoints" / "fold0" / "er" / "order0") as checkpoints:
        steps = checkpoints.glance(checkpoints.steps()[-1])[0]["steps"]
    factors = [step["correction"]["factor"] for step in steps]
    assert all(0 < factor <= 1 for factor in factors)


def test_an_augmentation_is_applied_to_every_image(written):
    images = np.full((3, 8, 8, 3), 0.25, np.float32)
    occlude = dotted.function("occlude.occlude", "")
    covered = np.asarray(occlude(jax.random.key(0), images, np.arange(3)))
    assert ((covered == 0.5).all(-1).sum((1, 2)) == 4).all()
    own = train(written / "own", "--config.augment.function=occlude.occlude", "--config.methods=('er',)")
    none = train(written / "none", "--config.methods=('er',)")
    first = [results["basic"][0]["stages"]["body"]["history"][0]["loss"] for results in (own, none)]
    assert first[0] != first[1]


@pytest.mark.slow
def test_a_base_objective_with_two_views_and_a_target(written, tiny_config, tiny_data, tmp_path):
    config = tiny_config.copy_and_resolve_references()
    config.update_from_flattened_dict({
        "protocol.n_orders": 1, "methods": ("finetune",), "few_shot.shots": (), "continual.max_epochs": 1,
        "basic.body.max_epochs": 3, "basic.head.max_epochs": 0,
    })  # fmt: skip
    with config.unlocked():
        config.basic.objective = "two_views.OBJECTIVE"
    results = experiment.train(config, tmp_path / "run")
    history = results["basic"][0]["stages"]["body"]["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    model = trained.restore(tmp_path / "run", "base")
    assert set(model.params) == {"backbone", "head"}, "extra heads are gone after the fit"
    # A target that the data set does not have is one line, before anything is written.
    with pytest.raises(UserError, match="an objective asks for the target 'action_units'; digits has none"):
        train(tmp_path / "digits", "--config.basic.objective=two_views.OBJECTIVE")
    assert not (tmp_path / "digits").exists()


@pytest.mark.slow
def test_a_data_set_trains_and_its_model_predicts(written, capsys):
    (written / "configs").symlink_to(ROOT / "configs")
    quick = ["--config.protocol.n_orders=1", "--config.basic.body.max_epochs=8", "--config.continual.max_epochs=4",
             "--config.model.widths=(32,16)", "--config.methods=('er',)"]  # fmt: skip
    config = ["--config", "stripes_config.py", "--workdir", "run"]
    assert main.main(["train", *config, *quick]) == 0
    found = json.loads((written / "run" / "results.json").read_text())
    assert found["data"]["images"] == 8 * 60
    assert found["data"]["subjects"] is None
    assert found["data"]["classes"][:2] == ["0 degrees", "22.5 degrees"]
    assert found["continual"]["er"]["metrics"]["final_accuracy"]["mean"] > 0.3
    image = load(ml_collections.ConfigDict({"name": "stripes.DATA_SET", "image_size": 8, "exclude": (), "n_base": 4,
                                            "images_per_class": 5})).image[0]  # fmt: skip
    Image.fromarray(image).save("picture.png")
    capsys.readouterr()
    predict = ["predict", "--cropped", "--json", "--method=base", "--workdir", "run", "picture.png"]
    dotted._named.clear()
    assert main.main(predict) == 2
    assert "'stripes.DATA_SET' of a workdir's config would run module stripes" in capsys.readouterr().err
    assert main.main([*predict, "--trust"]) == 0
    assert "degrees" in capsys.readouterr().out
    # Its own keys are checked as those of the others are, and what it is not is told.
    assert main.main(["train", *config, "--config.data.images_per_class=4"]) == 2
    assert "config.data.images_per_class is 4; it may be a whole number from 5" in capsys.readouterr().err
    assert main.main(["train", *config, "--config.data.name=stripes.load"]) == 2
    assert "'stripes.load' is a function; it may be a fer_jax.data.data_set.DataSet" in capsys.readouterr().err


@pytest.fixture
def patches(written):
    """The workdir of a run with the user's own backbone."""
    train(written / "run", "--config.methods=('er',)", "--config.model.name=patches.FAMILY", "--config.model.patch=4")
    return written / "run"


def test_a_backbone_is_trained_and_used_as_the_others(patches, capsys):
    found = json.loads((patches / "results.json").read_text())
    assert (found["config"]["model.name"], found["config"]["model.patch"]) == ("patches.FAMILY", 4)
    assert found["continual"]["er"]["metrics"]["final_accuracy"]["mean"] > 0.3
    model = trained.restore(patches)
    assert model.network.backbone.cuts == ("input", "mix", "map", "features")
    assert model.params["backbone"]["patches"]["kernel"].shape == (4, 4, 3, 32)
    picture = patches.parent / "picture.png"
    Image.new("RGB", (8, 8), "grey").save(picture)
    asked = ["--trust", "--workdir", str(patches)]
    assert main.main(["predict", *asked, str(picture)]) == 0
    assert main.main(["export", *asked, "--format", "safetensors", "--out", str(patches.parent / "out")]) == 0
    # A new process knows nothing of the module yet, and may not run it.
    dotted._named.clear()
    capsys.readouterr()
    assert main.main(["predict", "--workdir", str(patches), str(picture)]) == 2
    said = "fer-jax: config.model.name: 'patches.FAMILY' of a workdir's config would run module patches; where it is"
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.slow
def test_a_backbone_is_explained_and_exported_in_every_format(patches):
    asked = ["--trust", "--workdir", str(patches)]
    assert main.main(["explain", *asked]) == 0
    for kind in export.FORMATS:
        assert main.main(["export", *asked, "--format", kind, "--out", str(patches.parent / kind)]) == 0


def test_a_backbone_starts_from_weights_of_its_own(written):
    model = ml_collections.ConfigDict({"name": "patches.FAMILY", "widths": (32, 16), "patch": 4, "weights": "w.npz"})
    shapes = backbones.build(model).shapes()
    arrays = {f"{layer}/{k}": np.full(s, 0.5) for layer, leaves in shapes.items() for k, s in leaves.items()}
    np.savez("w.npz", **arrays)
    weights = backbones.load_weights(model)
    assert {layer: {k: v.shape for k, v in leaves.items()} for layer, leaves in weights.params.items()} == shapes
    assert float(weights.params["mix"]["bias"][0]) == 0.5


def test_what_is_wrong_with_them_is_one_line(written, capsys):
    arguments = ["train", "--config", str(ROOT / "configs" / "smoke.py"), "--workdir", str(written / "run")]
    assert main.main([*arguments, "--config.continual.loss=focal.lost"]) == 2
    assert capsys.readouterr().err == "fer-jax: config.continual.loss: 'focal.lost': module focal has no lost\n"
    assert main.main([*arguments, "--config.methods=('focal.focal',)"]) == 2
    said = "fer-jax: config.methods: 'focal.focal' is a function; it may be a fer_jax.methods.Method\n"
    assert capsys.readouterr().err == said
    assert not (written / "run").exists()
