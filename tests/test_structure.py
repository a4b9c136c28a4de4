"""The structure of docs/architecture.md holds: imports point one way, nothing runs on import, functions stay small."""

import ast
import pathlib
import re

import pytest

from studies import structure

ROOT = pathlib.Path(__file__).parents[1]
PURE = ("losses", "augment", "replay", "classifiers", "corrections")
MOST_MODULES, MOST_LINES, MOST_PARAMETERS = 14, 60, 8


MODULES = structure.modules(ROOT)
IMPORTS = structure.imports(MODULES)


def test_every_module_has_a_layer():
    assert {structure.place(name) for name in MODULES} - {""} == set(structure.RANK)


def test_imports_point_one_way():
    assert structure.upward(IMPORTS) == []


def test_no_modules_import_each_other_in_a_circle():
    assert structure.circles(IMPORTS) == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_of_the_project_but_rng(name):
    assert set(IMPORTS[f"fer_jax.{name}"]) <= {"fer_jax.rng"}


def test_the_top_of_the_package_stays_small():
    assert structure.at_top(ROOT) <= MOST_MODULES


def test_functions_stay_short():
    long = {name: structure.length(node) for name, node in structure.functions(MODULES)}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_functions_take_few_parameters():
    many = {name: structure.parameters(node) for name, node in structure.functions(MODULES)}
    assert {name: count for name, count in many.items() if count > MOST_PARAMETERS} == {}


def test_no_module_changes_the_environment_or_configures_jax_on_import():
    """At a module's top level nothing is written to `os.environ`, and neither JAX nor a function of our own is called
    for its effect."""
    found = []
    for name, tree in MODULES.items():
        for statement in tree.body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                found.append(f"{name}: {ast.unparse(statement)}")
            for node in ast.walk(statement) if isinstance(statement, ast.Assign | ast.AugAssign) else ():
                if isinstance(node, ast.Attribute) and node.attr == "environ" and not isinstance(node.ctx, ast.Load):
                    found.append(f"{name}: {ast.unparse(statement)}")
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            found += [f"{name}: {ast.unparse(statement)}" for t in targets if isinstance(t, ast.Subscript)]
    assert found == []


def test_test_modules_import_nothing_from_each_other():
    """What several of them need is in tests/support; programs that they start are text of theirs."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"(?:from|import) (tests\.[\w.]+)", path.read_text())
        if not name.startswith("tests.support")
    }
    assert found == set()
