"""Options, machine and JSON that the studies share."""

import argparse
import json
import subprocess
import sys

import pytest

from fer_jax.errors import UserError
from studies import record

ANSWERS = """
import json, sys
print(json.dumps({"options": sys.argv[1:]}), flush=True)
for line in sys.stdin:
    if line == "end\\n":
        print("a warning", file=sys.stderr)
        sys.exit("it was asked to end")
    print(json.dumps(line.strip() * 2), flush=True)
"""


@pytest.mark.parametrize("given", ["0", "-3", "x"])
def test_an_option_below_its_least_value_is_told(capsys, tmp_path, given):
    parser = record.command("A question?\n\nMore.")
    parser.add_argument("--pairs", type=record.at_least(1), default=6)
    assert parser.parse_args(["--out", str(tmp_path), "--pairs", "1"]).pairs == 1
    with pytest.raises(SystemExit) as error:
        parser.parse_args(["--out", str(tmp_path), "--pairs", given])
    assert error.value.code == 2
    said = "invalid int value: 'x'" if given == "x" else f"it is {given}; it may be from 1"
    assert f"argument --pairs: {said}" in capsys.readouterr().err


def test_the_type_of_the_least_value_is_that_of_the_option():
    assert isinstance(record.at_least(1)("2"), int)
    assert record.at_least(0.5)("0.75") == 0.75
    with pytest.raises(argparse.ArgumentTypeError):
        record.at_least(0.5)("0.25")


def test_the_quickstarts_config_takes_changes_of_nested_keys():
    config = record.quickstart(seed=7, protocol__n_orders=2)
    assert (config.seed, config.protocol.n_orders) == (7, 2)
    assert record.quickstart().protocol.n_orders == 3


def test_a_result_tells_the_machine_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "study.json"
    record.write(path, {"environment": record.environment("auto", 1.25)})
    found = json.loads(path.read_text())["environment"]
    assert found["precision"] in ("float32", "bfloat16")
    assert found["load_before"] == 1.25
    assert found["cores"] >= 1
    assert found["packages"]["jax"]


def test_an_estimate_in_words():
    assert record.words({"mean": 0.5, "low": 0.4444, "high": 1, "n": 3}) == "0.500 [0.444, 1.000], n = 3"
    for none in (None, float("nan")):
        assert record.words({"mean": 0.5, "low": none, "high": none, "n": 1}) == "0.500, n = 1"


def peer(tmp_path, python=sys.executable, needs="json"):
    script = tmp_path / "answers.py"
    script.write_text(ANSWERS)
    return record.Peer(python, script, ["--pixels", "8"], needs, "make it")


def test_a_peer_answers_line_by_line(tmp_path):
    with peer(tmp_path) as other:
        assert other.told == {"options": ["--pixels", "8"]}
        assert [other.ask(line) for line in ("a", "bc")] == ["aa", "bcbc"]
    assert other._process.returncode == 0


def test_a_peer_that_ends_is_told_with_its_last_line(tmp_path):
    with peer(tmp_path) as other:
        for _ in range(2):
            with pytest.raises(UserError, match=r"^answers\.py ended with exit code 1: it was asked to end$"):
                other.ask("end")


@pytest.mark.parametrize(
    ("python", "needs", "said"),
    [
        ("no/python", "json", "No such file or directory"),
        (sys.executable, "no_such_module", "it has no no_such_module"),
    ],
)
def test_an_environment_that_is_not_there_is_named_with_what_makes_it(tmp_path, python, needs, said):
    with pytest.raises(UserError, match=said) as error:
        peer(tmp_path, python, needs)
    assert f"--python {python}: " in str(error.value)
    assert "`make it`" in str(error.value)


def test_a_users_mistake_ends_a_command_in_one_line(capsys):
    with pytest.raises(SystemExit) as error, record.in_one_line(record.command("A question?")):
        raise UserError("what it was; it may be another")
    assert error.value.code == 2
    assert capsys.readouterr().err == "what it was; it may be another\n"


@pytest.mark.parametrize("study", ["teach", "before_after"])
def test_a_setting_that_is_no_json_is_one_line(study, tmp_path):
    command = [sys.executable, "-m", f"studies.{study}", "--out", str(tmp_path / "x.json"), "--set", "seed=ten"]
    ran = subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith("--set: it is seed=ten; it may be KEY=JSON, such as data.n_subjects=30")


def test_a_setting_is_a_key_and_a_value():
    assert record.setting("few_shot.shots=[1, 3]") == ("few_shot.shots", [1, 3])
