"""The measurements of `fer-jax bench` by name, and the loop that runs those that are asked for."""

import os
import pathlib
from collections.abc import Callable

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"  # which the wheel has, too
# Measurements by their names, in the order in which they are made: module and function of `fer_jax.bench`.
MEASUREMENTS = {
    "step": ("step", "measure"),
    "evaluation": ("inference", "measure_evaluation"),
    "grad-cam": ("inference", "measure_grad_cam"),
    "input": ("pipeline", "measure"),
    "epoch": ("epoch", "measure"),
    "runs": ("runs", "measure"),
    "devices": ("devices", "measure"),
    "scaling": ("scaling", "measure"),
    "selection": ("selection", "measure"),
}


def machine(config) -> dict:
    """Describes the machine that a resolved config is measured on, and the load of other work before."""
    from fer_jax.models import precision
    from fer_jax.runs import results
    from fer_jax.runs.environment import cores

    load = round(os.getloadavg()[0], 2)
    computed_in = precision.used(config.model.precision)
    return {**results.environment(computed_in), "cores": cores(), "load_before": load}


def measure(bench, names: list[str], tell: Callable[[dict], None] = lambda row: None) -> dict:
    """Runs the named measurements; returns them with a description of the machine, ready for JSON."""
    import importlib

    from fer_jax.bench import arithmetic
    from fer_jax.runs.progress import Bar, log

    environment = machine(bench.large)
    peak = arithmetic.matmul_peak()
    rows = [{"name": "matmul peak", **peak._asdict()}]
    tell(rows[0])
    with Bar("measurements", len(names), bench.console) as bar:
        for name in names:
            module, function = MEASUREMENTS[name]
            for row in getattr(importlib.import_module(f"fer_jax.bench.{module}"), function)(bench):
                tell(row)
                rows.append(row)
            log.info("bench %s: measured", name)
            bar.advance(1)
    return {"environment": environment, "measurements": rows}
