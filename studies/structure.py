"""How large is the package, and which way do its imports point, before the restructuring and after it?

Command: python -m studies.structure --out docs/results/structure.json     (make structure)
Result:  docs/results/structure.json
Time:    ten seconds on two cores

Both states are read from git, so the repository needs its history: --before and --after name commits. Nothing is
imported or run. tests/test_structure.py reads the working tree with the same functions.

The old code had no layers. Its `upward_imports` are the imports inside circles: the imported module imports the
importing one in turn, directly or by way of others. Today's are counted by `LAYERS`.
"""

import ast
import collections
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from studies import documents, record

# A module or folder of fer_jax may import those above it in this list, and a folder its own modules.
LAYERS = (
    ("errors", "rng"),
    ("losses", "augment", "replay", "classifiers", "corrections"),
    ("protocol", "metrics"),
    ("statistics",),
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
    ("sweeps",),
    ("inference",),
    ("explain",),
    ("report",),
    ("interface",),
    ("serve",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
STUDIES = ("studies", "benchmarks")  # today's folder of measurements, and that of before
FOLDERS = ("fer_jax", *STUDIES, "configs", "tests")

Modules = Mapping[str, ast.Module]
Imports = Mapping[str, list[str]]


def modules(root: pathlib.Path) -> dict[str, ast.Module]:
    """Returns every module of the package by its dotted name, parsed."""
    found = {}
    for path in sorted((root / "fer_jax").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imports(found: Modules) -> dict[str, list[str]]:
    """Returns the modules of this project that each module imports, wherever in it the import stands."""
    return {name: sorted(set(_imported(tree, found)) - {name}) for name, tree in found.items()}


def _imported(tree: ast.AST, found: Modules) -> Iterator[str]:
    ours = ("fer_jax", *STUDIES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in ours)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in ours:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in found else node.module


def place(module: str) -> str:
    """Returns the file or folder of `LAYERS` that a module belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


def upward(edges: Imports) -> list[str]:
    """Returns the imports that point down `LAYERS` or out of the package, as "a imports b"."""
    return [
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in others
        if place(name) and place(name) != place(other)
        and (other.startswith(STUDIES) or RANK.get(place(other), -1) >= RANK[place(name)])
    ]  # fmt: skip


def circles(edges: Imports) -> list[list[str]]:
    """Returns the groups of modules that import each other, be it by way of others."""
    reached = {name: _reached(name, edges) for name in edges}
    groups = {frozenset(o for o in reached[name] if name in reached.get(o, ())) for name in edges}
    return sorted(sorted(group) for group in groups if group)


def _reached(name: str, edges: Imports) -> set[str]:
    """Returns the modules that a module imports, and those that they import in turn."""
    seen, waiting = set(), list(edges[name])
    while waiting:
        other = waiting.pop()
        if other not in seen:
            seen.add(other)
            waiting += edges.get(other, ())
    return seen


def inside_circles(edges: Imports) -> list[str]:
    """Returns the imports of a module by another of the same circle, as "a imports b"."""
    return [
        f"{name} imports {other}"
        for group in circles(edges)
        for name in group
        for other in edges[name]
        if other in group
    ]


def functions(found: Modules) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yields every function and method with its module's name before its own."""
    for name, tree in found.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def length(node: ast.FunctionDef) -> int:
    """Returns the lines of a function, its docstring included."""
    return node.end_lineno - node.lineno + 1


def parameters(node: ast.FunctionDef) -> int:
    """Returns how many arguments a caller gives: without `self`, `cls` and those that a star collects."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(one.arg not in ("self", "cls") for one in given)


def at_top(root: pathlib.Path) -> int:
    """Returns the modules at the top of the package."""
    return sum(not path.name.startswith("__") for path in (root / "fer_jax").glob("*.py"))


def folders(root: pathlib.Path) -> dict[str, dict[str, int]]:
    """Returns files and lines of Python: at the top of fer_jax, in each of its folders, and in each other folder."""
    found: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"files": 0, "lines": 0})
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).parts
            name = "/".join(parts[:2]) if folder == "fer_jax" and len(parts) > 2 else folder
            found[name]["files"] += 1
            found[name]["lines"] += len(path.read_text().splitlines())
    return dict(found)


def measure(root: pathlib.Path, layered: bool) -> dict[str, Any]:
    """Returns the figures of one state of the code.

    Args:
      layered: whether its imports are held against `LAYERS`.
    """
    found = modules(root)
    edges = imports(found)
    longest_name, longest = max(functions(found), key=lambda one: length(one[1]))
    widest_name, widest = max(functions(found), key=lambda one: parameters(one[1]))
    return {
        "folders": folders(root),
        "modules_at_the_top": at_top(root),
        "longest_function": {"name": longest_name, "lines": length(longest)},
        "most_parameters": {"name": widest_name, "parameters": parameters(widest)},
        "upward_imports": upward(edges) if layered else inside_circles(edges),
        "cycles": circles(edges),
    }


def _at(commit: str, layered: bool) -> dict[str, Any]:
    """Returns the figures of a commit, which is named in full beside them."""
    with tempfile.TemporaryDirectory() as folder:
        name = record.unpack(commit, pathlib.Path(folder))
        return {"commit": name, **measure(pathlib.Path(folder), layered)}


def main() -> None:
    """Reads both commits, prints the table and writes the JSON."""
    parser = record.command(__doc__)
    parser.add_argument("--before", default="0450aeb", metavar="COMMIT", help="the code before (%(default)s)")
    parser.add_argument("--after", default="HEAD", metavar="COMMIT", help="the code after (%(default)s)")
    known = parser.parse_args()
    found = {"before": _at(known.before, layered=False), "after": _at(known.after, layered=True)}
    table = Table("", "before", "after")
    for row in documents.structure.rows(found):
        table.add_row(*row)
    Console().print(table)
    record.write(known.out, {**found, "environment": {"commit": found["after"]["commit"]}})


if __name__ == "__main__":
    main()
