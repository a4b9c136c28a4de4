"""The tables of docs/method.md: the proposed method beside others, its parts, and base objectives by classifier."""

import functools
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from fer_jax import statistics
from fer_jax.report import tables
from fer_jax.runs.names import METRIC_NAMES, method_name, percent
from fer_jax.runs.results import answers_again, by_method, restated
from studies.documents.markdown import markdown
from studies.documents.results import comparison

PROPOSED, BOUND = "contrastive_replay", "joint_contrastive"
MEASURES = ("average_incremental_accuracy", "final_accuracy", "macro_f1_final", "mean_class_recall_final")
OBJECTIVE, SHARE = "basic.objective=", "memory.share="
PARTS = {
    "cross_entropy": "base task: cross-entropy alone",
    "mixup": "base task: without the contrastive term",
    "contrastive": "base task: without mixing images",
    "tail": "increments: conv5 and the head, as other methods train them",
    "distilled": "increments: distillation from the base model added",
    "constant": "increments: a constant learning rate",
    "best_epoch": "increments: the epoch that validation images choose",
    "random": "memory: random exemplars",
    "predictive_sort": "memory: Predictive Sorting",
    "(network)": "answer: the network",
    "(exemplar_mean)": "answer: the nearest mean of exemplars",
    "plain": "features: without mirror images",
}
BASES = {
    "action_units": "action units of each image as targets",
    "mixed_identities": "people between two people in the second view",
}
RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"


def best(results: dict) -> str:
    """The proposed method and others by each measure, shares of joint training and of Bayes, bytes, and few shots."""
    final = {name: _by_base(by_method(results)[name]["runs"], "final_accuracy") for name in (PROPOSED, BOUND)}
    bayes = results["data"]["metadata"]["bayes"]["all"]
    share = statistics.estimate({(0, *base): own / final[BOUND][base] for base, own in final[PROPOSED].items()})
    in_bayes = statistics.estimate({(0, *base): bound / bayes for base, bound in final[BOUND].items()})
    return "\n\n".join([
        measures(results),
        f"Final accuracy as a share of joint training's from the same base model: {percent(share)}. Joint training's "
        f"as a share of the Bayes accuracy, {100 * bayes:.1f}: {percent(in_bayes)}.",
        "Differences to the proposed method, paired by base model and order:",
        comparison(versus(results, PROPOSED)),
        markdown(*stored(results)),
        f"From the base model, one new class from few images of it; a class is the mean over "
        f"{results['config']['few_shot.draws']} draws:",
        markdown(*tables.few_shot_table(results)),
    ])  # fmt: skip


SHORT = (PROPOSED, "kd_psmr", "slda", "icarl", "joint", BOUND)


def short(results: dict) -> str:
    """README's table: average incremental and final accuracy, mean and interval alone."""
    found = by_method(results)
    rows = [
        [method_name(name), *(_brief(found[name]["metrics"].get(metric)) for metric in MEASURES[:2])] for name in SHORT
    ]
    n = found[PROPOSED]["metrics"][MEASURES[0]]["base_models"]
    return markdown([f"%, mean [95 % interval], n = {n}", *(METRIC_NAMES[metric] for metric in MEASURES[:2])], rows)


def _brief(estimate: dict | None) -> str:
    return percent(estimate).partition(" (")[0]


def memory(results: dict) -> str:
    """The proposed method by remembered share, and what a smaller one costs the runs of best.json, run by run."""
    whole = by_method(restated(json.loads((RESULTS / "best.json").read_text())))[PROPOSED]["runs"]
    smaller = {
        f"{100 * float(column.removeprefix(f'{PROPOSED}, {SHARE}')):g} %": entry["runs"]
        for column, entry in by_method(results).items()
        if column.startswith(f"{PROPOSED}, ")
    }
    rows = [["30 %", *(percent(_estimate(whole, metric)) for metric in MEASURES[:2]), "–", "–"]]
    for share, runs in smaller.items():
        lost = [_lost(whole, runs, metric) for metric in MEASURES[:2]]
        rows.append([share, *(percent(_estimate(runs, metric)) for metric in MEASURES[:2]), *map(percent, lost)])
    names = [METRIC_NAMES[metric] for metric in MEASURES[:2]]
    return markdown(["images remembered", *names, *(f"difference in {name}" for name in names)], rows)


