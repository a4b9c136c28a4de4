"""A config and its keys as text: every key has its meaning, and the reference page is what the command prints."""

import pathlib

import pytest

from fer_jax import config as configs
from fer_jax.cli import main
from fer_jax.config import describe, names
from fer_jax.config.file import read_config

ROOT = pathlib.Path(__file__).parents[2]
SMOKE, QUICKSTART = (str(ROOT / "configs" / f"{name}.py") for name in ("smoke", "quickstart"))


def resolved(file: str, *overrides: str):
    return configs.resolve(read_config([f"--config={file}", *overrides]))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("config", configs.RULES),
        *((name, names.data_set(name).keys) for name in names.DATA_SETS if name != names.TFDS),
        *((name, names.backbone(name).keys) for name in names.BACKBONES),
    ],
)
def test_every_key_has_one_sentence_that_says_what_it_means(kind, keys):
    odd = {key: rule.meaning for key, rule in keys.items() if rule.meaning[-1:] != "." or len(rule.meaning) > 110}
    assert odd == {}


def test_the_reference_page_is_what_the_command_prints(capsys):
    assert main.main(["config", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed == (ROOT / "docs" / "configuration.md").read_text()
    for key in (*configs.RULES, "data.n_subjects", "data.labels_csv", "model.stem_pool"):
        assert f"| `{key}` |" in printed


def test_a_config_is_printed_with_every_key_and_overrides(capsys):
    assert main.main(["config", "--config", SMOKE, "--config.few_shot.taken=0.2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    flat = configs.flatten(resolved(SMOKE))
    assert [line.partition(" = ")[0] for line in lines[::2]] == list(configs.rules("facs_faces", "resnet_v2"))
    assert len(lines) == 2 * len(flat)
    assert "continual.distill_over = 'teacher'" in lines  # the file has auto
    at = lines.index("few_shot.taken = 0.2")
    assert lines[at + 1].endswith("It may be a number from 0 to 1; default 0.15.")
    assert lines[lines.index("seed = 0") + 1].endswith("It may be a whole number from 0 to 2147483647; required.")


def test_two_configs_are_compared_key_by_key(capsys):
    assert main.main(["config", "--diff", QUICKSTART, SMOKE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "data.n_subjects: 230 -> 12" in lines
    assert "few_shot.shots: (1, 3, 5, 0) -> (1, 0)" in lines
    a, b = (configs.flatten(resolved(file)) for file in (QUICKSTART, SMOKE))
    assert {line.partition(":")[0] for line in lines} == {key for key in a if a[key] != b[key]}
    with_digits = list(describe.differences(resolved(SMOKE), resolved(str(ROOT / "configs" / "digits.py"))))
    assert "data.n_subjects: 12 -> not there" in with_digits
    assert list(describe.differences(resolved(SMOKE), resolved(SMOKE))) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments --config --diff --markdown is required"),
        (["--markdown", "--config.seed=1"], "--config.seed=1 is not an argument of config"),
        (["--config", SMOKE, "--config.seed=-1"], "config.seed is -1; it may be a whole number from 0"),
        (["--config", SMOKE, "--diff", SMOKE, SMOKE], "argument --diff: not allowed with argument --config"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, said):
    try:
        code = main.main(["config", *arguments])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err
    assert (code, len(told.splitlines())) == (2, 1)
    assert said in told
