"""Verdicts by intervals, parts that are not done twice, and what each study's file says of itself."""

import argparse
import ast
import dataclasses
import importlib
import pathlib
import re
import sys

import numpy as np
import pytest

from studies.documents import related as documents
from studies.related import common

FOLDER = pathlib.Path(common.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem not in ("common", "learning"))


def rows(**values):
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


@pytest.mark.parametrize(
    ("values", "bound", "verdict"),
    [
        ((0.1, 0.12, 0.11), {"above": 0.0}, "holds"),
        ((0.1, 0.12, 0.11), {"below": 0.0}, "does not hold"),
        ((-0.1, -0.12, -0.11), {"above": 0.0}, "does not hold"),
        ((0.01, -0.02, 0.015), {"above": 0.0}, "cannot tell"),
        ((0.01, -0.02, 0.015), {"below": 0.1}, "holds"),
        ((0.5,), {"above": 0.0}, "cannot tell"),
    ],
)
def test_a_statement_is_judged_by_its_interval(values, bound, verdict):
    found = common.Statement("x", lambda row: row["x"], **bound).judged(rows(x=values))
    assert found["verdict"] == verdict
    assert found["estimate"]["mean"] == pytest.approx(np.mean(values))
    assert {key: found[key] for key in bound} == bound


def study(measure=None, **changes):
    claim = common.Statement("gain", lambda row: row["ours"] - row["theirs"], above=0.0)
    control = common.Statement("sham", lambda row: row["sham"], below=0.02)
    made = common.Study(
        "masks", "System", "1234.56789", "it helps", measure, (claim,), (control,), {"ours": "ours"}, {"people": 3}
    )
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("gain", "sham", "verdict"),
    [(0.2, 0.0, "holds"), (0.2, 0.1, "cannot tell"), (-0.2, 0.0, "does not hold"), (-0.2, 0.1, "does not hold")],
)
def test_a_claim_holds_only_with_its_control(gain, sham, verdict):
    wobble = np.asarray([0.0, 0.002, -0.002])
    found = common.judged(study(), rows(ours=0.5 + gain + wobble, theirs=[0.5] * 3, sham=sham + wobble))
    assert found["verdict"] == verdict


def test_what_files_cannot_tell_is_left_out():
    found = common.judged(study(), rows(ours=(0.6, 0.61), theirs=(0.5, 0.5)))
    assert [one["words"] for one in found["claims"]] == ["gain"]
    assert found["controls"] == []


def test_a_run_goes_on_where_it_was_and_other_settings_begin_anew(tmp_path):
    done = []

    def measure(work):
        def part():
            done.append(work.seed)
            if work.seed == 11 and done.count(11) == 1:
                raise KeyboardInterrupt
            return {"net": [np.arange(3.0)], "ours": 0.5}

        return {"ours": work.once("part", part)["ours"], "theirs": 0.4, "sham": float(work.seed)}

    a = argparse.Namespace(seeds=2, people=3, workdir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        common.run(study(measure), a)
    found = common.run(study(measure), a)
    assert done == [10, 11, 11]
    assert [row["sham"] for row in found["rows"]] == [10.0, 11.0]
    assert found["settings"] == {"seeds": 2, "first_seed": 10, "people": 3}
    common.run(study(measure), argparse.Namespace(seeds=1, people=4, workdir=tmp_path))
    assert done == [10, 11, 11, 10]


def test_the_command_writes_json_and_picture(tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "masks.json"
    made = study(
        lambda work: {"ours": 0.5 + work.seed / 100, "theirs": 0.4, "sham": 0.0},
        picture=lambda work: ([np.zeros((2, 4, 4, 3), np.uint8)], "Two squares."),
    )
    options = ["--out", str(out), "--workdir", str(tmp_path / "runs"), "--people", "5"]
    monkeypatch.setattr(sys, "argv", ["masks", *options])
    common.main(made, "A question?")
    assert out.with_suffix(".png").is_file()
    assert "cannot tell: sham" not in capsys.readouterr().out
    import json

    found = json.loads(out.read_text())
    assert found["verdict"] == "holds"
    table = documents.systems({"masks": found})
    assert "**holds**" in table
    assert "gain 22.0 [20.0, 24.0] > 0: holds" in table
    assert "Two squares.\n\n![System](results/related/masks.png)" in table
    monkeypatch.setattr(sys, "argv", ["masks", *options, "--people", "-1"])
    with pytest.raises(SystemExit) as error:
        common.main(made, "A question?")
    assert error.value.code == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_its_question_command_paper_choice_and_control(name):
    text = (FOLDER / f"{name}.py").read_text()
    doc = ast.get_docstring(ast.parse(text))
    assert doc.splitlines()[0].endswith("?")
    result = f"docs/results/related/{name}.json"
    assert (
        f"Command: python -m studies.related.{name} --out {result}     (make related)\nResult:  {result}\nTime: " in doc
    )
    made = importlib.import_module(f"studies.related.{name}").STUDY
    assert made.name == name
    assert re.search(rf"^Paper: .*arXiv {made.paper}.*Read: ", doc, re.MULTILINE | re.DOTALL)
    assert all(f"\n{part}" in doc or f" {part}" in doc for part in ("Our choice:", "Measurement:", "Control"))
    assert len(text.splitlines()) <= 200


def test_every_file_is_in_the_table_of_files():
    table = documents.files({})
    assert all(f"`studies/related/{name}.py`" in table for name in ("common", "learning", *NAMES))
    assert "`training.fit`" in table
