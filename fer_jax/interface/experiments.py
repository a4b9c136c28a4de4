"""Runs experiments as the commands `train` and `sweep` do; both call the functions here."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections

from fer_jax import experiment
from fer_jax.config.file import read_config
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.load import load
from fer_jax.errors import UserError
from fer_jax.inference import calibration, trained
from fer_jax.interface.run import Run, load_run
from fer_jax.report import page
from fer_jax.runs import mirror, remote
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.interruption import Interruption
from fer_jax.runs.trackers import DEFAULT, Tracker
from fer_jax.sweeps import axes, cells

Path = str | pathlib.Path


def load_config(name: Path, overrides: Mapping[str, Any] | None = None) -> ml_collections.ConfigDict:
    """Loads a config file and applies overrides, as `fer-jax train --config NAME --config.key=value` does.

    Args:
      name: the path of a Python file with `get_config()`, which is executed, or `fer_jax:NAME` for a config that ships
        with the package.
      overrides: values by dotted key.

    Raises:
      UserError: no such file, an unknown key, or a value of another type.

    >>> config = load_config("fer_jax:smoke", {"seed": 3, "few_shot.shots": (1, 5)})
    >>> config.seed, config.few_shot.shots
    (3, (1, 5))
    """
    return read_config([f"--config={name}", *(f"--config.{key}={value}" for key, value in (overrides or {}).items())])


def load_data(config: ml_collections.ConfigDict) -> FaceArrays:
    """Loads the data set of a config, and prepares it first if needed.

    Returns:
      images u8[N, S, S, 3], labels i32[N], subjects i32[N] and class names, as `FaceArrays`.

    Raises:
      UserError: files that are missing or cannot be read.
    """
    return load(config.data)


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    shared: Path | None = None,
    save_every: float = 60.0,
    tracker: str | Tracker = DEFAULT,
) -> Run:
    """Runs or resumes an experiment, and writes its report, as `fer-jax train` does.

    The same call again goes on where the last one stopped, and a finished run is only read.

    Args:
      config: as `load_config` returns it.
      workdir: the folder of the run's checkpoints, results and report; it may be gs://BUCKET/NAME or s3://BUCKET/NAME.
      shared: a folder of base models that several runs share; the results are the same without it.
      save_every: at most so many seconds between two saves inside a fit.
      tracker: where scalars and results go: tensorboard, mlflow, wandb, a dotted path or a `trackers.Tracker`.

    Raises:
      ConfigError: a config that cannot be run, or a workdir of another config.
      UserError, FloatingPointError, DeviceMemoryError: as `experiment.train`.
    """
    shared = None if shared is None else pathlib.Path(shared)
    with mirror.working(workdir) as (folder, check):
        run_and_report(config, folder, None, Saving(save_every, Interruption(check)), shared, tracker)
    return load_run(workdir)


def sweep(
    config: ml_collections.ConfigDict,
    workdir: Path,
    over: Mapping[str, Sequence[Any]],
    few_shot: bool = False,
    save_every: float = 60.0,
    tracker: str | Tracker = DEFAULT,
) -> Run:
    """Runs a config for every combination of the axes' values, one after another, and merges the results.

    `fer-jax sweep` does the same with several processes. Both go on where the other one stopped.

    Args:
      over: the values of each axis; an axis is `method`, `order`, `fold`, `seed` or a key of the config, such as
        `{"seed": (0, 1), "continual.learning_rate": (1e-3, 2e-3)}`.
      few_shot: runs the few-shot phase too, with the first method and order of each.
      save_every, tracker: as in `train`.

    Raises:
      UserError: an axis that does not exist, or a folder of another sweep; nothing is written then.
      FloatingPointError, DeviceMemoryError: a run failed; the same call again goes on with it.
    """
    if remote.is_remote(workdir):
        raise UserError(f"workdir is {workdir}; a sweep's may be a folder, and that of a single run a store's address")
    workdir = pathlib.Path(workdir)
    texts = [axes.as_text(name, values) for name, values in over.items()]
    whole = axes.Sweep(config, tuple(axes.read_axes(texts, config)), few_shot)
    cells.claim(workdir, whole, write=True)
    for number in cells.unfinished(workdir, whole):
        cells.run(whole, number, workdir, None, Saving(save_every), finish, tracker)
    page.write_merged([workdir], workdir)
    return load_run(workdir)


def run_and_report(config, workdir: pathlib.Path, console=None, saving=None, shared=None, tracker=DEFAULT) -> dict:
    """Runs `experiment.train` and `finish`; returns the results."""
    return experiment.train(config, workdir, console, saving, shared, finish, tracker)


def finish(workdir: pathlib.Path, data: FaceArrays | None = None) -> None:
    """Writes the report of a workdir that has results, and fits the temperature of the model that `predict` uses.

    What is there of the same results is retained.

    Args:
      data: the run's data set if it is at hand; None reads it.
    """
    if jax.process_count() > 1:
        page.write(workdir, data)
        return  # all processes read a model together, and only the first is here
    page.refresh(workdir, data)
    with contextlib.suppress(UserError):  # a method without a network of its own, or no increments
        calibration.of(trained.restore(workdir, data=data), data)
