"""What the figures before and after an audit rest on: the old code itself, pairs of runs, two kinds of intervals."""

import json
import shutil

import pytest

from studies import before_after as study
from studies import record

OLD = """
import json, pathlib, sys
assert sys.argv[1:5] == ["sweep", "--config", "configs/digits.py:5x2", "--workdir"], sys.argv
found = json.loads(pathlib.Path("digits.json").read_text())
(pathlib.Path(sys.argv[5]) / "results.json").write_text(json.dumps({**found, "asked": sys.argv[6:]}))
"""

OLD_TRANSFER = """
import json, pathlib, sys
asked, seed = sys.argv[3:], int(sys.argv[4])
rows = [{"seed": seed, "pretrained": 0.9, "scratch": 0.2, "gain": 0.7, "asked": asked}]
pathlib.Path(sys.argv[2]).write_text(json.dumps({"rows": rows}))
"""


def test_the_old_code_runs_in_the_place_of_ours(tmp_path):
    code, workdir = tmp_path / "code", tmp_path / "workdir"
    (code / "fer_jax").mkdir(parents=True)
    workdir.mkdir()
    (code / "fer_jax" / "__init__.py").write_text("")
    (code / "fer_jax" / "main.py").write_text(OLD)
    shutil.copy(study.RESULTS / "digits_5x2.json", code / "digits.json")
    found = study.run_old(code, "5x2", 2, workdir)
    asked = json.loads((workdir / "results.json").read_text())["asked"]
    assert asked == ["--over", "seed=0,1", "--over", "method=bic,ewc,derpp,slda"]
    # The same results before and after: no difference, over the five base models of the file.
    rows = study.baselines("5x2", found)
    assert [row["method"] for row in rows[::2]] == list(study.METHODS)
    assert all((row["difference"]["mean"], row["difference"]["base_models"]) == (0, 5) for row in rows)


def test_pairs_are_of_one_base_model_and_order():
    before = {(0, 0, 0): 0.5, (1, 0, 0): 0.7, (0, 1, 0): 0.4}
    after = {(0, 0, 0): 0.6, (1, 0, 0): 0.9, (0, 1, 0): 0.4, (0, 2, 0): 0.1}
    found = study.compared(before, after)["difference"]
    assert found["mean"] == pytest.approx((0.15 + 0) / 2)
    assert found["base_models"] == 2


def test_intervals_over_orders_of_one_base_model_are_told_from_those_over_base_models():
    rows = study.intervals(study.read("quickstart"))
    numbers = [(row["method"], row["before"]["n"], row["one"]["n"], row["after"]["base_models"]) for row in rows]
    assert numbers == [("kd_psmr", 3, 3, 5), ("kd_psmr", 3, 3, 5), ("joint", 3, 3, 5)]
    # One joint model answers for all orders, and three times the same value has no width.
    assert all(row["before"]["low"] < row["before"]["mean"] < row["before"]["high"] for row in rows[:2])


def test_the_old_study_of_weights_runs_once_with_the_seeds_of_ours(tmp_path):
    code, workdir = tmp_path / "code", tmp_path / "workdir"
    (code / "fer_jax").mkdir(parents=True)
    workdir.mkdir()
    (code / "fer_jax" / "__init__.py").write_text("")
    (code / "fer_jax" / "transfer.py").write_text(OLD_TRANSFER)
    old = study.run_old_transfer(code, [10, 11, 12], workdir)
    assert [row["asked"] for row in old] == [["--first-seed", seed, "--seeds", "1"] for seed in ("10", "11", "12")]
    (code / "fer_jax" / "transfer.py").write_text("raise SystemExit(1)")
    assert study.run_old_transfer(code, [10, 11, 12], workdir) == old
    # Pairs are of one seed, in whatever order the files have them, and seeds of one file alone have no pair.
    new = [{"seed": seed, "pretrained": 0.9, "scratch": 0.7, "gain": 0.2} for seed in (12, 11, 10, 13)]
    rows = {row["start"]: row["difference"] for row in study.transfer(old, new)}
    assert {name: round(row["mean"], 6) for name, row in rows.items()} == {
        "pretrained": 0,
        "scratch": 0.5,
        "gain": -0.5,
    }
    assert [row["base_models"] for row in rows.values()] == [3, 3, 3]


def test_one_part_alone_is_measured_anew_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    monkeypatch.setattr(study.record, "unpack", lambda commit, folder: folder.mkdir(parents=True))
    monkeypatch.setattr(study, "weights", lambda code, workdir: [{"start": "gain"}])
    asked = ["before_after", "--out", str(out), "--workdir", str(tmp_path / "work"), "--only", "transfer"]
    monkeypatch.setattr("sys.argv", asked)
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 2
    assert "leave --only out" in capsys.readouterr().err
    before = json.loads((study.RESULTS / "before_after.json").read_text())
    out.write_text(json.dumps({**before, "transfer": []}))
    study.main()
    after = json.loads(out.read_text())
    assert after["transfer"] == [{"start": "gain"}]
    assert {name for name in study.PARTS if after[name] != before[name]} == {"transfer"}
    others = [name for name in study.PARTS if name != "transfer"]
    assert [after["environments"][name] for name in others] == [before["environments"][name] for name in others]
    assert after["environments"]["transfer"]["packages"] == record.environment("float32", 0.0)["packages"]
