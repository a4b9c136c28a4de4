"""What a run's checkpoints hold beside results.json: the measurements of every step, and the memory's contents.

Checkpoints are only read, and without their arrays; a missing or unreadable part is None.
"""

import pathlib
from typing import Any

import numpy as np

from fer_jax.runs.checkpoints import Checkpoints
from fer_jax.runs.workdir import read as read_json


def split_name(method: str) -> tuple[str, str | None]:
    """Splits a method's name in results.json into the trained method and its further classifier, if any."""
    name, _, _ = method.partition(", ")
    name, _, classifier = name.partition(" (")
    return name, classifier.removesuffix(")") or None


def find(results: dict, workdirs: list[pathlib.Path], method: str, run: dict) -> pathlib.Path | None:
    """Finds the checkpoints that a run of results.json was made from, by its confusion matrix; None without them."""
    name, _ = split_name(method)
    for workdir in workdirs:
        folder = workdir / "checkpoints" / f"fold{run['fold']}" / name / f"order{run['order']}"
        if not folder.is_dir() or run.get("seed", _seed(workdir)) != _seed(workdir):
            continue
        measured = steps(folder)
        if measured and confusions(measured, method)[-1][1] == run["final_confusion"]:
            return folder
    return None


def _seed(workdir: pathlib.Path) -> Any:
    path = workdir / "config.json"
    return read_json(path).get("seed") if path.is_file() else None


def steps(folder: pathlib.Path) -> list[dict] | None:
    """Reads the measurements of every increment from the newest checkpoint of a method on an order."""
    with Checkpoints(folder) as checkpoints:
        numbers = checkpoints.steps()
        if not numbers:
            return None
        try:
            return checkpoints.glance(numbers[-1])[0]["steps"]
        except Exception:  # whatever a damaged file makes a reader raise
            return None


def confusions(measured: list[dict], method: str) -> list[tuple[int, list[list[int]]]]:
    """Returns (step, counts C × C) of every step that was run, the base task first."""
    classifier = split_name(method)[1] or next(iter(measured[0]["base_confusions"]))
    counted = [(0, measured[0]["base_confusions"][classifier])]
    return counted + [(one["increment"] + 1, one["confusions"][classifier]) for one in measured]


def memories(folder: pathlib.Path) -> dict[int, np.ndarray] | None:
    """Reads the images in the memory after every step, i32[C, m] by step, -1 where a slot is empty."""
    measured = steps(folder)
    if not measured or "memory" not in measured[0]:  # as earlier versions saved it
        return None
    return {one["increment"] + 1: np.asarray(one["memory"], np.int32) for one in measured}
