"""Traces of two epochs."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from fer_jax.bench.profile import ON_HOST
from fer_jax.cli import main
from fer_jax.runs.trace import Tracing

ROOT = pathlib.Path(__file__).parents[2]


def names(folder: pathlib.Path) -> set[str]:
    """What a trace has spans of."""
    (file,) = folder.rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(file)).planes
    return {event.name for plane in planes for line in plane.lines for event in line.events}


def test_the_second_and_the_third_epoch_are_traced(tmp_path):
    with Tracing(tmp_path) as tracing, Tracing(None) as none:
        for epoch in range(1, 7):
            none.epoch()
            tracing.epoch()
            with jax.profiler.TraceAnnotation(f"epoch {epoch}"):
                jnp.ones(3).block_until_ready()
    assert {name for name in names(tmp_path) if name.startswith("epoch ")} == {"epoch 2", "epoch 3"}


def test_a_run_that_ends_early_leaves_what_there_is(tmp_path):
    with Tracing(tmp_path) as tracing:
        tracing.epoch()
        tracing.epoch()
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.slow
def test_training_leaves_a_trace_that_tensorboard_and_perfetto_read(tmp_path):
    code = main.main([
        "train", "--config", f"{ROOT}/configs/digits.py:5x2", "--workdir", str(tmp_path / "run"), "--profile",
        str(tmp_path / "trace"), "--config.methods=('kd_psmr',)", "--config.basic.body.max_epochs=4",
        "--config.continual.max_epochs=1", "--config.protocol.orders=(0,)",
    ])  # fmt: skip
    assert code == 0
    assert any(name.startswith(ON_HOST) for name in names(tmp_path / "trace"))
    assert list((tmp_path / "trace").rglob("*.trace.json.gz"))
