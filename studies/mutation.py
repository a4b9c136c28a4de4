"""Do the tests notice when the code of losses, memory, metrics, protocol and training step is changed?

Command: python -m studies.mutation --out docs/results/mutation.json     (make mutation)
Result:  docs/results/mutation.json
Time:    an hour and a quarter on two cores

A mutant is the code with one small change, made by an operator of cosmic-ray: another arithmetic or comparison
operator, a number one larger or smaller, a negated condition, a missing minus. It is killed if a test fails, and
survives if none does. Each module's mutants are tried with its own tests (`MODULES`), on a copy of the commit HEAD, in
a process of their own each (`studies/materials/forked_tests.py`). A test that takes ten times as long as without the
change kills, too.

Every mutant is tried. Many tests were written against survivors: the score says how well these modules are held, not
how well the tests of another one would be. Not mutated are annotations, docstrings and what `raise` says. An operator
has the replacements of `OPERATORS`: cosmic-ray's full list gives a sum eleven others, most of which are no code that
runs.

Several modules are tried at once, each in a copy of its own. The file is written after each module. With --only it
keeps the rows of the others, with the reasons as they are listed now; each row has its commit.

Survivors that change nothing that could be observed are listed with the reason in
`studies/materials/equivalent_mutants.json`. They count as survivors in the score; `unexplained` counts the others.
"""

import ast
import concurrent.futures
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from fer_jax.runs.progress import log, start_logging
from studies import record

MATERIALS = pathlib.Path(__file__).parent / "materials"
EXAMPLES = "tests/test_doctests.py::test_examples_give_what_they_say"
# By module of fer_jax: the tests that hold it, those that fail soonest first.
MODULES = {
    "losses": (f"{EXAMPLES}[fer_jax.losses]", "tests/test_losses.py"),
    "replay": (f"{EXAMPLES}[fer_jax.replay]", "tests/test_replay.py"),
    "metrics": (f"{EXAMPLES}[fer_jax.metrics]", "tests/test_metrics.py"),
    "statistics": (f"{EXAMPLES}[fer_jax.statistics]", "tests/test_statistics.py"),
    "corrections": ("tests/test_corrections.py",),
    "classifiers/__init__": ("tests/classifiers/test_classifiers.py",),
    **dict.fromkeys(
        ("classifiers/covariances", "classifiers/discriminants", "classifiers/random_features"),
        ("tests/classifiers/test_discriminants.py", "tests/classifiers/test_classifiers.py"),
    ),
    "classifiers/mixtures": ("tests/classifiers/test_mixtures.py",),
    "classifiers/prototypes": ("tests/classifiers/test_classifiers.py",),
    "protocol": (f"{EXAMPLES}[fer_jax.protocol]", "tests/test_protocol.py"),
    "training/step": ("tests/training/test_step.py",),
}
# cosmic-ray's names: binary operators have one replacement each, comparisons the next one and the opposite.
BINARY = "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitAnd_BitOr BitOr_BitAnd BitXor_BitAnd"
COMPARISON = "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is"
OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in BINARY.split()),
    *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISON.split()),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Invert", "Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("NumberReplacer", "ZeroIterationForLoop", "RemoveDecorator", "ReplaceBreakWithContinue"),
)

Span = tuple[tuple[int, int], tuple[int, int]]


class Mutant(NamedTuple):
    """A changed module: where, the line before and after, and the whole code."""

    line: int
    before: str
    after: str
    code: str


def unmutated(code: str) -> list[Span]:
    """Returns the parts of a module that stay as they are, from (line, column) to (line, column)."""
    spans = []
    for node in ast.walk(ast.parse(code)):
        left_out = [node] if isinstance(node, ast.Raise) else []
        left_out += [getattr(node, name, None) for name in ("annotation", "returns")]
        spans += [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in left_out if n is not None]
    return spans


