"""The command of the page makes the same config again."""

import json
import shlex

from fer_jax import config as configs
from fer_jax.config.file import read_config
from fer_jax.report import rerun
from fer_jax.sweeps import axes


def test_the_config_beside_the_page_is_that_of_the_run(tiny_run, tmp_path):
    results = json.loads((tiny_run / "results.json").read_text())
    command = shlex.split(rerun.write(results, tmp_path, tmp_path))
    assert command[:3] == ["fer-jax", "train", "--config"]
    config = configs.resolve(read_config([f"--config={command[3]}"]))
    configs.check(config)
    assert json.loads(json.dumps(configs.flatten(config))) == results["config"]


def test_a_sweeps_command_has_its_axes(tiny_config, tmp_path):
    over = ["method=kd_psmr,finetune", "seed=0,1", "continual.learning_rate=0.001,0.002"]
    sweep = axes.Sweep(tiny_config, tuple(axes.read_axes(over, tiny_config)))
    (tmp_path / "sweep.json").write_text(json.dumps(sweep.described()))
    command = shlex.split(rerun.write({"merged": {}}, tmp_path, tmp_path))
    assert command[:3] == ["fer-jax", "sweep", "--config"]
    assert [command[i + 1] for i, word in enumerate(command) if word == "--over"] == over
    config = read_config([f"--config={command[3]}"])
    again = axes.Sweep(config, tuple(axes.read_axes(over, config)), "--few-shot" in command)
    assert json.loads(json.dumps(again.described())) == json.loads(json.dumps(sweep.described()))


def test_several_workdirs_have_no_one_command(tmp_path):
    assert rerun.write({"merged": {}}, tmp_path, tmp_path) is None
