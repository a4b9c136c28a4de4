"""`fer-jax train`: runs an experiment or goes on with it, then writes its report and fits its calibration."""

import contextlib
import pathlib

from fer_jax.errors import UserError


def run_and_report(config, workdir: pathlib.Path, console=None, saving=None) -> dict:
    """Runs `experiment.train` and `finish`; returns the results."""
    from fer_jax import experiment

    return experiment.train(config, workdir, console, saving, then=finish)


def finish(workdir: pathlib.Path, data=None) -> None:
    """Writes the report of a workdir that has results, and fits the temperature of the model that `predict` asks.

    Args:
      data: the run's data set if it is at hand; None reads it.
    """
    import jax

    from fer_jax.inference import calibration, trained
    from fer_jax.report import page

    page.write(workdir, data)
    if jax.process_count() > 1:
        return  # all processes read a model together, and only the first is here
    with contextlib.suppress(UserError):  # a method without a network of its own, or no increments
        calibration.of(trained.restore(workdir), data)
