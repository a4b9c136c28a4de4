"""What is saved comes back bit for bit; what is damaged is noticed, told, and never taken for whole."""

import shutil
import time
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import replay
from fer_jax.errors import Interrupted
from fer_jax.runs import checkpoints
from fer_jax.runs.checkpoints import CheckpointError, Checkpoints

STATE = {"a": jnp.linspace(0, 1, 3000).reshape(30, 100), "n": jnp.int32(3)}


def write(directory, *numbers):
    with Checkpoints(directory) as cell:
        for number in numbers:
            cell.save(number, {**STATE, "n": jnp.int32(number)}, {"number": number, "values": [0.1 + 0.2, [1, None]]})


def files(directory) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_state_and_meta_come_back(tmp_path):
    memory = replay.remember(replay.empty_memory(3, 2), 1, jnp.asarray([7, -1]))
    state = {"trainable": {"a": jnp.linspace(0, 1, 7)}, "opt_state": (jnp.int32(4), None), "memory": memory}
    meta = {"steps": [{"increment": 0, "loss": 0.1 + 0.2, "confusion": [[1, 2], [3, 4]]}]}
    with Checkpoints(tmp_path / "cell") as cell:
        assert cell.latest(state) is None
        assert not (tmp_path / "cell").exists()
        cell.save(0, {**state, "opt_state": (jnp.int32(9), None)}, {"steps": []})
        cell.save(3, state, meta)
        meta_then, meta["steps"][0]["loss"] = meta["steps"][0] | {}, 99.0
    with Checkpoints(tmp_path / "cell") as cell:
        assert cell.steps() == [0, 3]
        found = cell.latest(state)
        # What the caller changed after the save is not in it.
        assert (found.number, found.meta) == (3, {"steps": [meta_then]})
        np.testing.assert_array_equal(found.state["trainable"]["a"], state["trainable"]["a"])
        np.testing.assert_array_equal(found.state["memory"].index, memory.index)
        assert isinstance(found.state["memory"], replay.Memory)
        assert int(found.state["opt_state"][0]) == 4
        # By name, for who does not know the structure; beside float32 there is int32.
        arrays = cell.arrays(3)
        np.testing.assert_array_equal(arrays["['trainable']['a']"], state["trainable"]["a"])
        np.testing.assert_array_equal(arrays["['memory'].index"], memory.index)
        assert arrays["['opt_state'][0]"].dtype == np.int32
        plain, shapes = cell.glance(3)
        assert plain == {"steps": [meta_then]}
        assert shapes == {name: array.shape for name, array in arrays.items()}
        # As many numbers of the same types in other arrays are no such state.
        other = {**state, "trainable": {"b": jnp.linspace(0, 1, 7)}}
        with pytest.raises(CheckpointError, match="its arrays are others than are looked for"):
            cell.latest(other)


def test_a_step_that_was_cut_off_is_not_there(tmp_path):
    write(tmp_path / "cell", 0)
    # Orbax writes under another name and renames: what a killed process leaves is such a folder.
    (tmp_path / "cell" / "0").rename(tmp_path / "cell" / "1.orbax-checkpoint-tmp-0")
    with Checkpoints(tmp_path / "cell") as cell:
        assert cell.steps() == []