def mutants(code: str) -> Iterator[Mutant]:
    """Yields every mutant of a module's code."""
    from cosmic_ray import ast as parsed
    from cosmic_ray import mutating, plugins

    spans, lines = unmutated(code), code.splitlines()
    for name in OPERATORS:
        operator = plugins.get_operator(f"core/{name}")()
        positions = [p for node in parsed.ast_nodes(parsed.get_ast(code)) for p in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(positions):
            if any(first <= start and end <= last for first, last in spans):
                continue
            changed = mutating.mutate_code(code, operator, occurrence)
            after = next((new for old, new in zip(lines, changed.splitlines(), strict=False) if old != new), "")
            yield Mutant(start[0], lines[start[0] - 1].strip(), after.strip(), changed)


class Tests:
    """The process that runs tests of a folder, a child for each call."""

    def __init__(self, folder: pathlib.Path, cpu_seconds: int):
        environment = {
            **os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }  # fmt: skip
        command = [sys.executable, str(MATERIALS / "forked_tests.py"), str(cpu_seconds)]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Tests":
        return self

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.wait()

    def __call__(self, tests: Sequence[str]) -> dict[str, Any]:
        """Returns pytest's exit code and the processor seconds that the tests took."""
        print(json.dumps([*tests, "-m", "not slow"]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"mutation: the process of the tests ended with exit code {self._process.wait()}")
        return json.loads(line)


def measure(folder: pathlib.Path, module: str) -> dict[str, Any]:
    """Returns one module's row: mutants, killed, survived, score and the survivors.

    Args:
      folder: a copy of the repository, whose file is changed and put back.
    """
    path, tests = folder / "fer_jax" / f"{module}.py", MODULES[module]
    code = path.read_text()
    found = list(mutants(code))
    with Tests(folder, 600) as run:
        run(tests)  # fills the cache of compiled programs
        usual = run(tests)
    if usual["code"]:
        raise SystemExit(f"mutation: the tests of {module} fail without a change (exit code {usual['code']})")
    survivors, timeouts = [], 0
    with Tests(folder, 10 + round(10 * usual["seconds"])) as run:
        for mutant in found:
            path.write_text(mutant.code)
            answer = run(tests)
            timeouts += answer["code"] < 0
            if not answer["code"]:
                survivors.append({"line": mutant.line, "before": mutant.before, "after": mutant.after})
                log.info("%s:%d survived: %s -> %s", module, mutant.line, mutant.before, mutant.after)
        path.write_text(code)
    killed = len(found) - len(survivors)
    return {
        "tests": tests, "mutants": len(found), "killed": killed, "timeouts": timeouts, "survived": len(survivors),
        "score": killed / len(found), "survivors": survivors,
    }  # fmt: skip


def try_module(name: str) -> dict[str, Any]:
    """Returns the row of a module of the commit HEAD, with the commit and the seconds that it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "copy"
        commit = record.unpack("HEAD", copy)
        row = measure(copy, name)
    log.info("%s: %d of %d killed", name, row["killed"], row["mutants"])
    return {"commit": commit, "seconds": round(time.monotonic() - began), **row}


def equivalent() -> list[dict[str, str]]:
    """Returns the listed mutants: `module`, `before`, `after` and `why`."""
    return json.loads((MATERIALS / "equivalent_mutants.json").read_text())


def explain(module: str, row: dict[str, Any]) -> dict[str, Any]:
    """Adds the listed reasons to the survivors of a module, and how many have none."""
    listed = {(e["before"], e["after"]): e["why"] for e in equivalent() if e["module"] == module}
    survivors = [{**s, "why": listed.get((s["before"], s["after"]))} for s in row["survivors"]]
    return {**row, "unexplained": sum(s["why"] is None for s in survivors), "survivors": survivors}


def main() -> None:
    """Tries the mutants of every module, prints the table and writes the JSON."""
    parser = record.command(__doc__)
    parser.add_argument(
        "--only", default="", metavar="MODULES", help="some of them, with commas; FILE keeps the others"
    )
    parser.add_argument("--jobs", type=record.at_least(1), default=os.cpu_count(), help="modules at once (%(default)s)")
    known = parser.parse_args()
    start_logging()
    names = known.only.split(",") if known.only else list(MODULES)
    rows = json.loads(known.out.read_text())["modules"] if known.only and known.out.exists() else {}
    load = record.load()
    tool = f"cosmic-ray {importlib.metadata.version('cosmic-ray')}"
    pool = concurrent.futures.ThreadPoolExecutor(known.jobs)
    try:
        tried = {pool.submit(try_module, name): name for name in names}
        for done in concurrent.futures.as_completed(tried):
            rows[tried[done]] = done.result()
            ordered = {one: explain(one, rows[one]) for one in MODULES if one in rows}
            found = {"tool": tool, "operators": OPERATORS, "modules": ordered,
                     "environment": record.environment("auto", load)}  # fmt: skip
            record.write(known.out, found)
    finally:
        pool.shutdown(cancel_futures=True)
    table = Table("module", "mutants", "killed", "survived", "unexplained", "score")
    for name, row in ordered.items():
        table.add_row(name, *(str(row[key]) for key in ("mutants", "killed", "survived", "unexplained")),
                      f"{row['score']:.3f}")  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
