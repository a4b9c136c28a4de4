"""Tables of the report as rows of text, from results.json."""

from fer_jax.methods import METHODS
from fer_jax.runs.names import METRIC_NAMES, method_name, percent, percent_header
from fer_jax.runs.results import answers_again, by_method

OVERVIEW = ("final_accuracy", "average_incremental_accuracy", "forgetting")
FEW_SHOT_NAMES = {
    "new_class_accuracy": "new class",
    "base_accuracy": "six basics",
    "harmonic_mean": "harmonic mean",
    "accuracy": "all known classes",
}


def search_seconds(results: dict) -> float | None:
    """Returns the wall time of all searches; None if that of any search is not recorded."""
    total = 0.0
    for name, entry in results["continual"].items():
        for run in [] if answers_again(name) else entry["runs"]:
            if run["search"].get("seconds") is None and run["search"].get("tried"):
                return None
            total += run["search"].get("seconds") or 0.0
    return total


def state(missing: dict) -> str:
    """Describes how far a run got that a merged report misses."""
    return f"{missing['state']}: {missing['reason']}" if missing["reason"] else missing["state"]


def overview(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: a method a row, best first, with the few metrics that say most."""
    methods = by_method(results)
    shown = [metric for metric in OVERVIEW if any(metric in entry["metrics"] for entry in methods.values())]
    every = [entry["metrics"][metric] for entry in methods.values() for metric in shown if metric in entry["metrics"]]
    header = [percent_header(every, "class orders"), *(METRIC_NAMES[metric] for metric in shown)]
    best_first = sorted(methods.items(), key=lambda item: -item[1]["metrics"]["final_accuracy"]["mean"])
    rows = [
        [method_name(method), *(percent(entry["metrics"].get(metric)) for metric in shown)]
        for method, entry in best_first
    ]
    return header, rows


def metrics_table(results: dict, variants: bool = True) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: a metric a row, a method a column.

    Args:
      variants: whether to include other libraries' metrics of the same name.
    """
    methods = by_method(results)
    every = [estimate for entry in methods.values() for estimate in entry["metrics"].values()]
    header = [percent_header(every, "class orders"), *map(method_name, methods)]
    rows = [
        [label, *(percent(entry["metrics"].get(metric)) for entry in methods.values())]
        for metric, label in METRIC_NAMES.items()
        if any(metric in entry["metrics"] for entry in methods.values())
        and (variants or not metric.endswith(("_task_mean", "_since_learned")))
    ]
    return header, rows


def comparison_table(results: dict, metric: str = "average_incremental_accuracy") -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: a method a row, best first, with its paired difference to the reference; no row if fewer
    than two methods have the metric.
    """
    methods = {m: entry["metrics"][metric] for m, entry in by_method(results).items() if metric in entry["metrics"]}
    if len(methods) < 2:
        return [], []
    compared, better = results["comparison"], 1 if metric == "forgetting" else -1
    differences = compared["metrics"].get(metric, {}).get("to_reference", {})
    explained = percent_header([*methods.values(), *differences.values()], "class orders")
    header = [f"{METRIC_NAMES[metric]}, {explained}", f"difference to {method_name(compared['reference'])}"]
    rows = [
        [f"{method_name(method)}: {percent(own)}", percent(differences.get(method))]
        for method, own in sorted(methods.items(), key=lambda item: better * item[1]["mean"])
    ]
    return header, rows


def few_shot_table(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: shots a row; a class is the mean over its draws."""
    every = [estimate for entry in results["few_shot"]["estimates"].values() for estimate in entry.values()]
    header = [percent_header(every, "classes"), *FEW_SHOT_NAMES.values()]
    rows = [
        [_shots_name(shots), *(percent(entry.get(name)) for name in FEW_SHOT_NAMES)]
        for shots, entry in sorted(results["few_shot"]["estimates"].items(), key=_shots_order)
    ]
    return header, rows


def _shots_name(key: str) -> str:
    shots, comma, rest = key.partition(", ")
    return f"{shots} shot{'s' if shots != '1' else ''}{comma}{rest}"


def _shots_order(item: tuple[str, dict]) -> tuple[str, float]:
    shots, _, rest = item[0].partition(", ")
    return rest, float({"no": "0", "all": "inf"}.get(shots, shots))


def basic_table(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: a fold a row, accuracy of the base model on the base classes."""
    header = ["fold", "validation, %", "test, %", "epochs"]
    rows = [
        [
            _base_name(entry),
            f"{100 * entry['validation_accuracy']:.1f}",
            f"{100 * entry['test_accuracy']:.1f}",
            ", ".join(f"{stage} {len(s['history'])}" for stage, s in entry["stages"].items()),
        ]
        for entry in results["basic"]
    ]
    return header, rows


def _base_name(entry: dict) -> str:
    seed = f"seed {entry['seed']}" if "seed" in entry else ""
    return ", ".join(filter(None, [str(entry["fold"]), seed, entry.get("label"), entry.get("objective")]))


def trunk_use(results: dict) -> str:
    """Describes which methods were exact and which trained on cached views; "" if runs differ in that.

    A method that is not in `methods.METHODS` is assumed to train from `continual.cut`.
    """
    config = results["config"]
    views, cuts = config.get("feature_cache.views"), {}
    for method in by_method(results):
        name = method.partition(", ")[0]
        settings = METHODS[name].settings if name in METHODS else "continual"
        cuts[method] = config.get(f"{settings}.cut")
    if views is None or (views and None in (config["continual.cut"], *cuts.values())):
        return ""
    exact = [method_name(method) for method, cut in cuts.items() if not views or cut == "input"]
    if len(exact) == len(cuts):
        return "Continual learning was exact: the frozen trunk ran in every step, on images augmented anew."
    sentence = f"Continual learning read {views} cached views of each image, the frozen trunk's output for them"
    if exact:
        sentence += f"; exact, trained as a whole on images augmented anew: {', '.join(exact)}"
    return f"{sentence}."


def time_table(results: dict) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: the wall time of every phase."""
    seconds = results["seconds"]
    rows = [["basic", f"{seconds['basic']:.0f}"]]
    for method in by_method(results):
        if not answers_again(method):
            rows.append([f"continual, {method_name(method)}", f"{seconds['continual'][method]:.0f}"])
    if search := search_seconds(results):
        rows.append(["search for settings", f"{search:.0f}"])
    rows.append(["few-shot", f"{seconds['few_shot']:.0f}"])
    return ["phase", "seconds"], rows
