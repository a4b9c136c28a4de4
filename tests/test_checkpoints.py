"""What is saved comes back bit for bit, and an unfinished step is no step."""

import jax.numpy as jnp
import numpy as np

from fer_jax import replay
from fer_jax.checkpoints import Checkpoints


def test_state_and_meta_come_back(tmp_path):
    memory = replay.remember(replay.empty_memory(3, 2), 1, jnp.asarray([7, -1]))
    state = {"trainable": {"a": jnp.linspace(0, 1, 7)}, "opt_state": (jnp.int32(4), None), "memory": memory}
    meta = {"steps": [{"increment": 0, "loss": 0.1 + 0.2, "confusion": [[1, 2], [3, 4]]}]}
    with Checkpoints(tmp_path / "cell") as checkpoints:
        assert checkpoints.steps() == []
        checkpoints.save(0, state, meta)
        checkpoints.save(3, {**state, "opt_state": (jnp.int32(9), None)}, {"steps": []})
    with Checkpoints(tmp_path / "cell") as checkpoints:
        assert checkpoints.steps() == [0, 3]
        assert checkpoints.meta(0) == meta
        restored = checkpoints.restore(0, state)
        np.testing.assert_array_equal(restored["trainable"]["a"], state["trainable"]["a"])
        np.testing.assert_array_equal(restored["memory"].index, memory.index)
        assert isinstance(restored["memory"], replay.Memory)
        assert int(checkpoints.restore(3, state)["opt_state"][0]) == 9


def test_a_step_that_was_cut_off_is_not_there(tmp_path):
    with Checkpoints(tmp_path / "cell") as checkpoints:
        checkpoints.save(0, {"a": jnp.zeros(2)}, {})
    # Orbax writes under another name and renames: what a killed process leaves is such a folder.
    finished = tmp_path / "cell" / "0"
    finished.rename(tmp_path / "cell" / "1.orbax-checkpoint-tmp-0")
    with Checkpoints(tmp_path / "cell") as checkpoints:
        assert checkpoints.steps() == []
