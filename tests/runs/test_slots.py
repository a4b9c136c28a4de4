"""A part goes on from its fit in progress and its last steps; an end that was asked for comes when all is saved."""

from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.runs.slots import Cell
from fer_jax.runs.checkpoints import CheckpointError, Checkpoints, Saving
from fer_jax.errors import Interrupted
from fer_jax.training.fit import FitPoint
from fer_jax.runs.interruption import Interruption

STATE = {"a": jnp.linspace(0, 1, 3000).reshape(30, 100), "n": jnp.int32(3)}
FULL = Mock(side_effect=OSError(28, "No space left on device"))


def point(epoch: int) -> FitPoint:
    return FitPoint(
        {"w": jnp.full(4, float(epoch))}, {"w": jnp.zeros(4)}, 0, [{"loss": float(e)} for e in range(epoch)]
    )


def test_a_fit_that_cannot_be_read_at_the_moment_is_not_removed(tmp_path, monkeypatch):
    with Cell(tmp_path / "order0", Saving(every=0.0)) as cell:
        cell.keep("increment 0", point(1))
    with Cell(tmp_path / "order0", Saving(every=0.0)) as cell, monkeypatch.context() as patch:
        patch.setattr(cell._now._opened(), "restore", Mock(side_effect=OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output error"):
            cell.resume("increment 0", point(0).state)
    with Cell(tmp_path / "order0", Saving(every=0.0)) as cell:
        assert len(cell.resume("increment 0", point(0).state).history) == 1


@pytest.mark.parametrize("which", ["steps", "beside"])
def test_everything_is_saved_is_not_said_when_a_save_failed(tmp_path, monkeypatch, which):
    """Neither of this cell's steps, nor of another one's that ends with it."""
    interruption = Interruption()

    def run():
        with (
            Cell(tmp_path / "beside", Saving(3600.0, interruption)) as beside,
            Cell(tmp_path / "order0", Saving(3600.0, interruption)) as cell,
        ):
            victim = cell if which == "steps" else beside
            victim.steps.save(0, STATE, {})
            monkeypatch.setattr(victim.steps._manager, "wait_until_finished", FULL)
            with interruption.deferred():
                interruption._handle(15, None)
            cell.keep("increment 0", point(2))

    with pytest.raises(CheckpointError, match="No space left on device"):
        run()


def test_a_save_that_fails_is_told_beside_another_error(tmp_path, monkeypatch, logged):
    def run():
        with Cell(tmp_path / "order0", Saving()) as cell:
            cell.steps.save(0, STATE, {})
            monkeypatch.setattr(cell.steps._manager, "wait_until_finished", FULL)
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        run()
    assert "No space left on device" in logged.text


def test_the_last_steps_of_a_part_are_kept(tmp_path):
    with Cell(tmp_path / "order0", Saving()) as cell:
        for number in range(5):
            cell.steps.save(number, STATE, {"number": number})
        cell.finish()
    with Checkpoints(tmp_path / "order0") as reader:
        assert reader.steps() == [2, 3, 4]
        # As a kill leaves it that comes before the oldest one is removed.
        reader.save(5, STATE, {})
    with Cell(tmp_path / "order0", Saving()) as cell:
        assert cell.steps.steps() == [2, 3, 4, 5]
        cell.finish()
        assert cell.steps.steps() == [3, 4, 5]


def test_a_fit_in_progress_comes_back_and_goes_when_the_cell_is_done(tmp_path):
    saving = Saving(every=0.0)
    with Cell(tmp_path / "order0", saving) as cell:
        assert cell.resume("increment 0", point(0).state) is None
        for epoch in (1, 2, 3):
            cell.keep("increment 0", point(epoch))
    assert saving.seconds > 0
    with Cell(tmp_path / "order0", saving) as cell:
        found = cell.resume("increment 0", point(0).state)
        np.testing.assert_array_equal(found.state["w"], 3.0)
        np.testing.assert_array_equal(found.best["w"], 0.0)
        assert (found.best_epoch, found.history) == (0, point(3).history)
        # Another fit has nothing of it.
        assert cell.resume("increment 1", point(0).state) is None
        assert len([p for p in (tmp_path / "order0.now").iterdir() if p.name.isdigit()]) == 2
        cell.keep("increment 1", point(1))
        cell.finish()
    assert not (tmp_path / "order0.now").exists()


def test_a_fit_is_saved_no_more_often_than_asked(tmp_path):
    with Cell(tmp_path / "order0", Saving(every=3600.0)) as cell:
        cell.keep("increment 0", point(1))
    assert not (tmp_path / "order0.now").exists()


def test_a_damaged_fit_begins_again(tmp_path, logged):
    with Cell(tmp_path / "order0", Saving(every=0.0)) as cell:
        cell.keep("increment 0", point(1))
    for path in (tmp_path / "order0.now").rglob("metadata"):
        path.write_text("{")
    with Cell(tmp_path / "order0", Saving(every=0.0)) as cell:
        assert cell.resume("increment 0", point(0).state) is None
    assert "this fit begins again" in logged.text


def test_when_asked_to_end_a_fit_is_saved_first(tmp_path):
    interruption = Interruption()
    with Cell(tmp_path / "order0", Saving(3600.0, interruption)) as cell:
        cell.rest()
        with interruption.deferred():
            interruption._handle(15, None)
        with pytest.raises(Interrupted, match="SIGTERM; everything is saved") as ended:
            cell.keep("increment 0", point(2))
        assert ended.value.exit_code == 143
        with pytest.raises(Interrupted):
            cell.rest()
    with Cell(tmp_path / "order0", Saving()) as cell:
        assert len(cell.resume("increment 0", point(0).state).history) == 2
