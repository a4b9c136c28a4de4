"""Figures that the documents promise: the committed ones reach their bars, and each bar refuses a worse one."""

import json
import pathlib
import re
import sys

import pytest

from studies.documents import bars

ROOT = pathlib.Path(__file__).parents[2]


def read(name: str) -> dict:
    return json.loads((bars.RESULTS / f"{name}.json").read_text())


def leaves(inside):
    """Yields (container, key) of every number in nested dicts and lists."""
    for key, value in inside.items() if isinstance(inside, dict) else enumerate(inside):
        if isinstance(value, dict | list):
            yield from leaves(value)
        elif isinstance(value, int | float):
            yield inside, key


@pytest.mark.parametrize("name", bars.BARS)
def test_committed_figures_reach_their_bars_and_no_bar_lets_every_figure_pass(name):
    found = read(name)
    assert bars.missed(name, found) == []
    never = dict(enumerate(bars.BARS[name]))
    # Means first: most bars are of them, and a file of runs has a hundred thousand numbers.
    for inside, key in sorted(leaves(found), key=lambda leaf: leaf[1] != "mean"):
        there = inside[key]
        for worse in (0, 100 * (there + 1), -100):
            inside[key] = worse
            never = {i: bar for i, bar in never.items() if "it may be" not in (bar.missed(found) or "")}
        inside[key] = there
        if not never:
            break
    assert [bar.what for bar in never.values()] == []


def test_a_missed_bar_is_a_line_and_exit_code_1(tmp_path, monkeypatch):
    found = read("profile")
    found["compiled_share"], found["compile_seconds"] = float("nan"), []
    (tmp_path / "profile.json").write_text(json.dumps(found))
    monkeypatch.setattr(bars, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bars", "profile"])
    with pytest.raises(SystemExit) as error:
        bars.main()
    assert error.value.code == "profile: the share of compiled code is nan; it may be from 0.85"
    del found["compiled_share"]
    assert bars.missed("profile", found) == [
        "profile: the share of compiled code is not there: KeyError('compiled_share')"
    ]


def test_a_target_that_writes_a_file_checks_its_bars():
    rules = re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    checked = [(target, name) for target, commands in rules
               for name in re.findall(r"-m studies\.documents\.bars (\S+)", commands)]  # fmt: skip
    assert sorted(name for _, name in checked) == sorted(bars.BARS)
    for target, name in checked:
        written, _ = dict(rules)[target].split(f"-m studies.documents.bars {name}")
        assert f"docs/results/{name.partition('_4')[0]}" in written
        assert "studies.documents " not in written, "tables are made of figures that reach their bars"
