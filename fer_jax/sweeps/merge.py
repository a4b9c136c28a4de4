"""The results of several runs as one: methods, orders, folds and seeds of a sweep, or of several workdirs.

Runs are pooled over orders, folds and seeds. Runs whose configs differ in anything else are separated by a label, and
runs of different data or protocols are not merged at all. See docs/results_schema.md.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from fer_jax import statistics
from fer_jax.config import DEFAULTS, LEFT_OUT, PLACES, decides_base
from fer_jax.errors import UserError
from fer_jax.runs import results
from fer_jax.runs.workdir import read as read_json
from fer_jax.sweeps import cells
from fer_jax.sweeps.axes import Axis, cell_names

# What runs may differ in and still be runs of one experiment.
POOLED = ("methods", "seed", "protocol.folds", "protocol.orders", "protocol.n_orders", "few_shot.shots")
COMMON = ("data.", "protocol.")


class Source(NamedTuple):
    """The results of one run, and the workdir that has them."""

    workdir: pathlib.Path
    results: dict


class Missing(NamedTuple):
    """A run without results yet: its workdir, and how far it got."""

    workdir: pathlib.Path
    state: cells.State


def collect(workdirs: list[pathlib.Path]) -> tuple[list[Source], list[Missing]]:
    """Reads the results in runs' workdirs and sweeps' folders, and lists the runs that have none yet.

    Raises:
      UserError: a folder that is neither, that is named twice, or in which nothing is finished at all.
    """
    there: list[Source] = []
    missing: list[Missing] = []
    for i, workdir in enumerate(workdirs):
        if workdir.resolve() in [other.resolve() for other in workdirs[:i]]:
            raise UserError(f"--workdir {workdir} is named twice")
        for run, state in _runs_in(workdir):
            if state.word == "finished":
                there.append(Source(run, results.restated(results.read(run))))
            else:
                missing.append(Missing(run, state))
    for source in there:
        if "merged" in source.results:
            raise UserError(f"--workdir {source.workdir} holds merged results; name the workdirs that they are of")
    if not there:
        reason = f"none of {len(missing)} runs is finished"
        raise UserError(f"--workdir {', '.join(map(str, workdirs))} has nothing to report: {reason}")
    return there, missing


def _runs_in(workdir: pathlib.Path) -> list[tuple[pathlib.Path, cells.State]]:
    if (workdir / cells.SWEEP).exists():
        axes = tuple(Axis(name, tuple(map(_hashable, values))) for name, values in _over(workdir))
        return [(cells.folder(workdir, name), cells.state(workdir, name)) for name in cell_names(axes)]
    if (workdir / "config.json").exists() and not (workdir / "results.json").exists():
        return [(workdir, cells.State("begun"))]
    return [(workdir, cells.State("finished"))]  # or nothing of ours, which reading it tells


def _over(workdir: pathlib.Path) -> list:
    axes = read_json(workdir / cells.SWEEP).get("over")
    if not isinstance(axes, list) or not all(
        isinstance(axis, list) and list(map(type, axis)) == [str, list] for axis in axes
    ):
        raise UserError(f"{workdir / cells.SWEEP} is not what fer-jax sweep wrote there")
    return axes


def _hashable(value):
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def merge(sources: list[Source], missing: list[Missing]) -> dict:
    """Merges the results of several runs into one results.json.

    Raises:
      UserError: runs of different data or protocols, or two runs of the same config with different results.
    """
    configs = _completed([source.results["config"] for source in sources])
    differ = differing(configs)
    _check_common(sources, differ)
    apart = [key for key in differ if key not in (*POOLED, *PLACES)]
    labels = [_label(config, apart) for config in configs]
    continual = _continual(sources, labels)
    rows = _few_shot_rows(sources, labels)
    basic = _basic(sources, configs, apart)
    first = sources[0].results
    seeds = sorted({config["seed"] for config in configs})
    return {
        "schema_version": results.SCHEMA_VERSION,
        "config": {key: None if key in differ else configs[0].get(key) for key in _keys(configs)},
        "seed": seeds[0] if len(seeds) == 1 else None,
        "protocol": first["protocol"],
        "data": first["data"],
        "environment": first["environment"],
        "basic": basic,
        "continual": continual,
        "comparison": statistics.compare(continual),
        "few_shot": {"estimates": results.few_shot_table(rows), "rows": rows},
        "seconds": {
            "basic": sum(entry["seconds"] for entry in basic),
            "continual": {name: sum(run["seconds"] for run in column["runs"]) for name, column in continual.items()},
            "few_shot": sum(row["seconds"] for row in rows),
            "saving": sum(source.results["seconds"].get("saving", 0.0) for source in sources),
        },
        "merged": {
            "runs": [str(source.workdir) for source in sources],
            "missing": [{"workdir": str(m.workdir), "state": m.state.word, "reason": m.state.reason} for m in missing],
            "uneven": _uneven(continual),
            "methods": list(continual),
            "seeds": seeds,
            "differ": differ,
            "environments": _unequal([source.results["environment"] for source in sources]),
        },
    }


def _completed(configs: list[dict]) -> list[dict]:
    """Returns the configs with the defaults of keys that only others of them have; older runs lack newer keys."""
    defaults = {key: DEFAULTS[key] for key in _keys(configs) if key in DEFAULTS}
    return [{**defaults, **config} for config in configs]


def _keys(configs: list[dict]) -> list[str]:
    return sorted(set().union(*configs))


def differing(configs: list[dict]) -> dict[str, list]:
    """Returns the keys in which flat configs differ, with their distinct values in the order of the configs."""
    configs = _completed(configs)
    values = {key: _unequal([config.get(key) for config in configs]) for key in _keys(configs)}
    return {key: distinct for key, distinct in values.items() if len(distinct) > 1}


def _unequal(values: list) -> list:
    distinct: list = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct


def _check_common(sources: list[Source], differ: dict[str, list]) -> None:
    for key, values in differ.items():
        if key.startswith(COMMON) and key not in (*POOLED, *PLACES, *LEFT_OUT):
            shown = ", ".join(map(repr, values[:4]))
            raise UserError(f"runs differ in config.{key} ({shown}); one report is of one data set and protocol")
    first = sources[0]
    for source in sources[1:]:
        # Which of several data sets is tested on is part of the checksum.
        for key in ("sha256", "classes", "n_base")[bool(differ.keys() & set(LEFT_OUT)) :]:
            if source.results["data"][key] != first.results["data"][key]:
                raise UserError(
                    f"--workdir {source.workdir} is of other data than {first.workdir} (data.{key}); one report is of "
                    "one data set"
                )


def _label(config: dict, keys: list[str]) -> str:
    return ", ".join(f"{key}={config.get(key)}" for key in keys)


def _column(method: str, label: str) -> str:
    return f"{method}, {label}" if label else method


class _Once:
    """Takes every thing of a name once; the same run may be in two workdirs, with the same outcome."""

    def __init__(self, what: Callable[[tuple], str]):
        self._what = what
        self._seen: dict[tuple, tuple[pathlib.Path, Any]] = {}

    def take(self, name: tuple, outcome, workdir: pathlib.Path) -> bool:
        """Returns True for a new name, False for one that another workdir has with the same outcome.

        Raises:
          UserError: it was there before, with another outcome.
        """
        before = self._seen.setdefault(name, (workdir, outcome))
        if before[0] == workdir:
            return True
        if before[1] != outcome:
            raise UserError(
                f"{self._what(name)} is in {before[0]} and in {workdir} with different results; leave one of them out"
            )
        return False


def _continual(sources: list[Source], labels: list[str]) -> dict[str, dict]:
    columns: dict[str, dict] = {}
    joints: dict[tuple, dict] = {}
    once = _Once(lambda name: "{}, fold {}, order {}, seed {}".format(*name))
    for source, label in zip(sources, labels, strict=True):
        seed = source.results["seed"]
        for method in results.by_method(source.results):
            column = _column(method, label)
            for run in source.results["continual"][method]["runs"]:
                name = (column, run["fold"], run["order"], seed)
                if once.take(name, run["accuracy_matrix"], source.workdir):
                    run = {**run, "seed": seed, "metrics": dict(run["metrics"])}
                    columns.setdefault(column, {"runs": []})["runs"].append(run)
                    if method == "joint":
                        joints[label, seed, run["fold"], run["order"]] = run
    by_column = {_column(m, lb): lb for s, lb in zip(sources, labels, strict=True) for m in s.results["continual"]}
    for column, entry in columns.items():
        entry["runs"].sort(key=lambda run: (run["seed"], run["fold"], run["order"]))
        for run in entry["runs"]:
            joint = joints.get((by_column[column], run["seed"], run["fold"], run["order"]))
            if joint is not None and joint is not run:
                results.add_intransigence(run, joint)
        entry["metrics"] = results.estimates(entry["runs"])
    return columns


def _uneven(continual: dict[str, dict]) -> list[dict]:
    """Returns the runs that a method lacks and another one has, because these may explain a difference."""
    have = {
        name: {(run["seed"], run["fold"], run["order"]) for run in entry["runs"]} for name, entry in continual.items()
    }
    everything = set().union(*have.values())
    return [
        {"method": name, "seed": seed, "fold": fold, "order": order}
        for name, those in have.items()
        for seed, fold, order in sorted(everything - those)
    ]


def _basic(sources: list[Source], configs: list[dict], apart: list[str]) -> list[dict]:
    """Base models, each once however many runs share it."""
    rows = []
    for source, config in zip(sources, configs, strict=True):
        label = _label(config, [key for key in apart if key in config and decides_base(key)])
        for entry in source.results["basic"]:
            row = {**entry, "seed": source.results["seed"], "label": label}
            same = [
                r
                for r in rows
                if all(r[k] == row[k] for k in ("seed", "label", "fold", "test_confusion"))
                and r.get("objective") == row.get("objective")
            ]
            if not same:
                rows.append(row)
    return sorted(rows, key=lambda row: (row["label"], row["seed"], row["fold"]))


def _few_shot_rows(sources: list[Source], labels: list[str]) -> list[dict]:
    rows = []
    once = _Once(lambda name: "few shots of {4}, fold {2}, seed {1}".format(*name))
    for source, label in zip(sources, labels, strict=True):
        seed = source.results["seed"]
        for row in source.results["few_shot"]["rows"]:
            name = (label, seed, row["fold"], row["shots"], row["class"], row["draw"], row.get("answer"))
            outcome = {key: value for key, value in row.items() if key != "seconds"}
            if once.take(name, outcome, source.workdir):
                rows.append({**row, "seed": seed, "label": label})
    return rows
