"""`results.json`: one documented schema, made from what the phases measured; see docs/results_schema.md.

Everything is derived from confusions, so the file can be made again from the checkpoints alone.
"""

import importlib.metadata
import json
import pathlib
import platform

import jax
import numpy as np

from fer_jax import metrics, protocol, statistics
from fer_jax.config import flatten
from fer_jax.errors import UserError
from fer_jax.models import precision
from fer_jax.runs import files
from fer_jax.runs.environment import commit, processor, threads

SCHEMA_VERSION = 1
PACKAGES = ("fer-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "chex",
            "ml-collections", "numpy", "scipy")  # fmt: skip

# What readers of a results.json build on, with its type.
KEYS = {"seed": int | None, "protocol": str, "config": dict, "data": dict, "environment": dict, "basic": list,
        "continual": dict, "few_shot": dict, "seconds": dict}  # fmt: skip
DATA_KEYS = {"name": str, "sha256": str, "classes": list, "n_base": int}
RUN_KEYS = {"fold": int, "order": int, "accuracy_matrix": list, "final_confusion": list, "learned_at": list,
            "test_counts": list, "trained_steps": list, "metrics": dict}  # fmt: skip

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
    """Returns what a rerun needs: commit, versions, processor, device and precision (as `precision.used` tells it)."""
    device = jax.devices()[0]
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "cpu": {**processor(), "threads": threads()},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "precision": computed_in,
    }


def run_metrics(confusions: np.ndarray, learned_at: np.ndarray) -> dict[str, float]:
    """Computes `final_metrics`, `matrix_metrics` and the average macro-F1 from confusions i64[T, C, C]."""
    confusions = np.asarray(confusions)
    return {
        **final_metrics(confusions[-1]),
        **matrix_metrics(metrics.accuracy_matrix(confusions), learned_at, confusions[-1].sum(-1)),
        "macro_f1_average": float(np.mean([metrics.macro_f1(one) for one in confusions[1:]])),
    }


def final_metrics(confusion: np.ndarray) -> dict[str, float]:
    """Computes what the confusion i64[C, C] after the last step says."""
    return {
        "final_accuracy": float(np.trace(confusion) / np.sum(confusion)),
        "macro_f1_final": metrics.macro_f1(confusion),
        "mean_class_recall_final": metrics.mean_class_recall(confusion),
    }


