"""Trackers: where a run's scalars and results go, beside its workdir. TensorBoard's event file is the default.

A tracker is any object with the three methods of `Tracker`. A user's own is named by the dotted path of what makes it.
"""

import contextlib
import hashlib
import pathlib
import re
import time
from typing import Any, Protocol

from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from fer_jax.config import dotted
from fer_jax.errors import UserError, first_line, import_extra
from fer_jax.runs.progress import log

DEFAULT = "tensorboard"


class Tracker(Protocol):
    """What a tracker does. The first process of a run calls it, from one thread."""

    def begin(self, workdir: pathlib.Path, config: dict[str, Any]) -> None:
        """Starts tracking a run, or goes on with it if the workdir is one that was tracked before.

        Args:
          config: the resolved config's values by dotted key.
        """

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Records values by name, such as `kd_psmr/fold0/order0/loss`, at an epoch or increment from 0.

        An epoch that a resumed run repeats comes again.
        """

    def end(self, results: dict[str, Any] | None) -> None:
        """Ends tracking; the results are those of results.json, None if the run did not finish."""


class TensorBoard:
    """Writes TensorBoard's event file to `tensorboard/` of the workdir.

    It writes values as they come. tensorboardX's own writer is a thread that dies of a full disk, and what is given to
    it then waits for ever.
    """

    _flush_every = 20.0  # seconds

    def begin(self, workdir: pathlib.Path, config: dict[str, Any]) -> None:
        """Opens the event file."""
        folder = workdir / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = event_file_writer.EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes the values, and flushes the file now and then."""
        for name, value in values.items():
            self._file.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        if time.monotonic() - self._flushed >= self._flush_every:
            self._file.flush()
            self._flushed = time.monotonic()

    def end(self, results: dict[str, Any] | None) -> None:
        """Closes the event file."""
        self._file.close()


class MLflow:
    """Sends a run to MLflow, where its own environment variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME).

    `mlflow_run.txt` in the workdir has the id of MLflow's run, with which a resumed run goes on.
    """

    _most = 100  # parameters in a request

    def __init__(self):
        self._mlflow = import_extra("mlflow", "mlflow", "the tracker mlflow needs mlflow")

    def begin(self, workdir: pathlib.Path, config: dict[str, Any]) -> None:
        """Starts a run with the config as its parameters, or goes on with the workdir's."""
        self._workdir, noted = workdir, workdir / "mlflow_run.txt"
        if noted.exists():
            self._mlflow.start_run(run_id=noted.read_text().strip())
            return
        noted.write_text(self._mlflow.start_run(run_name=workdir.name).info.run_id + "\n")
        keys = list(config)
        for at in range(0, len(keys), self._most):
            self._mlflow.log_params({key: config[key] for key in keys[at : at + self._most]})

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Logs metrics; a character that MLflow refuses in a name becomes an underscore."""
        self._mlflow.log_metrics({re.sub(r"[^\w\-. :/]", "_", name): value for name, value in values.items()}, step)

    def end(self, results: dict[str, Any] | None) -> None:
        """Logs the mean of every metric and results.json, and ends the run."""
        if results is not None:
            self.scalars(summary(results), 0)
            self._mlflow.log_artifact(str(self._workdir / "results.json"))
        self._mlflow.end_run("FAILED" if results is None else "FINISHED")


class WeightsAndBiases:
    """Sends a run to Weights & Biases, where its own environment variables say (WANDB_PROJECT, WANDB_MODE).

    The run's id follows from the workdir, so that a resumed run goes on with it.
    """

    def __init__(self):
        self._wandb = import_extra("wandb", "wandb", "the tracker wandb needs wandb")

    def begin(self, workdir: pathlib.Path, config: dict[str, Any]) -> None:
        """Starts a run with the config, or goes on with the workdir's."""
        name = hashlib.sha256(str(workdir.resolve()).encode()).hexdigest()[:16]
        self._run = self._wandb.init(
            id=name, name=workdir.name, resume="allow", config=config, dir=str(workdir), reinit="create_new"
        )
        # Steps begin again with every fit, which W&B's own counter may not.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Logs the values with their step."""
        self._run.log({**values, "step": step})

    def end(self, results: dict[str, Any] | None) -> None:
        """Puts the mean of every metric into the run's summary, and ends the run."""
        if results is not None:
            self._run.summary.update(summary(results))
        self._run.finish(exit_code=int(results is None))


TRACKERS = {DEFAULT: TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases}


def summary(results: dict[str, Any]) -> dict[str, float]:
    """Returns the mean of every metric of every method, such as `kd_psmr/final_accuracy`.

    >>> summary({"continual": {"er": {"metrics": {"final_accuracy": {"mean": 0.5, "n": 3}}}}})
    {'er/final_accuracy': 0.5}
    """
    return {
        f"{method}/{metric}": estimate["mean"]
        for method, entry in results["continual"].items()
        for metric, estimate in entry["metrics"].items()
    }


def named(name: str) -> Tracker:
    """Returns a new tracker by its name, or by the dotted path of a class or function that makes one.

    Raises:
      UserError: there is none, its package is missing, it cannot be made, or it lacks one of the three methods.
    """
    instead = f"one of {', '.join(TRACKERS)}, or the dotted path of what makes a tracker"
    make = TRACKERS.get(name) or dotted.function(name, instead)
    try:
        tracker = make()
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever a user's own code raises, or what was never made to be called so
        raise UserError(
            f"--tracker is {name!r}, which makes no tracker ({type(error).__name__}: {first_line(error)}); it may be "
            f"{instead}"
        ) from None
    lacking = [method for method in ("begin", "scalars", "end") if not callable(getattr(tracker, method, None))]
    if lacking:
        raise UserError(f"the tracker {name!r} has no method {lacking[0]}; it may have begin, scalars and end")
    return tracker


class Tracked:
    """A run's tracker, which cannot harm the run: its first failure is warned of, and it is not called again.

    tracker: a name as `named` takes it, or a tracker; None tracks nothing.

    Raises:
      UserError: as `named`.
    """

    def __init__(self, tracker: str | Tracker | None):
        self._tracker = named(tracker) if isinstance(tracker, str) else tracker
        self._begun = False

    def __enter__(self) -> "Tracked":
        return self

    def __exit__(self, *exception) -> None:
        self.end(None)

    def begin(self, workdir: pathlib.Path, config: dict[str, Any]) -> "Tracked":
        """Starts tracking, and returns itself."""
        self._begun = True
        self._call("begin", workdir, config)
        return self

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Records values by name."""
        self._call("scalars", values, step)

    def end(self, results: dict[str, Any] | None) -> None:
        """Ends tracking, unless it has ended or never began."""
        if self._begun:
            self._call("end", results)
        self._tracker = None

    def _call(self, method: str, *arguments) -> None:
        if self._tracker is None:
            return
        try:
            getattr(self._tracker, method)(*arguments)
        except Exception as error:  # whatever a service or a user's own tracker raises
            failed, self._tracker = self._tracker, None
            log.warning(
                "the tracker %s failed (%s); the run goes on without it", type(failed).__name__, first_line(error)
            )
            if method == "scalars":
                with contextlib.suppress(Exception):
                    failed.end(None)
