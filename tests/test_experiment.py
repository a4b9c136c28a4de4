"""A whole run at toy size: what it reads, that it resumes, that it reports."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax import experiment, methods, objectives, protocol
from fer_jax.config import dotted
from fer_jax.config.file import read_config
from fer_jax.errors import UserError
from fer_jax.inference import trained
from fer_jax.phases import continual, few_shot
from fer_jax.runs.checkpoints import Saving
from fer_jax.training import epoch as training
from studies.chaos import arrays, without_times


def epochs_of(found: dict, config) -> int:
    """Epochs that the whole run takes, from its results; few-shot fits here never stop early.

    The joint model is trained once for all orders.
    """
    basic = sum(len(stage["history"]) for fold in found["basic"] for stage in fold["stages"].values())
    runs = [
        run for name, method in found["continual"].items() for run in method["runs"][: 1 if name == "joint" else None]
    ]
    continual = sum(sum(run["epochs"]) for run in runs)
    return basic + continual + config.few_shot.max_epochs * len(found["few_shot"]["rows"])


def read(workdir) -> dict:
    return without_times(json.loads((workdir / "results.json").read_text()))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return bool(a) and a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_a_run_leaves_what_it_promises(tiny_run, tiny_config):
    found = json.loads((tiny_run / "results.json").read_text())
    assert set(found["continual"]) == set(tiny_config.methods)
    for method in set(tiny_config.methods) - {"joint"}:
        runs = found["continual"][method]["runs"]
        assert len(runs) == tiny_config.protocol.n_orders
        for run in runs:
            matrix = np.asarray(run["accuracy_matrix"], float)
            learned = np.asarray(run["learned_at"])
            seen = learned[None] <= np.arange(len(matrix))[:, None]
            # a[t, c] is there exactly where class c is known after step t.
            np.testing.assert_array_equal(np.isfinite(matrix), seen)
    assert {row["shots"] for row in found["few_shot"]["rows"]} == set(tiny_config.few_shot.shots)
    assert (tiny_run / "report" / "index.html").stat().st_size > 1000
    assert list((tiny_run / "tensorboard").glob("events.*"))


def test_the_same_command_again_runs_nothing_and_says_the_same(tiny_run, tiny_config, tmp_path, monkeypatch, caplog):
    workdir = tmp_path / "copy"
    shutil.copytree(tiny_run, workdir)
    monkeypatch.setattr(training, "run_epoch", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(experiment.log, "propagate", True)
    with caplog.at_level("INFO", logger="fer_jax"):
        experiment.train(tiny_config, workdir)
    assert "going on in" in caplog.text
    path, first = workdir / "results.json", (tiny_run / "results.json").read_bytes()
    assert path.read_bytes() == first
    # What the checkpoints do not say is written anew.
    path.write_text(json.dumps({**json.loads(first), "seed": 99}))
    experiment.train(tiny_config, workdir)
    assert read(workdir) == read(tiny_run)


def test_the_log_says_that_a_network_starts_from_random_weights(tiny_run, tiny_config, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(experiment.log, "info", lambda text, *values: lines.append(text % values))
    shutil.copytree(tiny_run, tmp_path / "run")
    experiment.train(tiny_config, tmp_path / "run")
    assert "the network starts from random weights (config.model.weights is none)" in lines


class Cut(Exception):
    """Stands for a power cut."""


# Epochs are saved each, or (in a run of seconds) never: then a fit begins again.
@pytest.mark.slow
@pytest.mark.parametrize(("after", "every"), [(1, 0.0), (10, 3600.0), (33, 0.0), (47, 0.0)])
def test_a_run_cut_anywhere_ends_as_if_it_were_not(tiny_run, tiny_config, tmp_path, monkeypatch, after, every):
    run_epoch, calls = training.run_epoch, [0]

    def failing(*arguments, **named):
        calls[0] += 1
        if calls[0] > after:
            raise Cut
        return run_epoch(*arguments, **named)

    workdir = tmp_path / "run"
    monkeypatch.setattr(training, "run_epoch", failing)
    with pytest.raises(Cut):
        experiment.train(tiny_config, workdir, saving=Saving(every))
    assert not (workdir / "results.json").exists()
    again = [0]

    def counting(*arguments, **named):
        again[0] += 1
        return run_epoch(*arguments, **named)

    monkeypatch.setattr(training, "run_epoch", counting)
    experiment.train(tiny_config, workdir, saving=Saving(every))
    assert read(workdir) == read(tiny_run)
    if every == 0.0:
        # No epoch is run twice.
        assert after + again[0] == epochs_of(read(workdir), tiny_config)
    assert same(arrays(workdir), arrays(tiny_run))


def test_what_each_epoch_reads(tiny_config, tiny_data, tmp_path, monkeypatch):
    """Every index that any epoch is given: training subjects only, and of old classes the memory alone."""
    split = protocol.split(tiny_data.subject, 0, tiny_config.protocol.n_folds)
    train, n_base = set(split.train.tolist()), tiny_config.data.n_base
    capacity = int(tiny_config.memory.share * len(train)) // len(tiny_data.class_names)
    pools: dict[str, list[np.ndarray]] = {name: [] for name in ("basic", *tiny_config.methods, "few_shot")}
    cell = {"now": "basic", "new": None, "memory": set(), "known": None}
    run_epoch, learn, shots = training.run_epoch, continual.learn, few_shot.FewShot.learn

    def spy(state, source, pool, context, *rest, **named):
        indices = np.asarray(pool)
        indices = indices[indices >= 0]
        pools[cell["now"]].append(indices)
        assert set(indices.tolist()) <= train
        labels = tiny_data.label[indices]
        known = np.asarray(context.class_mask)
        assert known[labels].all()
        if cell["now"] == "kd_psmr":
            old = indices[labels != cell["new"]]
            assert set(old.tolist()) <= cell["memory"]
            assert (np.bincount(labels, minlength=len(known))[known] <= capacity).all()
        if cell["now"].startswith("finetune"):
            assert (labels == cell["new"]).all()
        if cell["now"] == "few_shot":
            assert len(set(indices[labels == cell["new"]].tolist())) <= (cell["shots"] or len(train))
            assert (np.bincount(labels[labels < n_base], minlength=n_base) <= cell["exemplars"]).all()
        return run_epoch(state, source, pool, context, *rest, **named)

    def learn_spy(part, learned, increment, *cell_of_fit):
        stored = np.asarray(learned.memory.index)
        (new,) = part.new_classes(increment)
        cell.update(now=part.method.name, new=new, memory=set(stored[stored >= 0].tolist()))
        if part.method.name == "kd_psmr":
            known = protocol.class_mask(part.steps, increment)
            assert ((stored >= 0).any(1) == known).all()
        return learn(part, learned, increment, *cell_of_fit)

    def shots_spy(self, new_class, n, draw, cell_of_fit):
        cell.update(now="few_shot", new=new_class, shots=n, exemplars=self.m)
        return shots(self, new_class, n, draw, cell_of_fit)

    monkeypatch.setattr(training, "run_epoch", spy)
    monkeypatch.setattr(continual, "learn", learn_spy)
    monkeypatch.setattr(few_shot.FewShot, "learn", shots_spy)
    experiment.train(tiny_config, tmp_path / "run")
    assert all(pools.values())
    # The joint model reads all training images of the known classes.
    assert set(pools["joint"][-1].tolist()) == train


def test_test_images_decide_nothing(tiny_run, tiny_config, tiny_data, tmp_path, monkeypatch):
    """With the test subjects' pictures spoilt, training and selection come out the same; only the test figures move."""
    split = protocol.split(tiny_data.subject, 0, tiny_config.protocol.n_folds)
    image = tiny_data.image.copy()
    image[split.test] = 255 - image[split.test][:, ::-1]
    spoilt = type(tiny_data)(image, tiny_data.label, tiny_data.subject, tiny_data.class_names, tiny_data.metadata)
    monkeypatch.setattr(experiment, "load", lambda config: spoilt)
    found, before = experiment.train(tiny_config, tmp_path / "run"), read(tiny_run)
    assert same(arrays(tmp_path / "run"), arrays(tiny_run))
    assert without_times(found["basic"][0]["stages"]) == before["basic"][0]["stages"]
    assert found["basic"][0]["validation_confusion"] == before["basic"][0]["validation_confusion"]
    assert found["basic"][0]["test_confusion"] != before["basic"][0]["test_confusion"]
    for method, theirs in before["continual"].items():
        for a, b in zip(found["continual"][method]["runs"], theirs["runs"], strict=True):
            assert a["best_epochs"] == b["best_epochs"]
    epochs = [[row["epoch"] for row in rows] for rows in (found["few_shot"]["rows"], before["few_shot"]["rows"])]
    assert epochs[0] == epochs[1]


