"""Which commit measured each committed result, and how much of the code has changed since.

    python -m studies.documents.commits

A file that was measured before results held their commit counts as measured at the commit that last changed it, marked
"at most"; "+" marks a commit whose files were changed. Lines are those added to and deleted from fer_jax and configs
between that commit and HEAD, comments and docstrings among them: 0 means that the same code would run.
"""

import argparse
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
    parts = [part for part in found.get("modules", {}).values() if isinstance(part, dict)]
    named = {one.get("commit") for one in (*environments, *parts)}
    return {name for name in named if name}


def changed(commit: str, root: pathlib.Path) -> int | None:
    """Returns the lines of `CODE` that differ between a commit and HEAD, or None if the commit is not there."""
    try:
        rows = record.git("diff", "--numstat", commit.removesuffix("+"), "HEAD", "--", *CODE, root=root).splitlines()
    except SystemExit:
        return None
    return sum(int(number) for row in rows for number in row.split()[:2] if number.isdigit())


def measured(root: pathlib.Path = record.ROOT) -> list[Measured]:
    """Returns a row for each file of docs/results and each commit that it was measured at, the oldest code first."""
    rows, folder = [], root / "docs" / "results"
    for path in sorted(folder.rglob("*.json")):
        name = str(path.relative_to(folder).with_suffix(""))
        known = commits(json.loads(path.read_text()))
        latest = record.git("log", "-1", "--format=%H", "--", str(path), root=root).decode().strip()
        rows += [Measured(name, _short(one), bool(known), changed(one, root)) for one in known or {latest}]
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
