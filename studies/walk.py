"""Does every command of the README and the tutorial work for a newcomer, and how long does each take?

Command: python -m studies.walk --out docs/results/walk.json     (make walk)
Result:  docs/results/walk.json
Time:    ten minutes on two cores

A newcomer clones the repository and follows the pages from top to bottom in one shell. This study does the same in a
clone of the last commit with caches of its own, so `make demo` installs, renders, compiles and trains from nothing.
A Python block that begins with `# NAME.py` becomes that file, and others are run. Each block's output, seconds and exit
code are noted. What `make demo` learned is compared with docs/results/quickstart.json.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np

from fer_jax.runs.results import by_method, restated
from studies import record

PAGES = ("README.md", "docs/tutorial.md")
OUTPUT_LINES = 12
OURS = {"PYTHONPATH", "VIRTUAL_ENV", "XLA_FLAGS"}
OUR_KINDS = ("JAX_", "FER_JAX_", "MAKE", "MFLAGS")  # make tells its variables and flags to a make within


class Block(NamedTuple):
    """A fenced block of a page: under which heading it stands, its language (none: shell) and its text."""

    page: str
    heading: str
    language: str
    text: str


def blocks(page: str, text: str) -> list[Block]:
    """Returns a page's fenced blocks in their order."""
    found, heading = [], ""
    for part in re.finditer(r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", text, re.M | re.S):
        if part["heading"]:
            heading = part["heading"]
        else:
            found.append(Block(page, heading, part["language"], part["text"]))
    return found


def script(block: Block) -> str:
    """Returns the shell commands that do what a reader does with a block."""
    if block.language in ("", "sh", "bash"):
        return block.text
    if block.language != "python":
        raise ValueError(f"{block.page}, {block.heading}: a block of {block.language}; it may be shell or python")
    named = re.match(r"# (\S+\.py)\n", block.text)
    where = f"cat > {named[1]}" if named else "python -"
    return f"{where} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"


class Shell:
    """A shell that stays open from block to block, as a newcomer's does: a directory, an environment."""

    def __init__(self, folder: pathlib.Path, environment: dict[str, str]):
        self._folder = folder
        self._process = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._process.stdin.write("trap 'failed=$?' ERR\n")

    def run(self, text: str) -> tuple[int, float, list[str]]:
        """Returns a block's exit code (of its last command that fails, or 0), its seconds and its lines of output."""
        began, lines, end = time.perf_counter(), [], f"end of block {time.time_ns()}"
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(text)
            file.flush()
            self._process.stdin.write(f"failed=0; source {file.name} </dev/null; echo; echo {end} $failed\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line.startswith(end):
                    return int(line.split()[-1]), time.perf_counter() - began, [one for one in lines if one]
                lines.append(_public(line.rstrip(), self._folder))
        raise RuntimeError(f"the shell ended in this block:\n{text}")

    def close(self) -> None:
        """Ends the shell."""
        self._process.communicate()


def _public(line: str, folder: pathlib.Path) -> str:
    """Returns a line of output without the places of this machine."""
    return re.sub(r"\b[a-z]+://\S+", "URL", line.replace(str(folder), ".").replace(str(folder.parent), ".."))


def newcomer(folder: pathlib.Path) -> dict[str, str]:
    """Returns the environment of a newcomer: nothing of ours, and nothing compiled or rendered yet."""
    kept = {key: value for key, value in os.environ.items() if key not in OURS and not key.startswith(OUR_KINDS)}
    ours = f"{os.environ.get('VIRTUAL_ENV')}/bin"
    path = os.pathsep.join(one for one in kept.get("PATH", os.defpath).split(os.pathsep) if one != ours)
    return {**kept, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "TFDS_DATA_DIR": str(folder / "data")}


def walk(clone: pathlib.Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Follows the pages in one shell; returns a row for each block."""
    shell, rows = Shell(clone, environment), []
    for page in PAGES:
        for block in blocks(page, (clone / page).read_text()):
            code, seconds, output = shell.run(script(block))
            rows.append({
                "page": page, "heading": block.heading, "block": block.text, "exit_code": code,
                "seconds": round(seconds, 1), "output": output[-OUTPUT_LINES:],
            })  # fmt: skip
            print(f"{page}, {block.heading}: exit code {code}, {seconds:.1f} s", flush=True)
    shell.close()
    return rows


def accuracies(found: dict, committed: dict) -> list[dict[str, Any]]:
    """Returns each method's final accuracy in the demo, and in the committed quickstart with its range over orders."""
    rows = []
    for method, entry in by_method(committed).items():
        values, here = ([run["metrics"]["final_accuracy"] for run in one["runs"]]
                        for one in (entry, by_method(found)[method]))  # fmt: skip
        rows.append({"method": method, "here": float(np.mean(here)), "committed": float(np.mean(values)),
                     "least": min(values), "most": max(values)})  # fmt: skip
    return rows


def main() -> None:
    """Walks, writes JSON to `--out`, and tells; ends with exit code 1 where a block fails."""
    parser = record.command(__doc__)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    a, load = parser.parse_args(), record.load()
    with tempfile.TemporaryDirectory() as made:
        clone = pathlib.Path(made) / "fer_jax"
        subprocess.run(["git", "clone", "--quiet", str(record.ROOT), str(clone)], check=True)
        began = time.time()
        rows = walk(clone, newcomer(pathlib.Path(made)))
        installation = (clone / ".venv" / ".installed").stat().st_mtime - began
        results = clone / "runs" / "quickstart" / "results.json"
        demo = restated(json.loads(results.read_text()))
    quickstart = restated(json.loads((record.ROOT / "docs" / "results" / "quickstart.json").read_text()))
    total = rows[0]["seconds"]
    times = {"installation": round(installation, 1), "run": round(total - installation, 1), "total": total}
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found = {"demo_seconds": times, "peak_bytes": peak, "accuracies": accuracies(demo, quickstart), "blocks": rows}
    record.write(a.out, {**found, "environment": record.environment("float32", load)})
    print(f"make demo: {times}, peak memory of a process {peak / 2**20:.0f} MiB")
    if failed := [f"{row['page']}, {row['heading']}: exit code {row['exit_code']}" for row in rows if row["exit_code"]]:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
