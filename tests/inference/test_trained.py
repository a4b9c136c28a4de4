"""A model is found again as the run left it, or one line says what the run does not have."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.cli import main
from fer_jax.config import dotted, names
from fer_jax.errors import UserError
from fer_jax.inference import predict, trained
from fer_jax.phases import base as base_task
from fer_jax.phases import continual
from fer_jax.runs import results
from fer_jax.runs.progress import Progress


@pytest.mark.parametrize("method", ["kd_psmr", "joint"])
def test_a_restored_model_has_the_accuracy_of_its_run(tiny_run, tiny_data, method):
    model = trained.restore(tiny_run, method, order=1)
    data, split = trained.load_data(model)
    run = next(r for r in results.read(tiny_run)["continual"][method]["runs"] if r["order"] == 1)
    assert model.increment == 2
    assert model.known_names == tiny_data.class_names
    found = trained.in_batches(lambda x: trained.logits(model.params, x, model.network), data.image[split.test])
    counts = np.zeros((9, 9), int)
    np.add.at(counts, (data.label[split.test], found.argmax(1)), 1)
    np.testing.assert_array_equal(counts, run["final_confusion"])


def learned_by(method, tiny_run, tiny_data, folder):
    """A copy of the finished run that another method has learned in, too; and its last increment's record."""
    run = folder / "run"
    shutil.copytree(tiny_run, run)
    there = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**there, "methods": [*there["methods"], method]}))
    base = trained.restore(run, trained.BASE)
    _, split = trained.load_data(base, tiny_data)
    fold = dataclasses.replace(
        base.stored.fold, data=tiny_data, images=jnp.asarray(tiny_data.image), labels=jnp.asarray(tiny_data.label),
        split=split, progress=Progress(),
    )  # fmt: skip
    built_on = base_task.with_objective(fold, names.method(method).base)
    built_on = dataclasses.replace(built_on, config=fold.config)  # the base model that is there
    order = protocol.class_orders(3, fold.config.protocol.n_orders, fold.config.protocol.order_seed)[0]
    if built_on.basic != "basic":
        shutil.copytree(run / "checkpoints" / "fold0" / "basic", run / "checkpoints" / "fold0" / built_on.basic)
    steps = continual.run(built_on, base.params, names.method(method), 0, order)
    return run, steps[-1]


def confusion_of(model, data, split):
    counts = np.zeros((9, 9), int)
    np.add.at(counts, (data.label[split.test], trained.scores(model, data.image[split.test]).argmax(1)), 1)
    return counts


def test_a_method_that_trains_no_network_answers_by_its_own_classifier(tiny_run, tiny_data, tmp_path):
    run, last = learned_by("ncm", tiny_run, tiny_data, tmp_path)
    model = trained.restore(run, "ncm")
    assert (model.answers, model.column, model.increment) == ("class_mean", "ncm", 2)
    _, split = trained.load_data(model, tiny_data)
    np.testing.assert_array_equal(confusion_of(model, tiny_data, split), last["confusions"]["class_mean"])
    assert predict.answers_line(model) is None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slda", "contrastive_replay"])
def test_a_method_answers_by_its_own_classifier_where_that_is_linear(
    tiny_run, tiny_data, tmp_path, logged, monkeypatch, method
):
    run, last = learned_by(method, tiny_run, tiny_data, tmp_path)
    network = trained.restore_network(run, method, None, None)
    data, split = trained.load_data(network, tiny_data)
    model = trained.restore(run, method, data=data)
    own = names.method(method).answers_by[0].name
    assert (model.answers, model.column) == (own, method)
    np.testing.assert_array_equal(confusion_of(model, data, split), last["confusions"][own])
    if method == "slda":
        return
    # Teaching learns from the features that are answered by.
    assert model.network.mirrored
    np.testing.assert_array_equal(
        trained.features(model.source, data.image[:9]), trained.features(model, data.image[:9])
    )
    plain = dataclasses.replace(model, network=dataclasses.replace(model.network, mirrored=False))
    assert plain.digest != model.digest
    assert network.column == "contrastive_replay (network)"
    np.testing.assert_array_equal(confusion_of(network, data, split), last["confusions"]["network"])
    # It reads the data once; without them or what was made of them the network answers.
    monkeypatch.setattr(trained, "load_data", missing)
    assert trained.restore(run, method).digest == model.digest
    shutil.rmtree(run / "heads")
    alone = trained.restore(run, method)
    assert (alone.answers, alone.digest) == ("network", network.digest)
    assert "the network answers, not the method's own classifier: no data" in logged.text
    assert predict.answers_line(alone) == (
        "answers are the network's; contrastive_replay itself answers by exemplar discriminant"
    )


def missing(*arguments):
    raise UserError("no data")


@pytest.mark.slow
def test_a_method_without_a_network_whose_classifier_is_not_linear_is_told(tiny_run, tiny_data, tmp_path):
    run, _ = learned_by("composition", tiny_run, tiny_data, tmp_path)
    with pytest.raises(
        UserError, match="trains no network, and whose classifier is not linear in the base model's fea"
    ):
        trained.restore(run, "composition")


def test_the_base_model_knows_the_base_classes(tiny_run):
    model = trained.restore(tiny_run, trained.BASE)
    assert model.known_names == ("happy", "sad", "fearful", "angry", "surprised", "disgusted")
    assert (model.name, model.order, model.increment) == ("fold0-base", None, None)
    assert model.digest != trained.restore(tiny_run).digest


