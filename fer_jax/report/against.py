"""The page that sets two workdirs side by side: keys in which they differ, their numbers, and both in one figure."""

import pathlib
from typing import NamedTuple

import numpy as np

from fer_jax import statistics
from fer_jax.config import PLACES
from fer_jax.errors import UserError
from fer_jax.report import content, drawing, figures, forgetting, selection
from fer_jax.runs import files
from fer_jax.runs.names import METRIC_NAMES, method_name, percent, percent_header
from fer_jax.runs.results import answers_again, by_method, read, restated
from fer_jax.sweeps.merge import differing

METRICS = ("final_accuracy", "average_incremental_accuracy", "forgetting", "base_retention_final", "new_class_accuracy")
DRAWN = 3  # methods of the figure
TOLD = 3  # keys and classes that a sentence names


class Side(NamedTuple):
    """One of the two workdirs: the letter that the page calls it by, and its results."""

    letter: str
    workdir: pathlib.Path
    results: dict


def write(first: pathlib.Path, second: pathlib.Path, out: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page that compares a second workdir with a first one; replaces an older one.

    Args:
      out: the folder of the page and its figure; None is `against/` in the first workdir.

    Returns:
      the path of the page.

    Raises:
      UserError: one of them has no results, or they cannot be compared.
    """
    if first.resolve() == second.resolve():
        raise UserError(f"--against {second} is the same workdir as --workdir; name another one")
    sides = tuple(Side(*one) for one in (("A", first, restated(read(first))), ("B", second, restated(read(second)))))
    check(*sides)
    folder = out or first / "against" / drawing.slug(second.resolve().name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    pairs = paired(*sides)
    items = list(pairs.items())
    # A method's further answers lie on its own line, nearly.
    drawn = dict([item for item in items if not answers_again(item[1][0])][:DRAWN])
    columns = {method: tuple(side.results["continual"][one] for side, one in zip(sides, pair, strict=True))
               for method, pair in drawn.items()}  # fmt: skip
    text = content.environment().get_template("against.html").render(
        sides=sides,
        sentences=sentences(*sides, pairs),
        numbers=[numbers(*sides, dict(some)) for some in (items[:1], items[1:])],
        keys=keys(*sides),
        classes=classes(*sides, pairs),
        results=sides[1].results,
        curves=drawing.save(figures.two_curves(columns, ("A", "B")), folder, "accuracy",
                            "accuracy against the number of known classes, both workdirs") if pairs else None,
    )  # fmt: skip
    files.write(path, text)
    return path


def check(a: Side, b: Side) -> None:
    """Checks that two workdirs answer the same question.

    Raises:
      UserError: their protocols or classes differ.
    """
    where = f"--against {b.workdir} cannot be compared with --workdir {a.workdir}"
    one, other = a.results, b.results
    if one["protocol"] != other["protocol"]:
        raise UserError(f"{where}: its protocol is {other['protocol']}, the other's is {one['protocol']}")
    theirs, ours = other["data"]["classes"], one["data"]["classes"]
    if theirs != ours:
        only = [name for name in theirs if name not in ours] or [name for name in ours if name not in theirs]
        reason = f"only one of them has the class {only[0]}" if only else "its classes stand in another order"
        raise UserError(f"{where}: it has {len(theirs)} classes, the other {len(ours)}, and {reason}")
    for key, values in (
        ("data.n_base", [r["data"]["n_base"] for r in (other, one)]),
        (
            "protocol.classes_per_increment",
            [r["config"].get("protocol.classes_per_increment") or 1 for r in (other, one)],
        ),
    ):
        if values[0] != values[1]:
            raise UserError(f"{where}: its {key} is {values[0]}, the other's is {values[1]}")


def paired(a: Side, b: Side) -> dict[str, tuple[str, str]]:
    """Returns the columns to compare, (of A, of B) by their readable name; first a main method, that of both if any."""
    mains = [selection.main_method(side.results) for side in (a, b)]
    if None in mains:
        return {}
    shared = [column for column in by_method(a.results) if column in by_method(b.results)]
    first = next((main for main in mains if main in shared), None)
    names = [first, *shared] if first else shared
    pairs = {} if first else {" and ".join(map(method_name, mains)): tuple(mains)}
    return pairs | {method_name(name): (name, name) for name in names}


def keys(a: Side, b: Side) -> list[list[str]]:
    """Returns the keys of the config in which the two differ, with both values; places on the disk are none."""
    first, second = a.results["config"], b.results["config"]
    return [
        [key, *(repr(value) for value in values)]
        for key, values in differing([first, second]).items()
        if key not in PLACES
    ]


def numbers(a: Side, b: Side, pairs: dict[str, tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: a method's metric a row, with the value of A, of B, and B minus A."""
    rows, every = [], []
    for called, columns in pairs.items():
        entries = [side.results["continual"][column] for side, column in zip((a, b), columns, strict=True)]
        for metric in METRICS:
            estimates = [entry["metrics"].get(metric) for entry in entries]
            if None in estimates:
                continue
            every += estimates
            change = difference(a, b, columns, metric)
            rows.append([f"{called}: {METRIC_NAMES[metric]}", *map(percent, estimates), _points(change)])
    return [percent_header(every, "class orders"), "A", "B", "B minus A, points"], rows


def difference(a: Side, b: Side, columns: tuple[str, str], metric: str) -> dict:
    """Estimates B minus A: paired where both have a run of the same seed, fold and order, else that of the means.

    The means' difference has `mean` alone; a run of other data is none of the same seed.
    """
    values = [
        statistics.values_of([{**run, "seed": run.get("seed", side.results["seed"])}
                              for run in side.results["continual"][column]["runs"]], metric)
        for side, column in zip((a, b), columns, strict=True)
    ]  # fmt: skip
    same = a.results["data"]["sha256"] == b.results["data"]["sha256"]
    if same and (found := statistics.difference(values[1], values[0])):
        return found
    means = [
        side.results["continual"][column]["metrics"][metric]["mean"]
        for side, column in zip((a, b), columns, strict=True)
    ]
    return {"mean": means[1] - means[0], "low": None}


def _points(change: dict) -> str:
    text = f"{100 * change['mean']:+.1f}"
    return text if change["low"] is None else f"{text} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"


def sentences(a: Side, b: Side, pairs: dict[str, tuple[str, str]]) -> list[str]:
    """Returns what the comparison comes to, in sentences."""
    changed = keys(a, b)
    named = ", ".join(f"{key} ({one} in A, {other} in B)" for key, one, other in changed[:TOLD])
    more = f" and {len(changed) - TOLD} more" if len(changed) > TOLD else ""
    said = [f"The configs differ in {named}{more}." if changed else "The configs are the same."]
    if a.results["data"]["sha256"] != b.results["data"]["sha256"]:
        said.append("The data sets are not the same bytes, so a difference may come from the images.")
    if not pairs:
        return said
    columns = next(iter(pairs.values()))
    change = difference(a, b, columns, "final_accuracy")
    values = [side.results["continual"][column]["metrics"]["final_accuracy"]["mean"]
              for side, column in zip((a, b), columns, strict=True)]  # fmt: skip
    second = "" if columns[0] == columns[1] else f"{method_name(columns[1])} "
    said.append(
        f"{method_name(columns[0])} names {100 * values[0]:.1f} % of the test images right in the end in A, and "
        f"{second}{100 * values[1]:.1f} % in B: {_changed(change['mean'])}."
    )
    if "n" not in change:
        said.append("They share no run of the same data, seed, fold and class order, so no interval can be given.")
    elif change["low"] is None:
        said.append("One base model cannot tell such a difference from chance; more seeds can.")
    elif change["low"] <= 0 <= change["high"]:
        said.append("The 95 % interval over base models has 0 in it, so this may be chance.")
    gained = sorted(_by_class(a, b, columns).items(), key=lambda item: -item[1])
    up, down = ([f"{name} ({100 * by:+.0f})" for name, by in some if by * sign > 0][:TOLD]
                for sign, some in ((1, gained), (-1, gained[::-1])))  # fmt: skip
    for word, some in (("gained", up), ("lost", down)):
        if some:
            said.append(f"Most was {word} by {', '.join(some)}, in points.")
    return said


def _changed(by: float) -> str:
    points = f"{100 * abs(by):.1f}"
    return "no change" if points == "0.0" else f"{points} points {'more' if by > 0 else 'less'}"


def _by_class(a: Side, b: Side, columns: tuple[str, str]) -> dict[str, float]:
    """Returns B's final accuracy minus A's by class, mean over the runs of each."""
    one, other = (_final_by_class(side, column) for side, column in zip((a, b), columns, strict=True))
    return dict(zip(a.results["data"]["classes"], (other - one).tolist(), strict=True))


def _final_by_class(side: Side, column: str) -> np.ndarray:
    runs = side.results["continual"][column]["runs"]
    return forgetting.mean_over_runs([np.asarray(run["accuracy_matrix"][-1], np.float64) for run in runs])


def classes(a: Side, b: Side, pairs: dict[str, tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: the final accuracy of the first method on every class, most gained first."""
    if not pairs:
        return [], []
    called, columns = next(iter(pairs.items()))
    values = [dict(zip(a.results["data"]["classes"], _final_by_class(side, column).tolist(), strict=True))
              for side, column in zip((a, b), columns, strict=True)]  # fmt: skip
    rows = [[name, f"{100 * values[0][name]:.0f}", f"{100 * values[1][name]:.0f}", f"{100 * by:+.0f}"]
            for name, by in sorted(_by_class(a, b, columns).items(), key=lambda item: -item[1])]  # fmt: skip
    return [f"{called}, %", "A", "B", "B minus A, points"], rows
