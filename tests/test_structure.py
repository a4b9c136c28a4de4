"""The structure of docs/architecture.md holds: imports point one way, nothing runs on import, functions stay small."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "fer_jax"
# A module or folder may import those above it in this list, and a folder its own modules.
LAYERS = (
    ("errors", "rng"),
    ("losses", "augment", "replay", "classifiers", "corrections"),
    ("protocol", "metrics", "statistics"),
    ("objectives",),
    ("methods",),
    ("ingredients",),
    ("config",),
    ("data",),
    ("models",),
    ("training",),
    ("runs",),
    ("phases",),
    ("experiment",),
    ("sweep",),
    ("inference",),
    ("explain",),
    ("report",),
    ("bench",),
    ("cli",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
PURE = ("losses", "augment", "replay", "classifiers", "corrections")
MOST_MODULES, MOST_LINES, MOST_PARAMETERS = 14, 60, 8


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """The modules of this project that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in ("fer_jax", "studies"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("fer_jax", "studies"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


IMPORTS = {name: sorted(set(imported(name, tree)) - {name}) for name, tree in MODULES.items()}


def place(module: str) -> str:
    """The file or folder of `LAYERS` that a module belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


def upward() -> list[str]:
    return [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if place(name) and place(name) != place(other)
        and (other.startswith("studies") or RANK.get(place(other), -1) >= RANK[place(name)])
    ]  # fmt: skip


def cycles() -> list[list[str]]:
    """Circles of modules, each found once."""
    state: dict[str, int] = {}
    found: list[list[str]] = []

    def visit(name: str, path: list[str]) -> None:
        state[name] = 1
        for other in IMPORTS.get(name, ()):
            if state.get(other) == 1:
                found.append([*path[path.index(other) :], other])
            elif other not in state:
                visit(other, [*path, other])
        state[name] = 2

    for name in IMPORTS:
        if name not in state:
            visit(name, [name])
    return found


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def parameters(node: ast.FunctionDef) -> int:
    """How many a caller gives: `self`, `cls` and those that are collected by a star are not counted."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(one.arg not in ("self", "cls") for one in given)


def test_every_module_has_a_layer():
    assert {place(name) for name in MODULES} - {""} == set(RANK)


def test_imports_point_one_way():
    assert upward() == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycles() == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_of_the_project_but_rng(name):
    assert set(IMPORTS[f"fer_jax.{name}"]) <= {"fer_jax.rng"}


def test_the_top_of_the_package_stays_small():
    assert sum(path.name != "__init__.py" for path in PACKAGE.glob("*.py")) <= MOST_MODULES


def test_functions_stay_short():
    long = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_functions_take_few_parameters():
    many = {name: parameters(node) for name, node in functions()}
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
