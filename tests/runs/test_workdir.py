"""A workdir belongs to one config, one data set, one version, and one run at a time."""

import json
import subprocess
import sys
import threading
import time

import ml_collections
import pytest

from fer_jax import config as configs
from fer_jax.errors import UserError
from fer_jax.runs import workdir as workdirs

CONFIG = ml_collections.FrozenConfigDict({"a": 1, "b": {"c": (1, 2)}})


def test_a_workdir_is_claimed_once(tmp_path):
    run = tmp_path / "run"
    assert not workdirs.claim(run, CONFIG, write=False)
    assert not run.exists()
    assert not workdirs.claim(run, CONFIG, write=True)
    assert json.loads((run / "config.json").read_text()) == {"a": 1, "b.c": [1, 2]}
    assert workdirs.claim(run, CONFIG, write=True)
    other = ml_collections.FrozenConfigDict({"a": 2, "b": {"c": (1, 2)}, "d": 0})
    with pytest.raises(UserError, match="another config: a 1 there, 2 here; d 'missing' there, 0 here"):
        workdirs.claim(run, other, write=True)


HOLD = """
import pathlib, sys, time
from fer_jax.runs import workdir
with workdir.locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_dead_one_forgotten(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(UserError, match=rf"in use by another run \(process {other.pid} on "),
            workdirs.locked(tmp_path),
        ):
            pass
        other.kill()
        other.wait()
    with workdirs.locked(tmp_path), pytest.raises(UserError, match="in use"), workdirs.locked(tmp_path):
        pass


def test_other_data_and_other_versions_are_refused_with_their_differences(tmp_path, monkeypatch, caplog):
    workdirs.check_origin(tmp_path, "abc")
    workdirs.check_origin(tmp_path, "abc")
    with pytest.raises(UserError, match="data_sha256 'abc' there, 'xyz' here"):
        workdirs.check_origin(tmp_path, "xyz")
    there = json.loads((tmp_path / "origin.json").read_text())
    (tmp_path / "origin.json").write_text(json.dumps({**there, "fer_jax": "0.0.1", "checkpoint_format": 0}))
    format_here = workdirs.CHECKPOINT_FORMAT
    with pytest.raises(UserError, match=rf"checkpoint_format 0 there, {format_here} here; fer_jax '0\.0\.1' there"):
        workdirs.check_origin(tmp_path, "abc")
    # Another JAX may round differently: said, and gone on with.
    (tmp_path / "origin.json").write_text(json.dumps({**there, "jax": "0.1"}))
    monkeypatch.setattr(workdirs.log, "propagate", True)
    workdirs.check_origin(tmp_path, "abc")
    assert "jax '0.1' there" in caplog.text
    assert "not bit for bit" in caplog.text
    # So may another processor, another number of its threads or of devices, which share sums out.
    others = {"cpu": "Another CPU, avx2", "threads": there["threads"] + 1, "devices": there["devices"] + 3}
    for key, value in others.items():
        rest = {name: noted for name, noted in there.items() if name != key}
        for origin in ({**rest, key: value}, rest):  # of workdirs of before nothing is known
            caplog.clear()
            (tmp_path / "origin.json").write_text(json.dumps(origin))
            workdirs.check_origin(tmp_path, "abc")
            said = f"{key} {value!r} there, {there[key]!r} here: the run goes on, but not bit for bit"
            assert (said in caplog.text) == ("not bit for bit" in caplog.text) == (key in origin)


def test_a_holder_that_cannot_be_seen_is_waited_for_and_one_that_lives_here_is_not(tmp_path):
    def took(seconds: float) -> float:
        began = time.monotonic()
        workdirs.outwait(tmp_path, seconds)
        return time.monotonic() - began

    assert took(60) < 5  # nobody holds it
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        assert took(60) < 5
        # As a file server shows it whose client died: held, by a process of another machine.
        (tmp_path / ".lock").write_text("process 1 on another-node\n")
        assert took(0) < 1
        assert 0.5 <= took(0.5) < 5
        lease = threading.Timer(1.5, other.kill)
        lease.start()
        assert 1 <= took(60) < 20
    with workdirs.locked(tmp_path):
        pass


def test_an_older_workdir_without_newer_keys_is_of_the_same_config(tiny_config, tmp_path):
    config = configs.resolve(tiny_config)
    flat = configs.flatten(config)
    # Few shots were chosen otherwise before that key, so that those workdirs are of another config.
    older = {key: value for key, value in flat.items() if key not in configs.DEFAULTS or key == "few_shot.selection"}
    assert older != flat
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert workdirs.claim(tmp_path, config, write=False)
    other = ml_collections.ConfigDict(config.to_dict())
    other.basic.objective = "another"
    with pytest.raises(UserError, match=r"basic\.objective 'missing' there, 'another' here"):
        workdirs.claim(tmp_path, other, write=False)