@pytest.mark.slow
def test_the_continual_phase_compiles_its_step_once_a_method(tiny_config, tmp_path, monkeypatch):
    sizes = {}
    run = continual.run

    def programs() -> int:
        return training._jitted_step._cache_size() + training._looped_steps._cache_size()

    def counting(setup, base, method, order_index, order):
        before = programs()
        measured = run(setup, base, method, order_index, order)
        sizes[method.name, order_index] = programs() - before
        return measured

    jax.clear_caches()
    monkeypatch.setattr(continual, "run", counting)
    config = tiny_config.copy_and_resolve_references()
    config.few_shot.shots = ()
    experiment.train(config, tmp_path / "run")
    # Both ways of finetuning take the same steps: the second one compiles nothing.
    expected = {"kd_psmr": 1, "finetune": 1, "finetune_blind": 0}  # joint is trained once in all
    orders = range(tiny_config.protocol.n_orders)
    assert sizes == {(m, o): n if o == 0 else 0 for m, n in expected.items() for o in orders}


@pytest.mark.slow
def test_published_keeps_the_published_rules(tiny_config, tmp_path):
    config = tiny_config.copy_and_resolve_references()
    config.protocol.name = "published"
    config.methods = ("kd_psmr",)
    config.protocol.n_orders = 1
    config.few_shot.shots = (1,)
    found = experiment.train(config, tmp_path / "run")
    basic = found["basic"][0]
    # Selected and reported on the same subjects.
    assert basic["validation_confusion"] == basic["test_confusion"]
    assert found["config"]["model.input_range"] == "zero_one"
    assert found["config"]["continual.distill_over"] == "known"
    assert found["config"]["few_shot.replay"] == "none"
    assert found["config"]["few_shot.selection"] == "new"


