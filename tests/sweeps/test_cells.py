"""A cell is a run of its own that gives, bit for bit, what the whole run gives for its method and order."""

import json

import pytest

from fer_jax.config import ConfigError
from fer_jax.errors import Interrupted
from fer_jax.phases import base as base_task
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.workdir import InUse, locked
from fer_jax.sweeps import cells
from fer_jax.sweeps.axes import Sweep, read_axes
from fer_jax.training import epoch as training
from studies.chaos import without_times
from tests.support.documented import SMALLEST


@pytest.fixture
def sweep(tiny_config, tiny_data):
    return Sweep(tiny_config, tuple(read_axes(["method=kd_psmr,joint", "order=1"], tiny_config)))


def read(folder) -> dict:
    return without_times(json.loads((folder / "results.json").read_text()))


@pytest.mark.slow
def test_cells_give_what_the_whole_run_gives_and_share_its_base_model(sweep, tiny_run, tmp_path, monkeypatch):
    trained, train_stage = [], base_task._train_stage

    def spy(fold, params, stage, slot):
        trained.append(stage.name)
        return train_stage(fold, params, stage, slot)

    monkeypatch.setattr(base_task, "_train_stage", spy)
    whole = read(tiny_run)
    assert [cells.state(tmp_path, name).word for name in sweep.names] == ["missing", "missing"]
    for number, name in enumerate(sweep.names):
        assert cells.run(sweep, number, tmp_path)
        found, method = read(cells.folder(tmp_path, name)), name.split("-")[0]
        (run,) = found["continual"].pop(method)["runs"]
        (expected,) = [r for r in whole["continual"][method]["runs"] if r["order"] == 1]
        assert run == expected
        assert not found["continual"]
        assert found["basic"] == whole["basic"]
        assert found["few_shot"]["rows"] == []
    assert trained == ["head", "body"]
    assert cells.unfinished(tmp_path, sweep) == []
    # Finished ones are left alone.
    monkeypatch.setattr(training, "run_epoch", lambda *a, **k: pytest.fail("trained again"))
    assert not cells.run(sweep, 0, tmp_path)


def test_a_cell_that_broke_says_why_and_is_tried_again(sweep, tmp_path, monkeypatch):
    from fer_jax import experiment

    def broken(*arguments, **named):
        raise FloatingPointError("the loss is nan\nand more")

    name = sweep.names[0]
    monkeypatch.setattr(experiment, "train", broken)
    with pytest.raises(FloatingPointError):
        cells.run(sweep, 0, tmp_path)
    assert str(cells.state(tmp_path, name)) == "failed: FloatingPointError: the loss is nan"
    assert cells.unfinished(tmp_path, sweep) == [0, 1]

    def ended(*arguments, **named):
        raise Interrupted(15, saved=True)

    # A run that was asked to end has not failed; and what was written of the last attempt is gone.
    monkeypatch.setattr(experiment, "train", ended)
    with pytest.raises(Interrupted):
        cells.run(sweep, 0, tmp_path, saving=Saving(interruption=Interruption()))
    assert cells.state(tmp_path, name).word == "missing"
    folder = cells.folder(tmp_path, name)
    for text in ("", "{}", '{"schema_version": 1}', json.dumps(SMALLEST)):
        monkeypatch.setattr(experiment, "train", lambda *a, t=text, **k: (folder / "results.json").write_text(t))
        # Results that are not whole are no results: the cell is run again.
        assert cells.run(sweep, 0, tmp_path)
        assert cells.state(tmp_path, name).word == ("finished" if "seed" in text else "broken")
        assert (0 in cells.unfinished(tmp_path, sweep)) == ("seed" not in text)
    assert not cells.run(sweep, 0, tmp_path)


def test_logs_and_failures_do_not_keep_a_cell_from_its_folder(sweep, tiny_config, tmp_path, monkeypatch):
    from fer_jax import experiment

    name = sweep.names[0]
    cells.fail(tmp_path, name, "no memory")
    cells.log_file(tmp_path, name).write_text("what was said\n")

    def reached(config, folds, orders):
        assert list(orders) == [1]
        assert (cells.folder(tmp_path, name) / "config.json").exists()
        assert cells.state(tmp_path, name).word == "begun"
        # Another one is at work there: told, and no failure of the cell.
        with pytest.raises(InUse, match="is in use by another run"):
            cells.run(sweep, 0, tmp_path)
        assert cells.state(tmp_path, name).word == "begun"
        raise Interrupted(15, saved=True)

    monkeypatch.setattr(experiment, "run_phases", reached)
    (tmp_path / "sweep.json").write_text(json.dumps(sweep.described()))
    with pytest.raises(Interrupted):
        cells.run(sweep, 0, tmp_path)
    with locked(cells.folder(tmp_path, name)):
        pass


def test_a_folder_of_another_sweep_is_refused(sweep, tiny_config, tmp_path):
    assert not cells.claim(tmp_path, sweep, write=False)
    assert list(tmp_path.iterdir()) == []
    assert not cells.claim(tmp_path, sweep, write=True)
    assert cells.claim(tmp_path, sweep, write=True)
    other = tiny_config.copy_and_resolve_references()
    other.continual.gamma = 0.5
    with pytest.raises(ConfigError, match=r"is of another config: continual\.gamma 0\.1 there, 0\.5 here;"):
        cells.claim(tmp_path, Sweep(other, sweep.axes), write=True)
    more = Sweep(tiny_config, tuple(read_axes(["method=kd_psmr,joint", "order=0,1"], tiny_config)))
    with pytest.raises(ConfigError, match=r"over .*'order', \[1\].* there, .*'order', \[0, 1\].* here"):
        cells.claim(tmp_path, more, write=True)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds other files"):
        cells.claim(run, sweep, write=True)
