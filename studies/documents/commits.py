"""Which commit measured each committed result, and how much of the code has changed since.

    python -m studies.documents.commits

A file that was measured before results held their commit counts as measured at the commit that last changed it, marked
"at most"; "+" marks a commit whose files were changed. Lines are those added to and deleted from fer_jax and configs
between that commit and HEAD, comments, docstrings and layout aside: 0 means that the same code would run.
"""

import argparse
import ast
import difflib
import functools
import json
import pathlib
import sys
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from studies import record

CODE = ("fer_jax", "configs")


class Measured(NamedTuple):
    """A committed result.

    commit: the first eight digits, with "+" where files were changed. known: whether the file itself has it.
    lines: changed in `CODE` since; None where the commit is in no history here.
    """

    name: str
    commit: str
    known: bool
    lines: int | None


def commits(found: dict[str, Any]) -> set[str]:
    """Returns the commits that a result says it was measured at; a sweep's cells and a study's parts have their own."""
    environments = [found.get("environment") or {}, *found.get("merged", {}).get("environments", [])]
    parts = [*found.get("modules", {}).values(), *found.get("environments", {}).values()]
    named = {one.get("commit") for one in (*environments, *parts) if isinstance(one, dict)}
    return {name for name in named if name}


def changed(commit: str, root: pathlib.Path) -> dict[str, int] | None:
    """Returns the lines of code that differ between a commit and HEAD by file of `CODE`, or None without the commit."""
    head = record.git("rev-parse", "HEAD", root=root).decode().strip()
    between = commit.removesuffix("+"), head
    try:
        names = record.git("diff", "--name-only", "--no-renames", *between, "--", *CODE, root=root).decode()
    except SystemExit:
        return None
    lines = {}
    for name in filter(lambda name: name.endswith(".py"), names.splitlines()):
        there, here = (_code(one, name, root) for one in between)
        lines[name] = sum(line[:2] in ("+ ", "- ") for line in difflib.ndiff(there, here))
    return {name: count for name, count in lines.items() if count}


@functools.cache
def _code(commit: str, name: str, root: pathlib.Path) -> list[str]:
    """The lines of a module without comments and docstrings, laid out in one way; none where it is not there."""
    try:
        tree = ast.parse(record.git("show", f"{commit}:{name}", root=root))
    except SystemExit:
        return []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).splitlines()


def measured(root: pathlib.Path = record.ROOT) -> list[Measured]:
    """Returns a row for each file of docs/results and each commit that it was measured at, the oldest code first."""
    rows, folder = [], root / "docs" / "results"
    for path in sorted(folder.rglob("*.json")):
        name = str(path.relative_to(folder).with_suffix(""))
        known = commits(json.loads(path.read_text()))
        latest = record.git("log", "-1", "--format=%H", "--", str(path), root=root).decode().strip()
        for one in known or {latest}:
            lines = changed(one, root)
            rows.append(Measured(name, _short(one), bool(known), None if lines is None else sum(lines.values())))
    return sorted(rows, key=lambda row: -(sys.maxsize if row.lines is None else row.lines))


def _short(commit: str) -> str:
    return commit[:8] + "+" * commit.endswith("+")


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    table = Table("result", "measured at", "lines of code changed since")
    for row in measured():
        lines = "not in this history" if row.lines is None else str(row.lines)
        table.add_row(row.name, row.commit if row.known else f"{row.commit} at most", lines)
    Console().print(table)


if __name__ == "__main__":
    main()
