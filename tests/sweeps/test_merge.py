"""Merging what a run was cut into gives the run again; what does not go together is refused."""

import copy
import json
import pathlib
import re

import numpy as np
import pytest

from fer_jax.cli import main
from fer_jax.errors import UserError
from fer_jax.report import page, tables
from fer_jax.runs import results
from fer_jax.sweeps import cells, merge
from studies.chaos import without_times
from tests.support.documented import keys

ROOT = pathlib.Path(__file__).parents[2]


NEW = {"macro_f1_average", "macro_f1_final", "mean_class_recall_average", "mean_class_recall_final"}


@pytest.fixture
def whole(tiny_run):
    return json.loads((tiny_run / "results.json").read_text())


def part(whole: dict, method: str, order: int, seed: int = 0, few_shot: bool = False, **config) -> dict:
    """What a run of one method, order and seed would have given."""
    found = copy.deepcopy(whole)
    found["config"].update({"methods": [method], "protocol.orders": [order], "seed": seed, **config})
    found["seed"] = seed
    runs = [run for run in found["continual"][method]["runs"] if run["order"] == order]
    for run in runs:
        run["metrics"].pop("intransigence", None)
    found["continual"] = {method: {"runs": runs, "metrics": results.estimates(runs)}}
    if not few_shot:
        found["config"]["few_shot.shots"], found["few_shot"] = [], {"estimates": {}, "rows": []}
    return found


def write(workdir: pathlib.Path, found: dict) -> pathlib.Path:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(found["config"]))
    (workdir / "results.json").write_text(json.dumps(found))
    return workdir


def merged(*workdirs: pathlib.Path) -> dict:
    return merge.merge(*merge.collect(list(workdirs)))


@pytest.fixture
def parts(whole, tmp_path):
    """One workdir for every method and order; the first one has the few shots."""
    methods, orders = whole["config"]["methods"], (1, 0)
    names = [(method, order) for method in methods for order in orders]
    return [
        write(tmp_path / f"{method}{order}", part(whole, method, order, few_shot=i == 0))
        for i, (method, order) in enumerate(names)
    ]


def test_the_parts_together_are_the_whole(whole, parts):
    found = json.loads(json.dumps(merged(*parts)))
    assert found["merged"]["runs"] == [str(workdir) for workdir in parts]
    assert found["merged"]["missing"] == found["merged"]["uneven"] == []
    assert found["merged"]["differ"].keys() == {"methods", "protocol.orders", "few_shot.shots"}
    assert found["merged"]["methods"] == whole["config"]["methods"]
    for method, theirs in whole["continual"].items():
        ours = found["continual"][method]
        assert ours["metrics"] == theirs["metrics"]
        for run in ours["runs"]:
            assert run.pop("seed") == 0
        assert ours["runs"] == theirs["runs"]
    # Every run has the base model that all share; it counts once.
    (base,) = found["basic"]
    assert (base.pop("seed"), base.pop("label")) == (0, "")
    assert [base] == whole["basic"]
    assert found["seconds"]["basic"] == whole["seconds"]["basic"]
    assert found["few_shot"]["estimates"] == whole["few_shot"]["estimates"]
    assert without_times(found["data"]) == without_times(whole["data"])


def test_intransigence_is_against_the_joint_run_of_the_same_order_and_seed(whole, tmp_path):
    run = part(whole, "kd_psmr", 0)
    # A joint model of every step, better by a tenth on everything.
    joint = part(whole, "kd_psmr", 0)
    joint["config"]["methods"], joint["continual"] = ["joint"], {"joint": joint["continual"]["kd_psmr"]}
    matrix = np.asarray(joint["continual"]["joint"]["runs"][0]["accuracy_matrix"], float) + 0.1
    joint["continual"]["joint"]["runs"][0]["accuracy_matrix"] = np.where(np.isnan(matrix), None, matrix).tolist()
    a, b = write(tmp_path / "a", run), write(tmp_path / "b", joint)
    assert merged(a, b)["continual"]["kd_psmr"]["metrics"]["intransigence"]["mean"] == pytest.approx(0.1)
    joint["config"]["seed"] = joint["seed"] = 1
    assert "intransigence" not in merged(a, write(tmp_path / "b", joint))["continual"]["kd_psmr"]["metrics"]


