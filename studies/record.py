"""What the studies share: the options of their commands, the machine they ran on, and the JSON they write."""

import argparse
import io
import os
import pathlib
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from fer_jax.models import precision
from fer_jax.runs import environment as environment_module
from fer_jax.runs import results

ROOT = pathlib.Path(__file__).parents[1]


def command(doc: str) -> argparse.ArgumentParser:
    """Returns the parser of a study's command: described by its docstring's first line, with the option --out."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE", help="the JSON to write")
    return parser


def at_least(least: float) -> Callable[[str], float]:
    """Returns the type of an option that takes numbers of the type of `least`, from it on."""

    def number(text: str) -> float:
        value = type(least)(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"it is {text}; it may be from {least}")
        return value

    number.__name__ = type(least).__name__  # argparse names it where a text is no number
    return number


def quickstart(**changes: Any) -> ml_collections.ConfigDict:
    """Returns the config of configs/quickstart.py with changes, `__` for the dot of a key."""
    config = runpy.run_path(str(ROOT / "configs" / "quickstart.py"))["get_config"]()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def load() -> float:
    """Returns the load of other work on this machine; ask before the study begins."""
    return round(os.getloadavg()[0], 2)


def machine(load_before: float) -> dict[str, Any]:
    """Returns what a measured time depends on beside the device."""
    return {"cores": len(os.sched_getaffinity(0)), "load_before": load_before}


def environment(asked: str, load_before: float) -> dict[str, Any]:
    """Returns versions, device, precision and machine; `asked` is the config's model.precision."""
    return {**results.environment(precision.used(asked)), **machine(load_before)}


def unpack(commit: str, folder: pathlib.Path) -> str:
    """Puts the files of a commit into a folder; returns the commit's full name."""
    name = _git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(_git("archive", name))) as archive:
        archive.extractall(folder, filter="data")
    return name


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}; the study needs the repository's history")
    return done.stdout


def write(path: pathlib.Path, found: Mapping[str, Any]) -> None:
    """Writes a study's JSON with the command that made it, and the folder for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write_json(path, {"command": environment_module.command(), **found})


def words(estimate: Mapping[str, Any]) -> str:
    """Returns an estimate in words: mean, interval, n."""
    e = estimate
    return f"{e['mean']:.3f} [{e['low']:.3f}, {e['high']:.3f}], n = {e['n']}"