def matrix_metrics(a: np.ndarray, learned_at: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Computes every metric of one run that trained at every step, as far as it follows from the accuracy matrix.

    Macro-F1 needs confusions; see `run_metrics`. Intransigence needs the joint model's run; see `add_intransigence`.

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
        # Pooled over classes of equal weight.
        "mean_class_recall_average": metrics.average_incremental_accuracy(a, learned_at, np.ones_like(counts)),
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
      phases: one dict a fold: `fold`, `basic`, `base_of` {method: the objective of a base model that is not `basic`}
        and `continual` {method: {order's number: its steps}}.
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
                    run = _run(phase, number, steps, classifier, orders[number], learned_at)
                    runs.append({**run, "base": phase.get("base_of", {}).get(method)})
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
    """Estimates every metric that all runs have; see `statistics.estimate`."""
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    values = {name: statistics.values_of(runs, name) for name in names}
    return {name: statistics.estimate(of) for name, of in values.items() if len(of) == len(runs)}


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
        "penalties": [step.get("penalties", {}).get(classifier) for step in steps],
        "search": steps[0]["search"],
        "stored_bytes": steps[-1].get("stored_bytes"),  # earlier versions did not count them
        "seconds": sum(step["seconds"] for step in steps),
    }


def _add_metrics(run: dict) -> None:
    confusions = run.pop("confusions")
    learned_at = np.asarray(run["learned_at"])
    run["final_confusion"] = confusions[-1].tolist()
    run["test_counts"] = confusions[-1].sum(-1).tolist()
    whole = len(run["trained_steps"]) == len(confusions)
    run["metrics"] = run_metrics(confusions, learned_at) if whole else final_metrics(confusions[-1])


def few_shot_table(rows: list[dict]) -> dict:
    """Estimates accuracies by shots: new class, base classes, their harmonic mean, and all.

    A value is the mean over the draws of one class from one base model. Answers of classifiers, and runs merged under
    labels, have a line for each.
    """

    def line(row: dict) -> tuple:
        return row["shots"], row.get("answer", ""), row.get("label", "")

    table = {}
    for shots, answer, label in dict.fromkeys(map(line, rows)):
        group = [row for row in rows if line(row) == (shots, answer, label)]
        values = {name: np.asarray([row[name] for row in group])
                  for name in ("new_class_accuracy", "base_accuracy", "accuracy")}  # fmt: skip
        values["harmonic_mean"] = metrics.harmonic_mean(values["base_accuracy"], values["new_class_accuracy"])
        names = [(row["class"], row.get("seed"), row["fold"]) for row in group]
        shots = {None: "no", 0: "all"}.get(shots, str(shots))
        table[", ".join(filter(None, (shots, answer, label)))] = {
            measure: {**statistics.estimate(_means(names, of)), "draws": len(group)} for measure, of in values.items()
        }
    return table


def _means(names: list[tuple], values: np.ndarray) -> dict[tuple, float]:
    """Averages the values of each name."""
    return {name: float(values[[other == name for other in names]].mean()) for name in dict.fromkeys(names)}


def assemble(config, data, phases: list[dict], orders: dict[int, np.ndarray]) -> dict:
    """Assembles results.json from what was measured in every fold."""
    n_base = config.data.n_base
    continual = continual_runs(phases, orders, n_base, config.protocol.classes_per_increment)
    few_shot = [dict(row, fold=phase["fold"]) for phase in phases for row in phase["few_shot"]]
    basic = []
    for p in phases:
        basic += [{"fold": p["fold"], "objective": None, **p["basic"]}]
        basic += [{"fold": p["fold"], "objective": name, **found} for name, found in p["bases"].items()]
    seconds = {
        "basic": sum(entry["seconds"] for entry in basic),
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
        "basic": basic,
        "continual": continual,
        "comparison": statistics.compare(continual),
        "few_shot": {"estimates": few_shot_table(few_shot), "rows": few_shot},
        "seconds": seconds,
    }


def read(workdir: pathlib.Path) -> dict:
    """Reads results.json of a workdir.

    Raises:
      UserError: there is none, it is not JSON, it is of another schema version, or it lacks keys of this one.
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
    if lacking := _lacking(value):
        raise UserError(f"{path} is not as fer-jax wrote it ({lacking} is missing or of another type); delete it, and "
                        "the command that wrote it makes it again")  # fmt: skip
    return value


def _lacking(value: dict) -> str | None:
    """Returns the first key that is missing or of another type in a results.json; None if it has all of KEYS."""

    def first(where: str, inner: dict, types: dict) -> str | None:
        there = inner if isinstance(inner, dict) else {}
        return next((where + key for key, of in types.items() if not isinstance(there.get(key, ...), of)), None)

    lacking = first("", value, KEYS) or first("data.", value["data"], DATA_KEYS)
    lacking = lacking or first("few_shot.", value["few_shot"], {"estimates": dict, "rows": list})
    if "merged" not in value:  # whose methods may differ
        lacking = lacking or first("config.", value["config"], {"methods": list})
    for method, entry in () if lacking else value["continual"].items():
        lacking = lacking or first(f"continual.{method}.", entry, {"runs": list, "metrics": dict})
        for run in () if lacking else entry["runs"] or [{}]:  # no method is without a run
            lacking = lacking or first(f"continual.{method}.runs.", run, RUN_KEYS)
    return lacking


def restated(found: dict) -> dict:
    """Returns results with everything that follows from their runs: metrics that a run lacks, estimates, comparison.

    Files of older versions lack metrics, and their intervals take the class orders of a base model as independent. The
    average macro-F1 stays missing: it needs the confusions of every step, and results.json has those of the last.
    """
    continual = {}
    for method, entry in found["continual"].items():
        runs = [{**run, "metrics": {**_derived(run), **run["metrics"]}} for run in entry["runs"]]
        continual[method] = {**entry, "runs": runs, "metrics": estimates(runs)}
    rows = found["few_shot"]["rows"]
    return {
        **found,
        "continual": continual,
        "comparison": statistics.compare(continual),
        "few_shot": {"estimates": few_shot_table(rows), "rows": rows},
    }


def _derived(run: dict) -> dict[str, float]:
    final = final_metrics(np.asarray(run["final_confusion"]))
    if len(run["trained_steps"]) < len(run["accuracy_matrix"]):
        return final
    a = np.asarray(run["accuracy_matrix"], np.float64)  # null becomes NaN
    return {**final, **matrix_metrics(a, np.asarray(run["learned_at"]), np.asarray(run["test_counts"]))}


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


def write_changed(path: pathlib.Path, value: dict) -> None:
    """Writes results, unless the file has the same already: a finished run that is started again leaves it as it is.

    Where it ran, and how long it saved, is told by the file that has the same otherwise.
    """
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict) or _measured(there) != _measured(_plain(value)):
        write_json(path, value)


def _measured(found: dict) -> dict:
    """Returns results without what describes the process that wrote them."""
    seconds = {name: value for name, value in found.get("seconds", {}).items() if name != "saving"}
    return {**found, "environment": None, "seconds": seconds}


def write_json(path: pathlib.Path, value: dict) -> None:
    """Writes JSON completely or not at all, flushed to disk before it returns; NaN becomes null."""
    files.write(path, json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False) + "\n")


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
