"""The tables of the documents, made from committed results so that the two never disagree.

    python -m studies.documents README.md docs/results.md docs/explanations.md docs/performance.md docs/faces.md \
        docs/units.md docs/architecture.md docs/method.md docs/related.md docs/deviations.md docs/faults.md

A document holds blocks between `<!-- name -->` and `<!-- /name -->`; `BLOCKS` says what makes each.
"""

import json
import pathlib
import re
from collections.abc import Callable

from fer_jax.runs.results import restated
from studies.documents import audit, data, learner, performance, related, structure
from studies.documents import results as tables
from studies.documents.markdown import markdown


def measured(part: Callable[[dict], performance.Table]) -> Callable[[dict], str]:
    """A block of docs/performance.md: the table of a part, what belongs to it, and where it was measured."""

    def block(found: dict) -> str:
        header, rows, said = part(found)
        return "\n\n".join(filter(None, [markdown(header, rows), f"{said} {performance.where(found)}.".strip()]))

    return block


def accelerator(found: dict) -> str:
    """What an accelerator measured, and which it was."""
    header, rows, said = performance.accelerator(found)
    return f"{markdown(header, rows)}\n\n{said}"


COMPARISONS = ("compare", "ablation", "digits_4+6x1", "digits_5x2", "fashion_mnist")
BLOCKS = {
    "quickstart": tables.quickstart,
    "identity_gap": tables.identity_gap,
    "imbalance": tables.imbalance,
    "transfer": tables.transfer,
    "best.short": learner.short,
    "best": learner.best,
    "memory": learner.memory,
    "parts": learner.parts,
    "bases": learner.bases,
    "objectives": learner.objectives,
    "teach": learner.teach,
    "pretrained": learner.pretrained,
    "explain": tables.explanations,
    **dict.fromkeys(COMPARISONS, tables.comparison),
    "compare.search": tables.search,
    "ablation.factors": tables.factors,
    "views": tables.comparison,
    "peer_avalanche": tables.peer_avalanche,
    "detectors": data.detectors,
    "prepare": data.prepare,
    "checkpoint_overhead": data.checkpoint_overhead,
    "units": data.units,
    "structure": structure.structure,
    "related": related.systems,
    "related.files": related.files,
    # What is behind the dot is a part of the file.
    **{f"bench.{part.__name__}": measured(part) for part in performance.BENCH},
    **{f"before_after.{part.__name__}": part for part in audit.PARTS},
    "mutation": audit.mutation,
    "walk": performance.walk,
    "peer_keras": measured(performance.peer),
    "profile": measured(performance.profile),
    "layers": measured(performance.layers),
    "side_by_side": measured(performance.side_by_side),
    **dict.fromkeys(("accelerator", "accelerator_forms"), accelerator),
}


def fill(text: str, folder: pathlib.Path) -> str:
    """The text with every block between `<!-- name -->` and `<!-- /name -->` made again from folder/name.json,
    or from all files of the folder folder/name; of a name with a dot what counts is before it."""
    for name, block in BLOCKS.items():
        if f"<!-- {name} -->" not in text:
            continue
        found = _found(folder, name.partition(".")[0])
        made = block(found) if found else "Not measured yet."
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
        text = re.sub(pattern, lambda m, made=made: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)
    return text


def _found(folder: pathlib.Path, name: str) -> dict:
    file = folder / f"{name}.json"
    if file.exists():
        return _read(file)
    return {path.stem: _read(path) for path in sorted((folder / name).glob("*.json"))}


def _read(file: pathlib.Path) -> dict:
    """Reads a file's JSON; results of runs get today's metrics and statistics."""
    found = json.loads(file.read_text())
    return restated(found) if "continual" in found else found
