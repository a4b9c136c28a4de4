"""Every study says its question, command, result and time, in its file and in README.md alike."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STUDIES = ROOT / "studies"
SHARED = {"__init__", "record"}
NAMES = sorted(path.stem for path in STUDIES.glob("*.py") if path.stem not in SHARED)


def rows() -> dict[str, list[str]]:
    """The cells of README.md's table by study."""
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", (STUDIES / "README.md").read_text(), re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in lines}


def test_the_table_has_every_study():
    assert sorted(rows()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_study_and_its_row_say_the_same(name):
    doc = ast.get_docstring(ast.parse((STUDIES / f"{name}.py").read_text()))
    question, command, result, time = rows()[name]
    assert doc.splitlines()[0] == question
    assert question.endswith("?")
    assert command.startswith(f"`python -m studies.{name} ")
    assert command.strip("`") in doc
    said = re.search(r"^Result: +(\S+)\nTime: +(.+)$", doc, re.MULTILINE)
    assert (said[1], said[2]) == (f"docs/results/{name}.json", time)
    assert result == f"[{name}.json](../docs/results/{name}.json)"
    assert (ROOT / said[1]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "documents", "documents.bars", "documents.screenshot"])
def test_a_study_starts_by_its_name(name):
    command = [sys.executable, "-m", f"studies.{name}", "--help"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
