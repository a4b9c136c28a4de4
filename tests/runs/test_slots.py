"""A part goes on from its fit in progress and its last steps; an end that was asked for comes when all is saved."""

from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.errors import Interrupted
from fer_jax.runs.checkpoints import CheckpointError, Checkpoints, Saving
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.slots import Slot
from fer_jax.training.fit import FitPoint

STATE = {"a": jnp.linspace(0, 1, 3000).reshape(30, 100), "n": jnp.int32(3)}
FULL = Mock(side_effect=OSError(28, "No space left on device"))


def point(epoch: int) -> FitPoint:
    """Where a fit of one run stands after so many epochs."""
    history = [{"loss": float(e)} for e in range(epoch)]
    return FitPoint([{"w": jnp.full(4, float(epoch))}], [{"w": jnp.zeros(4)}], [0], [history])


def test_a_fit_that_cannot_be_read_at_the_moment_is_not_removed(tmp_path, monkeypatch):
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot:
        slot.save("increment 0", point(1))
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot, monkeypatch.context() as patch:
        patch.setattr(slot._now._opened(), "restore", Mock(side_effect=OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output error"):
            slot.resume("increment 0", point(0).states)
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot:
        assert len(slot.resume("increment 0", point(0).states).history[0]) == 1


@pytest.mark.parametrize("which", ["steps", "beside"])
def test_everything_is_saved_is_not_said_when_a_save_failed(tmp_path, monkeypatch, which):
    """Neither of this slot's steps, nor of another one's that ends with it."""
    interruption = Interruption()

    def run():
        with (
            Slot(tmp_path / "beside", Saving(3600.0, interruption)) as beside,
            Slot(tmp_path / "order0", Saving(3600.0, interruption)) as slot,
        ):
            victim = slot if which == "steps" else beside
            victim.steps.save(0, STATE, {})
            monkeypatch.setattr(victim.steps._manager, "wait_until_finished", FULL)
            with interruption.deferred():
                interruption._handle(15, None)
            slot.save("increment 0", point(2))

    with pytest.raises(CheckpointError, match="No space left on device"):
        run()


def test_a_save_that_fails_is_told_beside_another_error(tmp_path, monkeypatch, logged):
    def run():
        with Slot(tmp_path / "order0", Saving()) as slot:
            slot.steps.save(0, STATE, {})
            monkeypatch.setattr(slot.steps._manager, "wait_until_finished", FULL)
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        run()
    assert "No space left on device" in logged.text


def test_the_last_steps_of_a_part_are_kept(tmp_path):
    with Slot(tmp_path / "order0", Saving()) as slot:
        for number in range(5):
            slot.steps.save(number, STATE, {"number": number})
        slot.finish()
    with Checkpoints(tmp_path / "order0") as reader:
        assert reader.steps() == [2, 3, 4]
        # As a kill leaves it that comes before the oldest one is removed.
        reader.save(5, STATE, {})
    with Slot(tmp_path / "order0", Saving()) as slot:
        assert slot.steps.steps() == [2, 3, 4, 5]
        slot.finish()
        assert slot.steps.steps() == [3, 4, 5]


def test_a_fit_in_progress_comes_back_and_goes_when_the_slot_is_finished(tmp_path):
    saving = Saving(every=0.0)
    with Slot(tmp_path / "order0", saving) as slot:
        assert slot.resume("increment 0", point(0).states) is None
        for epoch in (1, 2, 3):
            slot.save("increment 0", point(epoch))
    assert saving.seconds > 0
    with Slot(tmp_path / "order0", saving) as slot:
        found = slot.resume("increment 0", point(0).states)
        np.testing.assert_array_equal(found.states[0]["w"], 3.0)
        np.testing.assert_array_equal(found.best[0]["w"], 0.0)
        assert (found.best_epoch, found.history) == ([0], point(3).history)
        # Another fit has nothing of it.
        assert slot.resume("increment 1", point(0).states) is None
        assert len([p for p in (tmp_path / "order0.now").iterdir() if p.name.isdigit()]) == 2
        slot.save("increment 1", point(1))
        slot.finish()
    assert not (tmp_path / "order0.now").exists()


def test_a_save_of_another_fit_is_no_damage_and_is_looked_past(tmp_path, logged):
    """As when the base task's head is trained first and then the body, whose trainable arrays are others."""
    head = FitPoint([{"head": jnp.ones(3)}], [{"head": jnp.ones(3)}], [0], [[{"loss": 1.0}]])
    with Slot(tmp_path / "basic", Saving(every=0.0)) as slot:
        slot.save("head", head)
    with Slot(tmp_path / "basic", Saving(every=0.0)) as slot:
        assert slot.resume("body", point(0).states) is None
        slot.save("body", point(2))
    with Slot(tmp_path / "basic", Saving()) as slot:
        assert len(slot.resume("body", point(0).states).history[0]) == 2
        # Where the head's finished step was lost, its fit goes on from what is still there of it.
        np.testing.assert_array_equal(slot.resume("head", head.states).states[0]["head"], 1.0)
        assert slot.resume("another", point(0).states) is None
    assert not [line for line in logged.messages if "going on after" not in line]
    assert not (tmp_path / "damaged").exists()


def test_damage_to_another_fits_save_costs_nothing(tmp_path, logged):
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot:
        slot.save("increment 0", point(1))
        slot.save("increment 1", point(2))
    (tmp_path / "order0.now" / "0" / "state" / "manifest.ocdbt").unlink()
    with Slot(tmp_path / "order0", Saving()) as slot:
        assert len(slot.resume("increment 1", point(0).states).history[0]) == 2
        assert slot.resume("increment 2", point(0).states) is None
    assert "damaged" not in logged.text
    assert "begins again" not in logged.text


def test_a_fit_is_saved_no_more_often_than_asked(tmp_path):
    with Slot(tmp_path / "order0", Saving(every=3600.0)) as slot:
        slot.save("increment 0", point(1))
    assert not (tmp_path / "order0.now").exists()


def test_a_damaged_fit_begins_again(tmp_path, logged):
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot:
        slot.save("increment 0", point(1))
    for path in (tmp_path / "order0.now").rglob("metadata"):
        path.write_text("{")
    with Slot(tmp_path / "order0", Saving(every=0.0)) as slot:
        assert slot.resume("increment 0", point(0).states) is None
    assert "this fit begins again" in logged.text


def test_when_asked_to_end_a_fit_is_saved_first(tmp_path):
    interruption = Interruption()
    with Slot(tmp_path / "order0", Saving(3600.0, interruption)) as slot:
        slot.rest()
        with interruption.deferred():
            interruption._handle(15, None)
        with pytest.raises(Interrupted, match="SIGTERM; everything is saved") as ended:
            slot.save("increment 0", point(2))
        assert ended.value.exit_code == 143
        with pytest.raises(Interrupted):
            slot.rest()
    with Slot(tmp_path / "order0", Saving()) as slot:
        assert len(slot.resume("increment 0", point(0).states).history[0]) == 2
