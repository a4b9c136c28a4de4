"""Mutants are what the study says they are, and tests of a changed copy are told from those of the code as it is."""

import ast
import json
import pathlib

import pytest

from studies import mutation

ROOT = pathlib.Path(__file__).parents[2]
CODE = '''"""Adds."""


def add(a: int | None, b: int = 2) -> int | None:
    """Adds 1 and b."""
    if a is None:
        raise ValueError(f"{1 + 1} numbers")
    return a + b
'''


def test_annotations_and_errors_are_left_alone():
    left = {CODE.splitlines()[first[0] - 1][first[1] :].strip() for first, _ in mutation.unmutated(CODE)}
    assert left == {"int | None, b: int = 2) -> int | None:", "int = 2) -> int | None:", "int | None:",
                    'raise ValueError(f"{1 + 1} numbers")'}  # fmt: skip


def test_a_listed_mutant_that_changes_nothing_is_still_in_the_code():
    lines = {name: {line.strip() for line in (ROOT / "fer_jax" / f"{name}.py").read_text().splitlines()}
             for name in mutation.MODULES}  # fmt: skip
    for listed in mutation.equivalent():
        assert listed["before"] in lines[listed["module"]]
        assert listed["before"] != listed["after"]
        assert listed["why"]


def test_every_module_has_tests():
    for name, tests in mutation.MODULES.items():
        assert ast.parse((ROOT / "fer_jax" / f"{name}.py").read_text()).body
        assert all((ROOT / test.partition("::")[0]).is_file() for test in tests)


def test_reasons_are_given_to_their_survivors(monkeypatch):
    listed = {"module": "m", "before": "a", "after": "b", "why": "same"}
    monkeypatch.setattr(mutation, "equivalent", lambda: [listed])
    row = {"survivors": [{"line": line, "before": "a", "after": after} for line, after in enumerate("bc")]}
    found = mutation.explain("m", row)
    assert [one["why"] for one in found["survivors"]] == ["same", None]
    assert found["unexplained"] == 1
    assert mutation.explain("n", row)["unexplained"] == 2


@pytest.mark.slow
def test_tests_of_a_changed_copy_are_told_apart(tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "adds.py").write_text(CODE)
    (copy / "test_adds.py").write_text("import adds\n\ndef test_it():\n    assert adds.add(1) == 3\n")
    with mutation.Tests(copy, 5) as run:
        codes = []
        for code in (CODE, CODE.replace("a + b", "a - b"), CODE.replace("return a", "while True: a"), CODE):
            (copy / "adds.py").write_text(code)
            codes.append(run(["test_adds.py"])["code"])
    assert codes == [0, 1, -24, 0]  # SIGXCPU
    assert not list(copy.rglob("adds*.pyc"))


def test_the_committed_scores_are_at_least_nine_tenths_in_the_code_as_it_is():
    """A module whose survivors are no longer in the code has to be tried again.

    Every survivor has a reason: it changes nothing that could be observed.
    """
    found = json.loads((ROOT / "docs" / "results" / "mutation.json").read_text())["modules"]
    assert found.keys() == mutation.MODULES.keys()
    for name, row in found.items():
        row = mutation.explain(name, row)
        assert row["killed"] >= 0.9 * row["mutants"], name
        assert row["unexplained"] == 0, name
        lines = {line.strip() for line in (ROOT / "fer_jax" / f"{name}.py").read_text().splitlines()}
        assert {survivor["before"] for survivor in row["survivors"]} <= lines, name
