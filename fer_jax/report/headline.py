"""The headline numbers at the top of the page."""

import dataclasses

from fer_jax import metrics
from fer_jax.report import selection
from fer_jax.runs.names import method_name

METRICS = {
    "average_incremental_accuracy": "average incremental accuracy",
    "final_accuracy": "final accuracy, all classes",
    "forgetting": "forgetting",
    "base_retention_final": "base classes, in the end",
}
BOUNDS = {"joint": "joint training, final", "finetune": "finetuning, final"}


def cards(results: dict) -> list[dict]:
    """Returns one dict a number: `label`, `value` in per cent, `interval` (95 %, or empty), `n` and what it counts."""
    listed = []
    accuracies = [base["test_accuracy"] for base in results["basic"] if "objective" not in base]
    if accuracies:
        estimate = dataclasses.asdict(metrics.estimate(accuracies))
        if len(accuracies) == 1:
            estimate |= {"low": None, "high": None}
        listed.append(_card("base task, test accuracy", estimate, "base model"))
    method = selection.main_method(results)
    if method is None:
        return listed
    measured = results["continual"][method]["metrics"]
    listed += [_card(label, measured[key], "run") for key, label in METRICS.items() if key in measured]
    for bound, label in BOUNDS.items():
        there = results["continual"].get(bound)
        if there and bound != method:
            listed.append(_card(label, there["metrics"]["final_accuracy"], "run"))
    return [card for card in listed if card]


def _card(label: str, estimate: dict, counted: str) -> dict | None:
    if estimate["mean"] is None:
        return None
    interval = ""
    if estimate["low"] is not None:
        interval = f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}"
    n = estimate["n"]
    return {
        "label": label,
        "value": f"{100 * estimate['mean']:.1f}",
        "interval": interval,
        "n": f"{n} {counted}{'s' if n > 1 else ''}",
    }


def title(results: dict) -> str:
    """Returns the readable name of the headline's method."""
    method = selection.main_method(results)
    return "" if method is None else method_name(method)
