"""`results.json`: one documented schema, made from what the phases measured; see docs/results_schema.md.

Everything is derived from accuracy matrices, so the file can be made again from the checkpoints alone.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import tempfile

import jax
import numpy as np

from fer_jax import metrics, protocol, statistics
from fer_jax.config import flatten
from fer_jax.errors import UserError
from fer_jax.models import precision

SCHEMA_VERSION = 1
PACKAGES = ("fer-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "chex",
            "ml-collections", "numpy", "scipy")  # fmt: skip

# Other averagings of the same, as libraries have them; functions of `metrics`.
VARIANTS = (
    "final_accuracy_task_mean",
    "average_incremental_accuracy_task_mean",
    "forgetting_task_mean",
    "backward_transfer_task_mean",
    "forgetting_since_learned",
    "forgetting_since_learned_task_mean",
)


def environment(computed_in: str) -> dict:
    """Returns the versions, the device and the precision (as `precision.used` returns it) that a rerun needs."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "precision": computed_in,
    }


def run_metrics(confusions: np.ndarray, learned_at: np.ndarray) -> dict[str, float]:
    """Computes `matrix_metrics` from confusions i64[T, C, C], step 0 first."""
    return matrix_metrics(metrics.accuracy_matrix(confusions), learned_at, np.asarray(confusions)[-1].sum(-1))


