"""The tables that docs/related.md shows of the studies of related systems."""

import ast
import pathlib
import re

from fer_jax.runs.names import percent
from studies.documents.markdown import markdown, words

FOLDER = pathlib.Path(__file__).parents[1] / "related"


def systems(found: dict[str, dict]) -> str:
    """Each system's claim, measurement, control and verdict; then the figures behind them and a picture of each."""
    header = ["system", "claim", "measurement", "control", "verdict"]
    table = words(header, [_row(one) for one in found.values()])
    return "\n\n".join([table, "## Figures and pictures", *map(_figures, found, found.values())])


def _row(one: dict) -> list[str]:
    paper = f"[{one['paper']}](https://arxiv.org/abs/{one['paper']})"
    judged = ["<br>".join(_judged(each, one["percent"]) for each in one[kind]) for kind in ("claims", "controls")]
    return [f"{one['system']} ({paper})", one["claim"], *judged, f"**{one['verdict']}**"]


def _figures(name: str, one: dict) -> str:
    shown = sorted(one["shown"].items(), key=lambda row: _by_number(row[0]))
    rows = [[text, _number(one["estimates"][key], one["percent"])] for key, text in shown]
    rows += [[f"exact ceiling, {best}", f"{100 * value:.1f}"] for best, value in one["ceilings"].items()]
    picture = f"{one['picture']}\n\n![{one['system']}](results/related/{name}.png)" if "picture" in one else ""
    header = [f"n = {one['settings']['seeds']} seeds", "%" if one["percent"] else "mean"]
    return "\n\n".join(filter(None, [f"### {one['system']}", markdown(header, rows), picture]))


def _by_number(text: str) -> list[str | int]:
    """Returns a key that sorts "4" before "16"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _judged(one: dict, of_shares: bool) -> str:
    (side, bound), scale = next((key, one[key]) for key in ("above", "below") if key in one), 100 if of_shares else 1
    sign = {"above": ">", "below": "<"}[side]
    words, value = one["words"].replace(" less ", " minus "), _number(one["estimate"], of_shares)
    return f"{words} {value} {sign} {scale * bound:g}: {one['verdict']}"


def _number(estimate: dict, of_shares: bool) -> str:
    if of_shares:
        return percent(estimate).partition(" (")[0]
    return "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**estimate)


def files(found: dict[str, dict]) -> str:
    """Each study's lines, and what of the package it uses beside what all of them share."""
    del found
    shared = ["common", "learning"]
    names = [*shared, *sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem not in shared)]
    rows = []
    for name in names:
        text = (FOLDER / f"{name}.py").read_text()
        used = {
            node.module if node.module != "fer_jax" else f"fer_jax.{alias.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and re.match(r"fer_jax\b", node.module)
            for alias in node.names
        }
        parts = ", ".join(f"`{one.removeprefix('fer_jax.')}`" for one in sorted(used))
        rows.append([f"`studies/related/{name}.py`", str(len(text.splitlines())), parts])
    return markdown(["file", "lines", "uses of `fer_jax`"], rows, words_last=True)
