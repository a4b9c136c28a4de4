"""Experiments from Python: configs by name, and the same files as the commands write."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import fer_jax as fj
from fer_jax.config.file import read_config
from fer_jax.errors import UserError
from fer_jax.sweeps import cells

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


def test_the_import_is_fast_and_what_it_names_is_there():
    program = "import sys, fer_jax as fj; assert not {'jax', 'numpy'} & sys.modules.keys(); print(*dir(fj))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("load_config", "load_data", "train", "sweep", "load_run", "predict", "Run"):
        assert name in done.stdout.split()
        assert getattr(fj, name).__doc__
        assert f"fj.{name}" in PAGE
    assert fj.metrics.forgetting is __import__("fer_jax.metrics").metrics.forgetting
    with pytest.raises(AttributeError, match="module 'fer_jax' has no attribute 'trian'"):
        _ = fj.trian


def test_overrides_are_those_of_the_command_line():
    values = {"seed": 3, "data.dir": "", "memory.share": 0.4, "continual.augment": False,
              "methods": ("kd_psmr",), "basic.terms": (("centre", 0.5),)}  # fmt: skip
    config = fj.load_config("fer_jax:smoke", values)
    texts = ["seed=3", "data.dir=", "memory.share=0.4", "continual.augment=False", "methods=('kd_psmr',)",
             "basic.terms=(('centre',0.5),)"]  # fmt: skip
    assert config == read_config([f"--config={ROOT / 'configs' / 'smoke.py'}", *(f"--config.{text}" for text in texts)])
    assert fj.load_config("fer_jax:digits:5x2") == fj.load_config(f"{ROOT / 'configs' / 'digits.py'}:5x2")


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("fer_jax:smok", {}, "--config fer_jax:smok does not exist; it may be fer_jax: and one of ablation, bases,"),
        ("fer_jax:smoke", {"sed": 1}, "config.sed does not exist; did you mean seed?"),
        ("fer_jax:smoke", {"seed": "one"}, "seed"),
    ],
)
def test_a_mistake_is_one_line(name, overrides, said):
    with pytest.raises(UserError) as error:
        fj.load_config(name, overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, tiny_config, tiny_data):
    """docs/python.md from top to bottom, in one process, as a reader would type it."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    program = "\n".join(blocks).replace(
        '"fer_jax:smoke")', f'"fer_jax:smoke", {{"data.dir": {tiny_config.data.dir!r}}})'
    )
    assert tiny_config.data.dir in program
    names: dict = {}
    exec(compile(program, "docs/python.md", "exec"), names)
    run = names["run"]
    assert (run.workdir / "report" / "index.html").exists()
    np.testing.assert_allclose(names["probabilities"].sum(1), 1)
    assert len(names["answers"]) == 3
    # The sweep is a folder that the command would go on with.
    assert all(cells.state(names["both"].workdir, name).word == "finished" for name in ("seed0", "seed1"))
    assert names["both"].metrics("finetune")["final_accuracy"].shape == (4,)  # two orders of each