def test_a_workdir_of_something_else_is_refused_and_left_alone(tiny_run, tiny_config, tmp_path):
    other = tiny_config.copy_and_resolve_references()
    other.continual.learning_rate = 0.5
    before = sorted(p.relative_to(tiny_run) for p in tiny_run.rglob("*"))
    with pytest.raises(UserError, match=r"another config: continual.learning_rate .* there, 0\.5 here"):
        experiment.train(other, tiny_run)
    assert sorted(p.relative_to(tiny_run) for p in tiny_run.rglob("*")) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        experiment.train(tiny_config, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="is a file"):
        experiment.train(tiny_config, tmp_path / "notes.txt")


def test_other_data_under_the_same_config_are_not_gone_on_with(tiny_run, tiny_config, tiny_data, tmp_path, monkeypatch):
    workdir = tmp_path / "copy"
    shutil.copytree(tiny_run, workdir)

    def files():  # but for who is in it
        return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file() and p.name != ".lock"}

    before = files()
    other = dataclasses.replace(tiny_data, image=255 - tiny_data.image)
    monkeypatch.setattr(experiment, "load", lambda config: other)
    with pytest.raises(UserError, match=r"is of other data or another version: data_sha256 .* there, .* here; take"):
        experiment.train(tiny_config, workdir)
    assert files() == before
    (workdir / "origin.json").write_text("[]")
    with pytest.raises(UserError, match=r"origin\.json is not what fer-jax train wrote there"):
        experiment.train(tiny_config, workdir)


