"""Readable names of the methods and metrics of results.json, and the text form of an estimate."""

METHOD_NAMES = {
    "kd_psmr": "KD + PSMR (the paper)",
    "finetune": "finetuning (lower bound)",
    "finetune_blind": "finetuning, epoch chosen on the new class alone",
    "joint": "joint training (upper bound)",
    "lwf": "LwF",
    "ewc": "EWC",
    "er": "experience replay, class-balanced",
    "er_reservoir": "experience replay, reservoir",
    "icarl": "iCaRL",
    "derpp": "DER++",
    "wa": "weight aligning",
    "bic": "BiC",
    "gdumb": "GDumb",
    "er_ace": "ER-ACE",
    "er_paired": "experience replay, batches in pairs",
    "derpp_paired": "DER++, batches in pairs",
    "er_ace_paired": "ER-ACE, batches in pairs",
    "ncm": "nearest class mean",
    "slda": "streaming LDA",
    "ranpac": "ridge regression on random features",
    "klda": "kernel LDA",
    "fecam": "FeCAM",
    "units_lda": "action units, LDA",
    "units_mixture": "action units, Gaussian mixtures",
    "units_naive_bayes": "action units, naive Bayes",
    "units_ridge": "action units, ridge regression",
    "features_units_lda": "features and action units, LDA",
    "features_units_mixture": "features and action units, Gaussian mixtures",
    "features_units_naive_bayes": "features and action units, naive Bayes",
    "features_units_ridge": "features and action units, ridge regression",
    "composition": "composition of basic classes (no image)",
    "contrastive_replay": "contrastive replay (ours)",
    "joint_contrastive": "joint training from the contrastive base model",
}
METRIC_NAMES = {
    "average_incremental_accuracy": "average incremental accuracy (t ≥ 1)",
    "average_incremental_accuracy_with_base": "… with the base step, as the paper has it",
    "macro_f1_average": "macro-F1, mean over t ≥ 1",
    "mean_class_recall_average": "mean class recall, mean over t ≥ 1",
    "final_accuracy": "final accuracy, all classes",
    "macro_f1_final": "macro-F1, final",
    "mean_class_recall_final": "mean class recall, final",
    "new_class_accuracy": "new-class accuracy",
    "base_accuracy": "base accuracy before the increments",
    "base_retention_final": "base retention, final",
    "novel_accuracy_final": "novel-class accuracy, final",
    "harmonic_mean_final": "harmonic mean of base and novel, final",
    "harmonic_mean_average": "harmonic mean of base and novel, mean over t ≥ 1",
    "forgetting": "forgetting (class-weighted)",
    "backward_transfer": "backward transfer (class-weighted)",
    "final_accuracy_task_mean": "final accuracy (task mean)",
    "average_incremental_accuracy_task_mean": "average incremental accuracy, t ≥ 1 (task mean)",
    "forgetting_task_mean": "forgetting (task mean)",
    "backward_transfer_task_mean": "backward transfer (task mean)",
    "forgetting_since_learned": "forgetting since learned (class-weighted)",
    "forgetting_since_learned_task_mean": "forgetting since learned (task mean)",
    "intransigence": "intransigence",
}


def method_name(method: str) -> str:
    """Returns a method's readable name; for a column of a merged report, what follows the comma is left as it is."""
    column, comma, rest = method.partition(", ")
    name, bracket, classifier = column.removeprefix("fer_jax.ingredients.").partition(" (")
    return METHOD_NAMES.get(name, name) + bracket + classifier + comma + rest


def percent(estimate: dict | None) -> str:
    """Formats an estimate in %: its mean, its 95 % interval over n base models, and the range within them.

    With several base models `43.1 [40.0, 46.2] (n = 3, range 38.0 to 47.5)`. One base model has no interval:
    `43.1 (range 38.0 to 47.5)`. For an estimate of independent values n counts these: `43.1 [40.0, 46.2] (n = 3)`.
    """
    if estimate is None or estimate["mean"] is None:
        return "–"
    n = estimate.get("base_models", estimate["n"])
    ranged = estimate["n"] > n
    text, notes = f"{100 * estimate['mean']:.1f}", []
    if estimate["low"] is not None:
        text += f" [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"
    if n > 1 or not ranged:
        notes.append(f"n = {n}")
    if ranged:
        notes.append(f"range {100 * estimate['lowest']:.1f} to {100 * estimate['highest']:.1f}")
    return f"{text} ({', '.join(notes)})"


def percent_header(estimates: list[dict], over: str) -> str:
    """Returns the header that explains the cells of `percent`.

    Args:
      over: what varies within a base model, in the plural.
    """
    if any(one["base_models"] > 1 for one in estimates):
        return f"%, mean [95 % interval over n base models] (range over {over})"
    most = max((one["n"] for one in estimates), default=1)
    return f"%, mean (range over {most} {over})" if most > 1 else "%, n base models"
