"""A few kills at random moments; `make chaos` has thirty."""

import json
import shutil
import subprocess

import jax.numpy as jnp
import pytest

from fer_jax.runs import checkpoints
from studies import chaos


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_if_it_were_not(tmp_path):
    # Digits, since every start costs the compilation; two kills, a save after every epoch.
    overrides = ["--config.methods=('derpp',)", "--config.protocol.n_orders=1", "--config.basic.body.max_epochs=5",
                 "--config.continual.max_epochs=3"]  # fmt: skip
    rows = chaos.torment(chaos.Victim(chaos.SMOKE.with_name("digits.py"), overrides, 0.0), 2, 1, tmp_path)
    assert len(rows) == 2
    assert rows[-1]["same"]
    assert all(row.get("same", True) for row in rows)


def test_a_difference_of_one_bit_is_seen(tmp_path):
    def made(name: str, value: float, result: float):
        workdir = tmp_path / name
        shutil.rmtree(workdir, ignore_errors=True)
        with checkpoints.Checkpoints(workdir / "checkpoints" / "cell") as cell:
            cell.save(0, {"a": jnp.asarray([value, 1.0], jnp.float32)}, {})
        (workdir / "results.json").write_text(json.dumps({"x": result, "seconds": hash(name) % 7}))
        return workdir

    first = made("a", 0.5, 0.25)
    assert chaos.same(first, made("b", 0.5, 0.25))
    assert not chaos.same(first, made("b", 0.5000001, 0.25))
    assert not chaos.same(first, made("b", 0.5, 0.2500001))


def test_a_run_that_was_not_killed_hides_no_difference(tmp_path, monkeypatch):
    """A kill, an end that differs, then a run that ends undisturbed, and another kill."""
    ends = iter([None, 0, 0, None])  # None is killed

    class Process:
        def wait(self, seconds=None):
            if seconds is None:
                return 0
            if (code := next(ends)) is None:
                raise subprocess.TimeoutExpired("run", seconds)
            return code

        def kill(self):
            pass

    class Victim:
        def start(self, workdir, log):
            return Process()

        def run(self, workdir, log):
            log.write_text("")

    monkeypatch.setattr(chaos, "same", lambda a, b: a.name != "tormented0")
    rows = chaos.torment(Victim(), 2, 0, tmp_path)
    assert [row["same"] for row in rows] == [False, True]