def test_seeds_are_a_further_axis_of_runs(whole, tmp_path):
    folders = [
        write(tmp_path / f"{seed}{order}", part(whole, "kd_psmr", order, seed)) for seed in (1, 0) for order in (0, 1)
    ]
    found = merged(*folders)
    assert found["seed"] is None
    assert found["merged"]["seeds"] == [0, 1]
    assert [(r["seed"], r["order"]) for r in found["continual"]["kd_psmr"]["runs"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    final = found["continual"]["kd_psmr"]["metrics"]["final_accuracy"]
    assert (final["n"], final["base_models"]) == (4, 2)
    assert found["continual"]["kd_psmr"]["metrics"].keys() >= NEW
    assert final["mean"] == pytest.approx(whole["continual"]["kd_psmr"]["metrics"]["final_accuracy"]["mean"])
    assert [row["seed"] for row in found["basic"]] == [0, 1]


def test_other_keys_keep_runs_apart_by_a_label(whole, tmp_path):
    folders = [
        write(tmp_path / f"{rate}{l2}", part(whole, "kd_psmr", 0, few_shot=True,
                                             **{"continual.learning_rate": rate, "basic.l2": l2}))
        for rate in (0.1, 0.2) for l2 in (0.5, 0.25)
    ]  # fmt: skip
    found = merged(*folders)
    labels = [f"basic.l2={l2}, continual.learning_rate={rate}" for rate in (0.1, 0.2) for l2 in (0.5, 0.25)]
    assert list(found["continual"]) == [f"kd_psmr, {label}" for label in labels]
    assert all(entry["metrics"]["final_accuracy"]["n"] == 1 for entry in found["continual"].values())
    assert found["config"]["continual.learning_rate"] is None
    assert found["merged"]["differ"]["continual.learning_rate"] == [0.1, 0.2]
    # Base models differ by what makes them alone.
    assert [row["label"] for row in found["basic"]] == ["basic.l2=0.25", "basic.l2=0.5"]
    assert set(found["few_shot"]["estimates"]) == {f"{shots}, {label}" for shots in ("1", "all") for label in labels}
    _, rows = tables.few_shot_table(found)
    assert rows[0][0] == f"1 shot, {min(labels)}"
    header, _ = tables.metrics_table(found)
    assert header[1] == f"KD + PSMR (the paper), {labels[0]}"


def test_the_same_run_twice_counts_once_and_two_outcomes_are_refused(whole, tmp_path):
    once = part(whole, "kd_psmr", 0, few_shot=True)
    a, b = write(tmp_path / "a", once), write(tmp_path / "b", once)
    found = merged(a, b)
    assert found["continual"]["kd_psmr"]["metrics"]["final_accuracy"]["n"] == 1
    assert len(found["few_shot"]["rows"]) == len(once["few_shot"]["rows"])
    once["few_shot"]["rows"][0]["base_accuracy"] += 0.125
    with pytest.raises(UserError, match=r"few shots of .*, fold 0, seed 0 is in .*a and in .*b with different results"):
        merged(a, write(b, once))
    once["continual"]["kd_psmr"]["runs"][0]["accuracy_matrix"][-1][0] = 0.123
    with pytest.raises(UserError, match=r"kd_psmr, fold 0, order 0, seed 0 is in .*a and in .*b with different"):
        merged(a, write(b, once))


def test_runs_that_do_not_go_together_are_refused(whole, tmp_path):
    a = write(tmp_path / "a", part(whole, "kd_psmr", 0))
    other = part(whole, "kd_psmr", 1, **{"protocol.name": "published"})
    with pytest.raises(UserError, match=r"differ in config\.protocol\.name \('held_out', 'published'\)"):
        merged(a, write(tmp_path / "b", other))
    other = part(whole, "kd_psmr", 1, **{"data.dir": "/elsewhere"})
    assert merged(a, write(tmp_path / "b", other))["config"]["data.dir"] is None
    other["data"]["sha256"] = "0"
    with pytest.raises(UserError, match=r"b is of other data than .*a \(data\.sha256\)"):
        merged(a, write(tmp_path / "b", other))
    with pytest.raises(UserError, match="a is named twice"):
        merged(a, tmp_path / "." / "a")
    with pytest.raises(UserError, match=r"none has no results\.json"):
        merged(a, tmp_path / "none")
    write(tmp_path / "m", merged(a))
    with pytest.raises(UserError, match=r"m holds merged results; name the workdirs"):
        merged(a, tmp_path / "m")


@pytest.fixture
def swept(whole, tmp_path):
    """A sweep's folder: one cell finished, one failed, one begun, one missing."""
    folder = tmp_path / "swept"
    folder.mkdir()
    over = [["method", ["kd_psmr", "finetune"]], ["order", [0, 1]]]
    (folder / "sweep.json").write_text(json.dumps({**whole["config"], "over": over}))
    write(cells.folder(folder, "kd_psmr-order0"), part(whole, "kd_psmr", 0))
    cells.fail(folder, "kd_psmr-order1", "the loss is <nan>")
    begun = cells.folder(folder, "finetune-order0")
    begun.mkdir()
    (begun / "config.json").write_text("{}")
    return folder


def test_a_sweeps_report_says_what_is_missing(whole, swept, capsys):
    assert main.main(["report", "--workdir", str(swept)]) == 0
    said = capsys.readouterr().out
    assert "merged:  1 of 4 runs" in said
    assert f"missing: {swept}/cells/kd_psmr-order1: failed: the loss is <nan>" in said
    assert f"missing: {swept}/cells/finetune-order0: begun" in said
    assert f"missing: {swept}/cells/finetune-order1: missing" in said
    text = " ".join((swept / "report" / "index.html").read_text().split())
    assert "3 of 4 runs are missing" in text
    assert "failed: the loss is &lt;nan&gt;" in text
    # Once more is there, the same command tells it; methods over different runs are told, too.
    write(cells.folder(swept, "kd_psmr-order1"), part(whole, "kd_psmr", 1))
    write(cells.folder(swept, "finetune-order0"), part(whole, "finetune", 0))
    assert main.main(["report", "--workdir", str(swept)]) == 0
    said = capsys.readouterr().out
    assert "merged:  3 of 4 runs" in said
    assert "uneven:  finetune has no run of fold 0, order 1, seed 0" in said
    found = json.loads((swept / "results.json").read_text())
    assert found["continual"]["kd_psmr"]["metrics"] == {
        name: value for name, value in whole["continual"]["kd_psmr"]["metrics"].items() if name != "intransigence"
    }
    text = (swept / "report" / "index.html").read_text()
    assert "Methods are compared over different runs" in text
    assert tables.percent(found["continual"]["kd_psmr"]["metrics"]["final_accuracy"]) in text


def test_nothing_finished_is_told(swept, capsys):
    (cells.folder(swept, "kd_psmr-order0") / "results.json").unlink()
    assert main.main(["report", "--workdir", str(swept)]) == 2
    assert "has nothing to report: none of 4 runs is finished" in capsys.readouterr().err
    for over in (None, [1], [["seed"]], [["seed", 3]]):
        (swept / "sweep.json").write_text(json.dumps({"over": over}))
        assert main.main(["report", "--workdir", str(swept)]) == 2
        assert "sweep.json is not what fer-jax sweep wrote there" in capsys.readouterr().err


def test_several_workdirs_leave_a_page_of_their_own(whole, swept, parts, tmp_path, capsys):
    a, b = parts[:2]
    before = (a / "results.json").read_text()
    assert main.main(["report", "--workdir", str(a), "--workdir", str(b)]) == 0
    assert (a / "results.json").read_text() == before
    assert (a / "merged" / "report" / "index.html").exists()
    out = tmp_path / "out"
    command = ["report", "--workdir", str(swept), "--workdir", str(parts[-1]), "--out"]
    assert main.main([*command, str(out)]) == 0
    assert main.main([*command, str(out)]) == 0
    assert page.write(out) == out / "report" / "index.html"
    capsys.readouterr()
    for other in (b, swept):
        assert main.main([*command, str(other)]) == 2
        said = capsys.readouterr().err
        assert f"--out {other} is the workdir of a run or a sweep of its own" in said
    assert main.main(["report", "--workdir", str(a), "--out", str(out)]) == 2


def test_every_key_of_merged_results_is_documented(parts):
    """docs/results_schema.md: a run's own keys, and those that merging adds."""
    run, more = (ROOT / "docs" / "results_schema.md").read_text().split("## Merged results")
    run, more = (set(re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)) for text in (run, more))
    found = merged(*parts)
    found["few_shot"]["rows"][0]["answer"] = "a classifier's"
    found["merged"]["missing"] = [{"workdir": "a", "state": "failed", "reason": "b"}]
    found["merged"]["uneven"] = [{"method": "joint", "seed": 0, "fold": 0, "order": 0}]
    assert keys(json.loads(json.dumps(found))) == run | more
