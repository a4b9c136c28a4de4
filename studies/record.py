"""What the studies share: the options of their commands, the machine they ran on, the JSON they write, and peers."""

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
import runpy
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import ml_collections

from fer_jax.errors import UserError, exit_code
from fer_jax.models import precision
from fer_jax.runs import environment as environment_module
from fer_jax.runs import results

ROOT = pathlib.Path(__file__).parents[1]
# Of studies whose seeds have people of their own; development used those before.
FIRST_SEED = 10


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


def setting(text: str) -> tuple[str, Any]:
    """Reads an option KEY=JSON; argparse ends the command in one line where it is something else."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it is {text}; it may be KEY=JSON, such as data.n_subjects=30") from None


@contextlib.contextmanager
def in_one_line(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Ends the command by a user's mistake with its one line and exit code 2."""
    try:
        yield
    except UserError as error:
        parser.exit(exit_code(error), f"{error}\n")


def quickstart(**changes: Any) -> ml_collections.ConfigDict:
    """Returns `faces` of configs/quickstart.py, which studies share, with changes, `__` for the dot of a key."""
    config = runpy.run_path(str(ROOT / "configs" / "quickstart.py"))["faces"]()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def load() -> float:
    """Returns the load of other work on this machine; ask before the study begins, which notes the commit, too."""
    environment_module.commit()
    return round(os.getloadavg()[0], 2)


def machine(load_before: float) -> dict[str, Any]:
    """Returns what a measured time depends on beside the device."""
    return {"cores": environment_module.cores(), "load_before": load_before}


def environment(asked: str, load_before: float) -> dict[str, Any]:
    """Returns versions, device, precision and machine; `asked` is the config's model.precision."""
    return {**results.environment(precision.used(asked)), **machine(load_before)}


def own_folder(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder in `workdir` of this code on this kind of processor; a study goes on only with what they left.

    Its name is the commit and a digest of the processor, JAX's version and the number of cores.
    """
    machine = environment_module.processor(), jax.__version__, environment_module.cores()
    digest = hashlib.sha256(repr(machine).encode()).hexdigest()[:8]
    return workdir / f"{(environment_module.commit() or 'no commit')[:12]}-{digest}"


def seconds(*arguments: str | pathlib.Path, code: int = 0) -> float:
    """Of one `fer-jax` command, which must end with this exit code."""
    command = [sys.executable, "-m", "fer_jax.cli.main", *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    took = time.perf_counter() - began
    if done.returncode != code:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    return took


def summary(values: list[float]) -> dict:
    """The median, and what it is of."""
    return {"median": statistics.median(values), "runs": values}


def unpack(commit: str, folder: pathlib.Path) -> str:
    """Puts the files of a commit into a folder; returns the commit's full name."""
    name = git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(git("archive", name))) as archive:
        archive.extractall(folder, filter="data")
    return name


def git(*arguments: str, root: pathlib.Path = ROOT) -> bytes:
    """Returns what git says of a repository; ends the program in one line where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}; the study needs the repository's history")
    return done.stdout


def write(path: pathlib.Path, found: Mapping[str, Any]) -> None:
    """Writes a study's JSON with the command that made it, and the folder for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write_json(path, {"command": environment_module.command(), **found})


def words(estimate: Mapping[str, Any]) -> str:
    """Returns an estimate in words: mean, interval if there is one, n."""
    e = estimate
    unknown = e["low"] is None or math.isnan(e["low"])  # of a single value
    interval = "" if unknown else f" [{e['low']:.3f}, {e['high']:.3f}]"
    return f"{e['mean']:.3f}{interval}, n = {e['n']}"


class Peer:
    """A script under the Python of another environment, which answers a line with a line of JSON, one at a time.

    told: what it says of itself at its start.
    """

    def __init__(self, python: str, script: pathlib.Path, options: list[str], needs: str, made_by: str):
        """Starts the script.

        needs: a module that the environment must have. made_by: the command that makes the environment.

        Raises:
          UserError: there is no such Python, it does not have the module, or the script ends at once.
        """
        self._script = script.name
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needs!r}) is None)"
        try:
            there = subprocess.run([python, "-c", find], capture_output=True).returncode == 0
        except OSError as error:
            raise UserError(f"--python {python}: {error.strerror}; `{made_by}` makes an environment for it") from None
        if not there:
            raise UserError(f"--python {python}: it has no {needs}; `{made_by}` makes an environment that has")
        # Warnings in great numbers go there; what counts is the last line before an end.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(script), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )
        self.told = self._answer()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def ask(self, line: str) -> Any:
        """Sends a line and waits for the answer."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `_answer` tells why
            print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._said.seek(0)
        last = (self._said.read().strip() or "it said nothing").splitlines()[-1]
        raise UserError(f"{self._script} ended with exit code {code}: {last}")