def matrix_metrics(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Computes every metric of one run that trained at every step, except intransigence.

    Intransigence needs the joint model's run; see `add_intransigence`.

    Args:
      a: f64[T, C].
      learned_at: i32[C].
      counts: i64[C], test images a class.
    """
    base = metrics.base_retention(a, learned_at, counts)
    novel = metrics.novel_accuracy(a, learned_at, counts)
    harmonic = metrics.harmonic_mean(base, novel)
    return {
        "average_incremental_accuracy": metrics.average_incremental_accuracy(a, learned_at, counts),
        "average_incremental_accuracy_with_base": metrics.average_incremental_accuracy(
            a, learned_at, counts, include_base=True
        ),
        "final_accuracy": metrics.final_accuracy(a, learned_at, counts),
        "new_class_accuracy": metrics.new_class_accuracy(a, learned_at),
        "base_accuracy": float(base[0]),
        "base_retention_final": float(base[-1]),
        "novel_accuracy_final": float(novel[-1]),
        "harmonic_mean_final": float(harmonic[-1]),
        "harmonic_mean_average": float(harmonic[1:].mean()),
        "forgetting": metrics.forgetting(a, learned_at, counts),
        "backward_transfer": metrics.backward_transfer(a, learned_at, counts),
        **{name: getattr(metrics, name)(a, learned_at, counts) for name in VARIANTS},
    }


def continual_runs(
    phases: list[dict], orders: dict[int, np.ndarray], n_base: int, per_increment: int = 1
) -> dict[str, dict]:
    """Collects the runs and estimates of every method.

    Args:
      phases: one dict a fold: `fold`, `basic` and `continual` {method: {order's number: its steps}}.
      orders: i32[increments] by number.
    """
    by_method: dict[str, dict] = {}
    for phase in phases:
        for method, per_order in phase["continual"].items():
            for number, steps in per_order.items():
                learned_at = protocol.learned_at(orders[number], n_base, per_increment)
                for i, classifier in enumerate(steps[0]["confusions"]):
                    name = f"{method} ({classifier})" if i else method
                    runs = by_method.setdefault(name, {"runs": [], "metrics": {}})["runs"]
                    runs.append(_run(phase, number, steps, classifier, orders[number], learned_at))
    joints = {(r["fold"], r["order"]): r for r in by_method.get("joint", {"runs": []})["runs"]}
    for method, entry in by_method.items():
        for run in entry["runs"]:
            joint = joints.get((run["fold"], run["order"])) if method != "joint" else None
            _add_metrics(run)
            if joint is not None:
                add_intransigence(run, joint)
        entry["metrics"] = estimates(entry["runs"])
    return by_method


def estimates(runs: list[dict]) -> dict[str, dict]:
    """Estimates every metric that all runs have: mean, interval and n."""
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    return {name: dataclasses.asdict(metrics.estimate([run["metrics"][name] for run in runs])) for name in names}


def add_intransigence(run: dict, joint: dict) -> None:
    """Adds a run's intransigence against the joint model's run, where both trained at every step.

    A joint model of some steps only would be compared on the classes learned there: no measure of all.
    """
    n_steps = len(run["accuracy_matrix"])
    if len(run["trained_steps"]) == len(joint["trained_steps"]) == n_steps:
        run["metrics"]["intransigence"] = metrics.intransigence(
            run["accuracy_matrix"], joint["accuracy_matrix"], run["learned_at"]
        )


def _run(phase: dict, number: int, steps: list[dict], classifier: str, order, learned_at: np.ndarray) -> dict:
    base, n_steps = np.asarray(steps[0]["base_confusions"][classifier]), 1 + int(learned_at.max())
    trained = [step for step in steps if step["history"]]
    confusions = np.zeros((n_steps, *base.shape), np.int64)
    confusions[0] = base
    for step in steps:
        confusions[step["increment"] + 1] = step["confusions"][classifier]
    penalties = [step["penalties"][classifier] for step in steps if classifier in step.get("penalties", {})]
    return {
        "fold": phase["fold"],
        "order": number,
        "class_order": [int(len(learned_at) - len(order) + c) for c in order],
        "learned_at": learned_at.tolist(),
        "confusions": confusions,
        "accuracy_matrix": metrics.accuracy_matrix(confusions),
        "trained_steps": [0] + [step["increment"] + 1 for step in steps],
        "exemplars_per_class": [step["exemplars_per_class"] for step in steps],
        "epochs": [len(step["history"]) for step in steps],
        "best_epochs": [step["epoch"] for step in trained],
        "validation_accuracy": [step["history"][step["epoch"]]["val_accuracy"] for step in trained],
        "corrections": [step["correction"] for step in steps],
        **({"penalties": penalties} if penalties else {}),
        "search": steps[0]["search"],
        "seconds": sum(step["seconds"] for step in steps),
    }


def _add_metrics(run: dict) -> None:
    confusions = run.pop("confusions")
    learned_at = np.asarray(run["learned_at"])
    run["final_confusion"] = confusions[-1].tolist()
    run["test_counts"] = confusions[-1].sum(-1).tolist()
    if len(run["trained_steps"]) == len(confusions):
        run["metrics"] = run_metrics(confusions, learned_at)
    else:
        run["metrics"] = {"final_accuracy": float(np.trace(confusions[-1]) / confusions[-1].sum())}


def few_shot_table(rows: list[dict]) -> dict:
    """Estimates accuracies by shots, over classes and draws: new class, base classes, their harmonic mean, and all."""
    table = {}
    for shots in dict.fromkeys(row["shots"] for row in rows):
        group = [row for row in rows if row["shots"] == shots]
        values = {name: np.asarray([row[name] for row in group])
                  for name in ("new_class_accuracy", "base_accuracy", "accuracy")}  # fmt: skip
        values["harmonic_mean"] = metrics.harmonic_mean(values["base_accuracy"], values["new_class_accuracy"])
        # Draws of one class are not independent of each other: the interval is over class means.
        classes = np.asarray([row["class"] for row in group])
        means = {name: [float(v[classes == c].mean()) for c in dict.fromkeys(classes)] for name, v in values.items()}
        table[str(shots or "all")] = {
            name: {**dataclasses.asdict(metrics.estimate(v)), "draws": len(group)} for name, v in means.items()
        }
    return table


def assemble(config, data, phases: list[dict], orders: dict[int, np.ndarray]) -> dict:
    """Assembles results.json from what was measured in every fold."""
    n_base = config.data.n_base
    continual = continual_runs(phases, orders, n_base, config.protocol.classes_per_increment)
    few_shot = [dict(row, fold=phase["fold"]) for phase in phases for row in phase["few_shot"]]
    seconds = {
        "basic": sum(p["basic"]["seconds"] for p in phases),
        "continual": {m: sum(r["seconds"] for r in entry["runs"]) for m, entry in continual.items()},
        "few_shot": sum(row["seconds"] for row in few_shot),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "config": flatten(config),
        "seed": config.seed,
        "protocol": config.protocol.name,
        "data": {
            "name": config.data.name,
            "sha256": data.checksum(),
            "images": len(data.label),
            # Where people are unknown every image has a subject's number of its own, which says nothing of people.
            "subjects": None if data.metadata.get("split_by") == "image" else len(np.unique(data.subject)),
            "classes": list(data.class_names),
            "n_base": n_base,
            "metadata": data.metadata,
        },
        "environment": environment(precision.used(config.model.precision)),
        "basic": [{"fold": p["fold"], **p["basic"]} for p in phases],
        "continual": continual,
        "comparison": statistics.compare(continual, config.seed),
        "few_shot": {"estimates": few_shot_table(few_shot), "rows": few_shot},
        "seconds": seconds,
    }


def read(workdir: pathlib.Path) -> dict:
    """Reads results.json of a workdir.

    Raises:
      UserError: there is none, it is not JSON, or it is of another schema version.
    """
    path = workdir / "results.json"
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--workdir {workdir} has no results.json; `fer-jax train` writes it when it ends") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable as JSON ({error})") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema_version {version!r}; it may be {SCHEMA_VERSION}")
    return value


def by_method(results: dict) -> dict[str, dict]:
    """Returns the continual phase's results by column, in the order of the config, or as merged."""
    if "merged" in results:
        return {name: results["continual"][name] for name in results["merged"]["methods"]}
    there = results["continual"]
    # A method that answers in several ways has a column for each, beside its own.
    return {
        name: there[name]
        for method in results["config"]["methods"]
        for name in there
        if name == method or name.startswith(f"{method} (")
    }


def answers_again(column: str) -> bool:
    """Returns True for the column of a further classifier of a model, such as `icarl (network)`."""
    return " (" in column.partition(", ")[0]


def write_json(path: pathlib.Path, value: dict) -> None:
    """Writes JSON completely or not at all, flushed to disk before it returns; NaN becomes null."""
    text = json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(handle)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some file systems have no such thing for folders
        os.fsync(folder)
    os.close(folder)


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