def test_a_run_that_is_not_finished_gives_its_last_increment(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "results.json").unlink()
    shutil.rmtree(run / "checkpoints" / "fold0" / "kd_psmr" / "order0" / "2")
    model = trained.restore(run)
    assert model.increment == 1
    assert len(model.known_names) == 8
    shutil.rmtree(run / "checkpoints" / "fold0" / "kd_psmr" / "order0")
    with pytest.raises(UserError, match=r"has no finished increment of kd_psmr, fold 0, order 0; .* --method base"):
        trained.restore(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="has no finished base task of fold 0; fer-jax train goes on with it"):
        trained.restore(run)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"method": "icarl_"}, "--method is 'icarl_'; it may be one of kd_psmr, finetune, .*, base"),
        ({"fold": 4}, "--fold is 4; it may be one of 0"),
        ({"order": 2}, "--order is 2; it may be one of 0, 1"),
    ],
)
def test_what_a_run_does_not_have_is_told(tiny_run, choice, said):
    with pytest.raises(UserError, match=said):
        trained.restore(tiny_run, **choice)


def test_folders_that_are_no_runs_are_told(tiny_run, tmp_path):
    with pytest.raises(UserError, match=r"is not that of a run: it has no config.json"):
        trained.restore(tmp_path)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(UserError, match="is a sweep's; it may be that of one of its cells"):
        trained.restore(tmp_path)
    other = tmp_path / "run"
    shutil.copytree(tiny_run, other)
    (other / "origin.json").write_text(json.dumps({"data_sha256": "other"}))
    with pytest.raises(UserError, match="has changed since it was trained on"):
        trained.load_data(trained.restore(other))


def test_a_place_that_the_data_set_does_not_have_is_told(tiny_run, tmp_path):
    assert trained.run_config(tiny_run, {"data.dir": str(tmp_path)}).data.dir == str(tmp_path)
    with pytest.raises(UserError, match=r"^config\.data\.manual_dir is no key of data set facs_faces; beside"):
        trained.restore(tiny_run, places={"data.manual_dir": "/x"})


def test_in_batches_fills_up_and_cuts_off():
    seen = []

    def double(x):
        seen.append(x.shape)
        return 2 * x

    np.testing.assert_array_equal(trained.in_batches(double, np.arange(7), batch=3), 2 * np.arange(7))
    assert seen == [(3,)] * 3


def test_an_unknown_class_is_told(tiny_run):
    model = trained.restore(tiny_run)
    assert model.class_index("sad") == 1
    with pytest.raises(UserError, match=r"--class is 'sadd'; did you mean sad\?; it may be one of happy, sad"):
        model.class_index("sadd")


OF_OTHERS = """
import pathlib
from fer_jax import methods
pathlib.Path("it_ran").touch()
def loss(outputs, context): ...
"""


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("methods", ["kd_psmr", "of_others.loss"], "of_others.loss"),
        ("continual.loss", "of_others.loss", "of_others.loss"),
        ("memory.rule", "of_others.loss", "of_others.loss"),
        ("memory.rule", "fer_jaxed.loss", "fer_jaxed.loss"),
    ],
)
def test_a_workdir_of_others_runs_nothing_of_theirs(tiny_run, tmp_path, monkeypatch, capsys, key, value, path):
    monkeypatch.chdir(tmp_path)
    for name in ("of_others", "fer_jaxed"):
        (tmp_path / f"{name}.py").write_text(OF_OTHERS)
    shutil.copytree(tiny_run, tmp_path / "run")
    there = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**there, key: value}))
    (tmp_path / "face.png").write_bytes(b"")
    ours = (["predict", "face.png"], ["explain"], ["export", "--format=stablehlo", "--out=out"],
            ["teach", "--class=smirk", "face.png"])  # fmt: skip
    for command in ours:
        capsys.readouterr()
        assert main.main([*command, "--workdir", "run"]) == 2
        (told,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("fer-jax: "))
        if command[0] != "predict":  # which looks at its pictures first
            assert told.startswith(f"fer-jax: config.{key}: '{path}' of a workdir's config would run module ")
            assert told.endswith("say --trust")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.slow
def test_a_report_of_others_runs_nothing_of_theirs(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_others.py").write_text(OF_OTHERS)
    shutil.copytree(tiny_run, tmp_path / "run")
    there = json.loads((tmp_path / "run" / "config.json").read_text())
    named = dict.fromkeys(("continual.loss", "memory.rule"), "of_others.loss")
    changed = {**there, **named, "methods": ["kd_psmr", "of_others.loss"]}
    (tmp_path / "run" / "config.json").write_text(json.dumps(changed))
    assert main.main(["report", "--workdir", "run"]) == 0  # without faces
    assert not (tmp_path / "it_ran").exists()


def test_a_workdir_that_is_trusted_is_read_with_modules_of_its_own(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dotted, "_named", {})
    (tmp_path / "of_mine_alone.py").write_text(OF_OTHERS)
    shutil.copytree(tiny_run, tmp_path / "run")
    there = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**there, "continual.loss": "of_mine_alone.loss"}))
    with pytest.raises(UserError, match="say --trust"):
        trained.restore(tmp_path / "run")
    with dotted.trusting():
        assert trained.restore(tmp_path / "run").config.continual.loss == "of_mine_alone.loss"
    assert (tmp_path / "it_ran").exists()
    # What this process has named before runs nothing again.
    trained.restore(tmp_path / "run")


def test_a_workdir_may_name_what_is_of_fer_jax(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    there = json.loads((tmp_path / "run" / "config.json").read_text())
    theirs = {**there, "methods": ["kd_psmr", "fer_jax.ingredients.random_alone"]}
    (tmp_path / "run" / "config.json").write_text(json.dumps(theirs))
    assert trained.restore(tmp_path / "run").method == "kd_psmr"
