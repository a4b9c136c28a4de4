"""The tables that docs/related.md shows of the studies of related systems."""

import ast
import pathlib
import re

from fer_jax.runs.names import percent
from studies.documents.markdown import markdown, words

FOLDER = pathlib.Path(__file__).parents[1] / "related"


def systems(found: dict[str, dict]) -> str:
    """Each system's claim, measurement, control and verdict, then its picture."""
    header = ["system", "claim", "measurement", "control", "verdict"]
    rows = [_row(one) for one in found.values()]
    pictures = [
        f"**{one['system']}.** {one['picture']}\n\n![{one['system']}](results/related/{name}.png)"
        for name, one in found.items()
        if "picture" in one
    ]
    return "\n\n".join([words(header, rows), *pictures])


def _row(one: dict) -> list[str]:
    paper = f"[{one['paper']}](https://arxiv.org/abs/{one['paper']})"
    shown = [f"{text} {_number(one['estimates'][key], one['percent'])}" for key, text in one["shown"].items()]
    best = [f"ceiling {name} {100 * value:.1f}" for name, value in one["ceilings"].items()]
    seeds = f"{one['settings']['seeds']} seeds"
    return [
        f"{one['system']} ({paper})",
        "<br>".join([f"{one['claim']}:", *(_judged(claim, one["percent"]) for claim in one["claims"])]),
        "<br>".join([*shown, *best, seeds]),
        "<br>".join(_judged(control, one["percent"]) for control in one["controls"]),
        f"**{one['verdict']}**",
    ]


def _judged(one: dict, of_shares: bool) -> str:
    (side, bound), scale = next((key, one[key]) for key in ("above", "below") if key in one), 100 if of_shares else 1
    sign = {"above": ">", "below": "<"}[side]
    return f"{one['words']} {_number(one['estimate'], of_shares)} {sign} {scale * bound:g}: {one['verdict']}"


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