@pytest.mark.parametrize(
    "fault", ["truncated", "flipped", *(pytest.param(one, marks=pytest.mark.slow) for one in ("missing", "emptied"))]
)
def test_a_damaged_file_costs_one_step_and_is_told(tmp_path, logged, fault):
    whole = tmp_path / "whole"
    write(whole, 0, 1)
    noticed = 0
    for path in [p for p in sorted((whole / "1").rglob("*")) if p.is_file() and p.stat().st_size]:
        cell = tmp_path / "cell"
        shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
        shutil.rmtree(cell, ignore_errors=True)
        shutil.copytree(whole, cell)
        victim = cell / path.relative_to(whole)
        content = victim.read_bytes()
        victim.unlink()
        if fault == "flipped":
            middle = len(content) // 2
            victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        elif fault != "missing":
            victim.write_bytes(content[: len(content) // 2 if fault == "truncated" else 0])
        logged.clear()
        with Checkpoints(cell) as reader:
            found = reader.latest(STATE)
            # Never anything but what was saved, whichever step it is.
            assert found.meta == {"number": found.number, "values": [0.1 + 0.2, [1, None]]}
            assert int(found.state["n"]) == found.number
            np.testing.assert_array_equal(found.state["a"], STATE["a"])
            if found.number == 0:
                noticed += 1
                assert "is damaged" in logged.text
                assert "going on from step 0" in logged.text
                assert len(list((tmp_path / "damaged").iterdir())) == 1
                # The place is free for the step to be made again.
                reader.save(1, STATE, {"number": 1})
        with Checkpoints(cell) as reader:
            assert reader.latest(STATE).number == 1
    # The arrays' own files, the values and the structure at least; the rest Orbax can do without.
    assert noticed >= 4


def test_if_none_is_whole_nothing_is_changed(tmp_path):
    cell = tmp_path / "cell"
    write(cell, 0, 1)
    for step in ("0", "1"):
        (cell / step / "meta" / "metadata").write_text("{")
    before = files(cell)
    with (
        Checkpoints(cell) as reader,
        pytest.raises(CheckpointError, match=r"no checkpoint in .*cell is whole .*step 1"),
    ):
        reader.latest(STATE)
    assert files(cell) == before
    assert not (tmp_path / "damaged").exists()


def test_a_save_that_fails_is_one_line_and_keeps_what_was_saved(tmp_path, monkeypatch):
    write(tmp_path / "cell", 0)
    cell = Checkpoints(tmp_path / "cell")
    manager = cell._opened()

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manager, "save", full)
    with pytest.raises(CheckpointError, match=r"could not save step 1 in .*No space left on device; what was saved"):
        cell.save(1, STATE, {})
    monkeypatch.undo()
    cell.close()
    with Checkpoints(tmp_path / "cell") as reader:
        assert reader.latest(STATE).number == 0


def test_a_step_that_cannot_be_read_at_the_moment_stays_where_it_is(tmp_path, monkeypatch):
    cell = tmp_path / "cell"
    write(cell, 0, 1)
    for victim in (cell / "1" / "state" / "manifest.ocdbt", None):
        if victim:  # a real error of the file system, as TensorStore tells it
            content = victim.read_bytes()
            victim.unlink()
            victim.symlink_to(victim)
        before = sorted(cell.rglob("*"))
        errors = (
            [None] if victim else [OSError(5, "Input/output error"), OSError(24, "Too many open files"), MemoryError()]
        )
        for error in errors:
            with Checkpoints(cell) as reader, monkeypatch.context() as patch:
                if error:
                    patch.setattr(reader._opened(), "restore", Mock(side_effect=error))
                with pytest.raises(
                    OSError, match=r"^step 1 in .*cell cannot be read at the moment .*nothing was"
                ) as told:
                    reader.latest(STATE)
            assert "\n" not in str(told.value)
        assert sorted(cell.rglob("*")) == before
        assert not (tmp_path / "damaged").exists()
        if victim:
            victim.unlink()
            victim.write_bytes(content)
    with Checkpoints(cell) as reader:
        assert reader.latest(STATE).number == 1


def test_an_interruption_is_neither_damage_nor_a_failed_save(tmp_path, monkeypatch):
    write(tmp_path / "cell", 0, 1)
    cell = Checkpoints(tmp_path / "cell")
    for name, call in (("restore", lambda: cell.latest(STATE)), ("save", lambda: cell.save(2, STATE, {}))):
        with monkeypatch.context() as patch:
            patch.setattr(cell._opened(), name, Mock(side_effect=Interrupted(15, saved=False)))
            with pytest.raises(Interrupted):
                call()
    cell.close()
    assert not (tmp_path / "damaged").exists()
    with Checkpoints(tmp_path / "cell") as reader:
        assert reader.latest(STATE).number == 1


def test_a_save_during_which_the_clock_jumped_is_written_once_more(tmp_path, monkeypatch, logged):
    now, offset = time.time, [0.0]

    def jumping():
        offset[0] += 1e6
        return now() + offset[0]

    with Checkpoints(tmp_path / "cell") as cell:
        manager = cell._opened()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", jumping)
            cell.save(0, STATE, {"number": 0})
            while manager.is_saving_in_progress():
                time.sleep(0.01)
        cell.save(1, STATE, {"number": 1})
    assert "took too long by the clock; it is saved again" in logged.text
    with Checkpoints(tmp_path / "cell") as cell:
        assert cell.steps() == [0, 1]
        assert cell.latest(STATE).number == 1


def test_the_digest_sees_values_names_types_and_shapes():
    base = checkpoints.digest({"a": np.zeros(4, np.float32)}, {"x": 1})
    others = [
        checkpoints.digest({"b": np.zeros(4, np.float32)}, {"x": 1}),
        checkpoints.digest({"a": np.zeros(4, np.int32)}, {"x": 1}),
        checkpoints.digest({"a": np.zeros((2, 2), np.float32)}, {"x": 1}),
        checkpoints.digest({"a": np.zeros(4, np.float32)}, {"x": 2}),
    ]
    assert len({base, *others}) == 5
    assert checkpoints.digest({"a": jax.device_put(np.zeros(4, np.float32))}, {"x": 1}) == base
