"""The headline numbers at the top of the page."""

from fer_jax import statistics
from fer_jax.report import selection
from fer_jax.runs.names import method_name

METRICS = {
    "average_incremental_accuracy": "average incremental accuracy",
    "final_accuracy": "final accuracy, all classes",
    "macro_f1_final": "macro-F1, final",
    "mean_class_recall_final": "mean class recall, final",
    "forgetting": "forgetting",
    "base_retention_final": "base classes, in the end",
}
BOUNDS = {"joint": "joint training, final", "finetune": "finetuning, final"}


def cards(results: dict) -> list[dict]:
    """Returns one dict a number: `label`, `value` in per cent, and `more`: its interval or range, and what n counts."""
    listed = []
    # The config's own, not those that a method asks for.
    own = [base for base in results["basic"] if base.get("objective") is None]
    accuracies = {(base.get("label"), base.get("seed"), base["fold"]): base["test_accuracy"] for base in own}
    if accuracies:
        listed.append(_card("base task, test accuracy", statistics.estimate(accuracies), "settings"))
    method = selection.main_method(results)
    if method is None:
        return listed
    measured = results["continual"][method]["metrics"]
    listed += [_card(label, measured[key], "class orders") for key, label in METRICS.items() if key in measured]
    for bound, label in BOUNDS.items():
        there = results["continual"].get(bound)
        if there and bound != method:
            listed.append(_card(label, there["metrics"]["final_accuracy"], "class orders"))
    return listed


def _card(label: str, estimate: dict, over: str) -> dict:
    n = estimate["base_models"]
    more = [f"n = {n} base model{'s' if n > 1 else ''}"]
    if n > 1:
        more.insert(0, f"95 % interval {100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}")
    if estimate["n"] > n:
        more.append(f"range over {over} {100 * estimate['lowest']:.1f} to {100 * estimate['highest']:.1f}")
    return {"label": label, "value": f"{100 * estimate['mean']:.1f}", "more": "; ".join(more)}


def title(results: dict) -> str:
    """Returns the readable name of the headline's method."""
    method = selection.main_method(results)
    return "" if method is None else method_name(method)
