"""Runs share what their base task is, and nothing that is not the same."""

import dataclasses
import pathlib
import threading
import time
import types

import pytest

from fer_jax import config as configs
from fer_jax.config import dotted
from fer_jax.errors import Interrupted
from fer_jax.phases import base as base_task
from fer_jax.phases import base_models
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.lock import Lock, NoLocks


def test_a_base_model_is_named_by_all_that_makes_it(tiny_config):
    flat = configs.flatten(configs.resolve(tiny_config))
    before = base_models.digest(flat)
    later = {
        "continual.gamma": 0.5, "memory.share": 0.1, "joint.max_epochs": 9, "few_shot.shots": [], "methods": ["joint"],
        "protocol.folds": [1], "protocol.orders": [1], "protocol.n_orders": 9, "protocol.order_seed": 0,
        "protocol.classes_per_increment": 2, "search.increments": 1, "feature_cache.views": 3, "gdumb.max_epochs": 2,
        "data.residency": "host",
    }  # fmt: skip
    assert later.keys() <= flat.keys()
    assert base_models.digest({**flat, **later}) == before
    others = flat.keys() - later.keys()
    others = {key for key in others if configs.decides_base(key)}
    assert {"seed", "data.image_size", "protocol.name", "protocol.n_folds", "model.hidden", "basic.l2"} <= others
    names = {"data.name": "digits", "model.name": "mlp"}
    digests = {base_models.digest({**flat, key: names.get(key, "another")}) for key in others}
    older = {key: value for key, value in flat.items() if key not in configs.DEFAULTS}
    assert base_models.digest(older) == before  # it lacks newer keys
    assert len(digests | {before}) == len(others) + 1


def test_a_users_module_counts_by_its_content(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dotted, "_named", {})
    flat = configs.flatten(configs.resolve(tiny_config)) | {"basic.terms": (("of_mine_too.loss", 1.0),)}
    digests = []
    for factor in ("1", "2"):
        (tmp_path / "of_mine_too.py").write_text(f"def loss(outputs, context):\n    return {factor}\n")
        dotted.find("of_mine_too.loss", "a term")
        digests.append(base_models.digest(flat))
    assert digests[0] != digests[1]


class Run:
    """Stands for a fold; its base task only says that it was trained."""

    def __init__(self, workdir: pathlib.Path, shared: pathlib.Path, config, saving: Saving):
        self.fold = types.SimpleNamespace(
            config=config, number=0, checkpoints=workdir / "checkpoints", saving=saving, shared=shared,
            basic="basic",
            data=types.SimpleNamespace(checksum=lambda targets: "abc"),
        )  # fmt: skip


@pytest.fixture
def trained(monkeypatch):
    """Where base tasks were trained, instead of training them."""
    folders = []

    def run(fold):
        here = fold.checkpoints / "fold0" / "basic"
        if not here.exists():
            here.mkdir(parents=True)
            (here / "params").write_text("whole")
            folders.append(here)
        return (here / "params").read_text(), {}

    monkeypatch.setattr(base_task, "run", run)
    whole = dataclasses.replace
    monkeypatch.setattr(
        base_models.dataclasses, "replace",
        lambda of, **new: types.SimpleNamespace(**{**vars(of), **new}) if type(of) is types.SimpleNamespace
        else whole(of, **new),
    )  # fmt: skip
    return folders


def test_the_second_run_waits_for_the_first_and_trains_nothing(tiny_config, tmp_path, trained):
    config = configs.resolve(tiny_config)
    shared = tmp_path / "base"
    folder = shared / base_models.digest(configs.flatten(config))
    folder.mkdir(parents=True)
    busy = Lock(folder / "fold0.lock")
    assert busy.take()
    runs = [Run(tmp_path / name, shared, config, Saving()).fold for name in "ab"]
    (tmp_path / "a" / "checkpoints" / "fold0" / ".basic.here.1").mkdir(parents=True)  # of a copy that was cut
    found = []
    threads = [threading.Thread(target=lambda r=run: found.append(base_models.run(r))) for run in runs]
    for thread in threads:
        thread.start()
    time.sleep(3 * base_models.POLL_SECONDS)
    assert not found
    assert not trained
    busy.release()
    for thread in threads:
        thread.join(timeout=20)
    assert found == [("whole", {})] * 2
    assert trained == [folder / "checkpoints" / "fold0" / "basic"]
    for run in runs:
        # A copy of its own: the run is whole without the shared folder.
        assert (run.checkpoints / "fold0" / "basic" / "params").read_text() == "whole"
        assert [p.name for p in (run.checkpoints / "fold0").iterdir()] == ["basic"]


def test_a_run_that_waits_can_be_asked_to_end(tiny_config, tmp_path, trained):
    config = configs.resolve(tiny_config)
    folder = tmp_path / "base" / base_models.digest(configs.flatten(config))
    folder.mkdir(parents=True)
    busy = Lock(folder / "fold0.lock")
    assert busy.take()
    interruption = Interruption()
    interruption.requested = lambda: True
    with pytest.raises(Interrupted, match="everything is saved"):
        base_models.run(Run(tmp_path / "a", tmp_path / "base", config, Saving(interruption=interruption)).fold)
    assert not trained


def test_without_locks_every_run_trains_its_own(tiny_config, tmp_path, trained, monkeypatch):
    def take(self):
        raise NoLocks("not here")

    monkeypatch.setattr(Lock, "take", take)
    run = Run(tmp_path / "a", tmp_path / "base", configs.resolve(tiny_config), Saving()).fold
    base_models.run(run)
    assert trained == [run.checkpoints / "fold0" / "basic"]
    made = []
    assert base_models.once(tmp_path / "base", "data_set", lambda: made.append(1) or "made") == "made"
    assert made == [1]


def test_a_base_model_of_other_data_is_refused(tiny_config, tmp_path, trained):
    config = configs.resolve(tiny_config)
    base_models.run(Run(tmp_path / "a", tmp_path / "base", config, Saving()).fold)
    other = Run(tmp_path / "b", tmp_path / "base", config, Saving()).fold
    other.data = types.SimpleNamespace(checksum=lambda targets: "xyz")
    with pytest.raises(configs.ConfigError, match="data_sha256 'abc' there, 'xyz' here"):
        base_models.run(other)


def test_files_for_all_are_made_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def make():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()

    threads = [threading.Thread(target=base_models.once, args=(tmp_path, "data_set", make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert most == [1, 1]
    # What is there already is read without waiting.
    lock = Lock(tmp_path / "data_set.lock")
    assert lock.take()
    base_models.once(tmp_path, "data_set", make)
    assert len(most) == 3