def parts(results: dict, variants: Mapping[str, str] = PARTS) -> str:
    """What the proposed method gains or loses with one part as other methods have it, and by other answers."""
    runs = {name: entry["runs"] for name, entry in by_method(results).items()}
    rows = [[method_name(PROPOSED), *(percent(_estimate(runs[PROPOSED], metric)) for metric in MEASURES[:2])]]
    for name, words in variants.items():
        of = f"fer_jax.ingredients.{PROPOSED}_{name}" if not name.startswith("(") else f"{PROPOSED} {name}"
        rows.append([words, *(percent(_lost(runs[PROPOSED], runs[of], metric)) for metric in MEASURES[:2])])
    return markdown(["%; below the first row: differences", *(METRIC_NAMES[metric] for metric in MEASURES[:2])], rows)


# The same of its base objective with what related systems tell of a face.
bases = functools.partial(parts, variants=BASES)


def pretrained(results: dict) -> str:
    """Every method's own answer, and its differences to the proposed one."""
    return f"{measures(results)}\n\n{comparison(versus(results, PROPOSED))}"


def teach(found: dict) -> str:
    """What `fer-jax teach` answers right beside the few-shot phase, and its seconds."""
    names = {
        "new": "new class", "known": "six basics", "harmonic": "harmonic mean", "few_shot": "few-shot phase's",
        "difference": "difference",
    }  # fmt: skip
    rows = [[percent(found["estimates"][key]) for key in names]]
    seconds = ", ".join(f"{one:.1f}" for one in found["seconds"])
    return f"{markdown([*names.values()], rows)}\n\nSeconds of the command, three classes in a row: {seconds}."


def objectives(results: dict) -> str:
    """Final accuracy of each classifier, a column, of the base model of each objective, a row; and the base models'.

    A second table has the differences to the first objective.
    """
    found: dict[str, dict[str, list[dict]]] = {}
    for column, entry in by_method(results).items():
        method, _, label = column.partition(f", {OBJECTIVE}")
        found.setdefault(label, {})[method] = entry["runs"]
    first, *others = found
    methods = found[first]
    base = {label: {(0, one["seed"], one["fold"]): one["test_accuracy"] for one in results["basic"]
                    if one["label"] == f"{OBJECTIVE}{label}"} for label in found}  # fmt: skip
    rows = [
        [label, percent(statistics.estimate(base[label])),
         *(percent(_estimate(found[label][method], "final_accuracy")) for method in methods)]
        for label in found
    ]  # fmt: skip
    gained = [
        [label, percent(statistics.difference(base[label], base[first])),
         *(percent(_lost(found[first][method], found[label][method], "final_accuracy")) for method in methods)]
        for label in others
    ]  # fmt: skip
    names = ["six basics", *map(method_name, methods)]
    return "\n\n".join([
        markdown(["final accuracy, % [95 % interval]", *names], rows),
        markdown([f"difference to {first}", *names], gained),
    ])  # fmt: skip


def measures(results: dict) -> str:
    """Every method's own answer, a measure a column."""
    rows = [
        [method_name(name), *(percent(entry["metrics"].get(metric)) for metric in MEASURES)]
        for name, entry in by_method(results).items()
        if not answers_again(name)
    ]
    return markdown(["%, mean [95 % interval]", *(METRIC_NAMES[metric] for metric in MEASURES)], rows)


def stored(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: the kilobytes that a method stores after the last increment, beside its model."""
    kinds = ("exemplars", "recorded", "statistics", "anchor", "teacher")
    of = {
        name: entry["runs"][0]["stored_bytes"] for name, entry in by_method(results).items() if not answers_again(name)
    }
    shown = [kind for kind in kinds if any(one[kind] for one in of.values())]
    rows = [[method_name(name), *(f"{one[kind] / 1e3:,.0f}" for kind in shown)] for name, one in of.items()]
    return ["stored after the last increment, kB", *shown], rows


def versus(results: dict, reference: str) -> dict:
    """Returns results whose differences are to another method."""
    return {**results, "comparison": statistics.compare(by_method(results), reference)}


def _estimate(runs: list[dict], metric: str) -> dict:
    return statistics.estimate(statistics.values_of(runs, metric))


def _lost(whole: list[dict], runs: list[dict], metric: str) -> dict:
    before, after = statistics.values_of(whole, metric), statistics.values_of(runs, metric)
    return statistics.estimate({run: value - before[run] for run, value in after.items()})


def _by_base(runs: list[dict], metric: str) -> dict[tuple, float]:
    """Averages a metric over the class orders of each base model, by (seed, fold)."""
    values = statistics.values_of(runs, metric)
    bases = dict.fromkeys((seed, fold) for _, seed, fold in values)
    return {base: float(np.mean([value for (_, *of), value in values.items() if tuple(of) == base])) for base in bases}