def test_an_official_split_reaches_every_fold(tiny_config, tiny_data, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def catch(config, setups, orders):
        for setup in setups.values():
            np.testing.assert_array_equal(setup.split.test, np.flatnonzero(official.official_test))
            assert len(np.unique(tiny_data.subject[setup.split.validation])) == 3
        raise Reached

    official = dataclasses.replace(tiny_data, official_test=tiny_data.subject >= 9)
    monkeypatch.setattr(experiment, "load", lambda config: official)
    monkeypatch.setattr(experiment, "run_phases", catch)
    config = tiny_config.copy_and_resolve_references()
    config.protocol.n_folds, config.protocol.folds = 3, (0, 1, 2)
    with pytest.raises(Reached):
        experiment.train(config, tmp_path / "run")
    config.protocol.n_folds = 10
    with pytest.raises(UserError, match="n_folds is 10; it may be at most the number of subjects, 9"):
        experiment.train(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_cache_over_its_budget_is_told_before_anything_is_written(tiny_config, tiny_data, tmp_path):
    config = tiny_config.copy_and_resolve_references()
    config.feature_cache.max_gb = 1e-9
    with pytest.raises(UserError, match=r"^config.feature_cache.max_gb is 1e-09; 1 views of .* take .* GB: allow them"):
        experiment.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # A base model counts once, whichever way it is named.
    config.basic.objective = config.few_shot.base = "contrastive"
    config.methods, config.few_shot.shots = ("er", "kd_psmr"), (1,)
    assert experiment._cached_cuts(configs.resolve(config)) == (["conv5_block1"], [])
    config.few_shot.base = "mixup"
    assert experiment._cached_cuts(configs.resolve(config)) == (["conv5_block1"] * 2, [])
    # Mirror images are held only where training sees them, and only of the base model that needs them.
    config.methods = ("er", "joint_contrastive")
    config.joint.cut = "conv4_block1"
    assert experiment._cached_cuts(configs.resolve(config))[1] == ["conv4_block1"]
    config.augment.flip = 0.0
    assert experiment._cached_cuts(configs.resolve(config))[1] == []
    # From pixels nothing is read of it.
    config.methods, config.few_shot.shots, config.joint.cut = ("joint",), (), "input"
    assert experiment._cached_cuts(configs.resolve(config)) == ([], [])


def test_twins_that_are_not_there_or_would_have_to_be_streamed_are_told(tiny_config, tiny_data):
    config = tiny_config.copy_and_resolve_references()
    config.basic.objective = "identity_mixing"
    with pytest.raises(UserError, match="an objective asks for the target 'twin_mixed'; facs_faces has action_units"):
        experiment._targets(configs.resolve(config), tiny_data)
    twins = dataclasses.replace(tiny_data, targets={**tiny_data.targets, "twin_mixed": tiny_data.image[::-1]})
    assert experiment._targets(configs.resolve(config), twins) == ["twin_mixed"]
    config.data.residency = "host"
    with pytest.raises(
        UserError, match=r"pictures as a target \(twin_mixed\), which are not streamed; with config\.data"
    ):
        experiment._check_pictures(configs.resolve(config), twins)


FROM_CONTRASTIVE = methods.Method("er", objectives.cross_entropy, "replay", base="contrastive", settings="deep")


def test_a_method_builds_on_a_base_model_of_its_own(tmp_path):
    own = f"{__name__}.FROM_CONTRASTIVE"
    quick = ["--config.basic.body.max_epochs=2", "--config.continual.max_epochs=1", "--config.model.widths=(32,16)",
             "--config.protocol.n_orders=1", "--config.deep.cut=dense1", "--config.deep.max_epochs=1"]  # fmt: skip
    config = read_config(["--config=configs/digits.py:5x2", *quick, f"--config.methods=('er','{own}')"])
    found = experiment.train(config, tmp_path / "run", shared=tmp_path / "shared")
    plain, contrastive = found["basic"]
    assert (plain["objective"], contrastive["objective"]) == (None, "contrastive")
    runs = [found["continual"][name]["runs"][0] for name in ("er", own)]
    assert [run["base"] for run in runs] == [None, "contrastive"]
    for run, base in zip(runs, found["basic"], strict=True):
        counts = np.asarray(base["test_confusion"])
        assert run["accuracy_matrix"][0][0] == counts[0, 0] / counts[0].sum()
    # Below its cut the model that is read later is its own base model.
    base = trained.restore(tmp_path / "run", trained.BASE)
    with dotted.trusting():
        model = trained.restore(tmp_path / "run", own)
    first, other = (np.asarray(one.params["backbone"]["dense0"]["kernel"]) for one in (model, base))
    trunk = "checkpoints/fold0/basic-contrastive/0['params']['backbone']['dense0']['kernel']"
    np.testing.assert_array_equal(first, arrays(tmp_path / "run")[trunk])
    assert not np.array_equal(first, other)
    # Both are shared, each by its own name, so that a run whose config has the other objective finds it.
    assert len(list((tmp_path / "shared").glob("*/config.json"))) == 2
