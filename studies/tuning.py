"""Hyper-parameters compared on validation subjects: the same run under several overrides of one config.

    python -m studies.tuning --config configs/quickstart.py --workdir runs/tuning --out docs/results/tuning.json \
        --try continual.learning_rate=1e-3 --try continual.learning_rate=3e-4 continual.max_epochs=8

Each --try is one candidate. Only `kd_psmr` is trained, and only what was measured on
validation subjects is read. Base models are shared where the base task's settings are the same
(`fer_jax.phases.base_models`).
"""

import argparse
import dataclasses
import hashlib
import pathlib

import ml_collections

from fer_jax import config as configs
from fer_jax import experiment, metrics
from fer_jax.config.file import read_config
from fer_jax.errors import UserError
from fer_jax.models import precision
from fer_jax.runs import results
from fer_jax.runs.progress import log, start_logging

METHOD = "kd_psmr"


def candidate(file: pathlib.Path, overrides: list[str]) -> ml_collections.ConfigDict:
    """The config of one candidate: overrides are `key=value` without the `--config.`."""
    config = read_config([f"--config={file}", *(f"--config.{override}" for override in overrides)])
    config.methods = (METHOD,)
    config.few_shot.shots = ()
    configs.check(config)
    return config


def validation(found: dict) -> dict:
    """Mean over the increments of validation accuracy on the seen classes: an estimate, and a value a run."""
    rows = [run["validation_accuracy"] for run in found["continual"][METHOD]["runs"]]
    values = [sum(row) / len(row) for row in rows]
    return {**dataclasses.asdict(metrics.estimate(values)), "runs": values}


def compare(candidates: dict[str, ml_collections.ConfigDict], workdir: pathlib.Path, console=None) -> dict[str, dict]:
    """Trains every candidate in a folder of its own; finished ones are only read."""
    found = {}
    for name, config in candidates.items():
        log.info("candidate %s", name)
        folder = workdir / hashlib.sha256(name.encode()).hexdigest()[:12]
        measured = experiment.train(config, folder, console, shared=workdir / "base")
        found[name] = {"validation_accuracy": validation(measured)}
    return found


def main() -> None:
    """Compares the candidates, writes JSON to `--out`, and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--workdir", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--try", dest="tries", action="append", nargs="+", required=True, metavar="KEY=VALUE")
    a = parser.parse_args()
    try:
        candidates = {" ".join(tried): candidate(a.config, tried) for tried in a.tries}
        a.out.parent.mkdir(parents=True, exist_ok=True)
        found = compare(candidates, a.workdir, start_logging())
    except UserError as error:
        parser.error(str(error))
    first = configs.flatten(configs.resolve(next(iter(candidates.values()))))
    environment = results.environment(precision.used(first["model.precision"]))
    results.write_json(a.out, {"config": first, "method": METHOD, "candidates": found, "environment": environment})
    for name, row in found.items():
        e = row["validation_accuracy"]
        print(f"{name}: {e['mean']:.3f} [{e['low']:.3f}, {e['high']:.3f}], n = {e['n']}")


if __name__ == "__main__":
    main()
