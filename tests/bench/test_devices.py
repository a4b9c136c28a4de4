"""One batch over 1, 2, 4 and 8 virtual devices: the same batches, losses and answers."""

import os
import pathlib

import jax
import numpy as np
import pytest

from fer_jax.bench import devices
from fer_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
# Enough subjects that an epoch has several steps.
SMOKE = (str(ROOT / "configs" / "smoke.py"), "--config.data.n_subjects=40")


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="virtual devices are the CPU's")
def test_any_number_of_devices_trains_alike():
    found = {n: devices.on_virtual(SMOKE, False, n) for n in devices.VIRTUAL}
    one = found[1]
    assert len(one["losses"]) == 7
    assert one["losses"][-1] < one["losses"][0]
    assert one["images"] > 5 * 16
    for n, row in found.items():
        assert row["there"] == row["devices"] == n
        assert row["batches"] == one["batches"]
        np.testing.assert_allclose(row["losses"], one["losses"], rtol=0, atol=1e-5)
        assert row["confusion"] == one["confusion"]
        # A rounding of each weight does something, and little.
        assert 0 < np.abs(np.subtract(row["losses_rounded"], row["losses"])).max() < 1e-3


def test_a_process_that_fails_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"bench devices: the process of 2 virtual devices failed: .*no such file"):
        devices.on_virtual((str(tmp_path / "none.py"),), True, 2)
    assert "device_count" not in os.environ.get("XLA_FLAGS", "")
