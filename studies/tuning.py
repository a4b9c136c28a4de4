"""Which hyper-parameters of the continual phase do validation subjects prefer?

Command: python -m studies.tuning --out docs/results/tuning.json     (make tuning)
Result:  docs/results/tuning.json
Time:    twenty minutes on two cores

Each candidate is the same run under other overrides of one config; without `--try` they are the six among which the
quickstart's settings were chosen: the paper's cut and batch size with four learning rates, then others. Only `kd_psmr`
is trained, and only what was measured on validation subjects is read. Base models are shared where the base task's
settings are the same (`fer_jax.phases.base_models`).
"""

import hashlib
import pathlib

import ml_collections
import numpy as np

from fer_jax import config as configs
from fer_jax import experiment, statistics
from fer_jax.config.file import read_config
from fer_jax.errors import UserError
from fer_jax.runs.names import percent
from fer_jax.runs.progress import log, start_logging
from studies import record

METHOD = "kd_psmr"
PAPER = ("continual.cut=conv5_block1", "continual.batch_size=16")
CANDIDATES = (
    *([*PAPER, f"continual.learning_rate={rate}"] for rate in ("3e-4", "1e-3", "2e-3", "4e-3")),
    ["continual.cut=conv5_block1", "continual.batch_size=32", "continual.learning_rate=2e-3"],
    ["continual.cut=conv4_block1", "continual.batch_size=16", "continual.learning_rate=1e-3"],
)


def candidate(file: pathlib.Path, overrides: list[str]) -> ml_collections.ConfigDict:
    """The config of one candidate: overrides are `key=value` without the `--config.`."""
    config = read_config([f"--config={file}", *(f"--config.{override}" for override in overrides)])
    config.methods = (METHOD,)
    config.few_shot.shots = ()
    configs.check(config)
    return config


def validation(found: dict) -> dict:
    """Mean over the increments of validation accuracy on the seen classes: an estimate, and a value a run."""
    runs = found["continual"][METHOD]["runs"]
    values = {(run["order"], None, run["fold"]): float(np.mean(run["validation_accuracy"])) for run in runs}
    return {**statistics.estimate(values), "runs": list(values.values())}


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
    parser = record.command(__doc__)
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/quickstart.py"), metavar="FILE")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/tuning"), metavar="DIR")
    parser.add_argument("--try", dest="tries", action="append", nargs="+", metavar="KEY=VALUE", help="one candidate")
    a, load = parser.parse_args(), record.load()
    try:
        candidates = {" ".join(tried): candidate(a.config, tried) for tried in a.tries or CANDIDATES}
        found = compare(candidates, record.own_folder(a.workdir), start_logging())
    except UserError as error:
        parser.error(str(error))
    first = configs.flatten(configs.resolve(next(iter(candidates.values()))))
    environment = record.environment(first["model.precision"], load)
    record.write(a.out, {"config": first, "method": METHOD, "candidates": found, "environment": environment})
    for name, row in found.items():
        print(f"{name}: {percent(row['validation_accuracy'])}")


if __name__ == "__main__":
    main()
