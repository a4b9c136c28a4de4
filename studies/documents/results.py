"""The tables that docs/results.md and docs/explanations.md show of committed results."""

from collections.abc import Callable

import numpy as np

from fer_jax import statistics
from fer_jax.explain import maps as explain
from fer_jax.explain import run as explain_run
from fer_jax.report import tables
from fer_jax.runs.names import METRIC_NAMES, method_name
from fer_jax.runs.results import answers_again, by_method
from studies.documents.markdown import markdown
from studies.documents.performance import times, where

# Results from before there was a choice are of the oracle.
CHOSEN_BY = {
    "none": "All epochs are run: no validation image of the new class has a say",
    "seen": "Validation images of all seven classes choose the epoch: an oracle, with more labels of the new class "
    "than its shots",
}


def quickstart(results: dict) -> str:
    """Continual and few-shot tables of a run, with where and how long it ran."""
    bayes = results["data"]["metadata"]["bayes"]
    device, seconds = results["environment"]["device"], results["seconds"]
    config = results["config"]
    chosen = CHOSEN_BY[config.get("few_shot.selection", "seen")]
    if "network" not in config.get("few_shot.answers", ["network"]):
        chosen = "Nothing is trained for it"
    # A classifier that answers again after the same training took no time of its own.
    continual = sum(own for name, own in seconds["continual"].items() if not answers_again(name))
    total = seconds["basic"] + continual + seconds["few_shot"]
    return "\n\n".join([
        markdown(*tables.metrics_table(results, variants=False)),
        f"Bayes accuracy of the 21 classes: {100 * bayes['all']:.1f}; of the six: {100 * bayes['basic']:.1f}. "
        f"Basic model on the six: {100 * results['basic'][0]['test_accuracy']:.1f}.",
        f"From the basic model, one new class from few images of it; a class is the mean over "
        f"{config['few_shot.draws']} draws (all shots: one). {chosen}:",
        markdown(*tables.few_shot_table(results)),
        f"{total / 60:.1f} minutes in the three phases on {device['count']} × {device['kind']}, "
        f"Python {results['environment']['python']}, "
        f"jax {results['environment']['packages']['jax']}.",
    ])  # fmt: skip


def identity_gap(found: dict) -> str:
    """The measured gap, a number of expressions a row."""
    header = ["%, mean [95 % interval]", "other pictures of these subjects", "pictures of other subjects", "difference"]
    rows = [
        [f"{n_classes} expressions", *(tables.percent(task["estimates"][name]) for name in GAP_COLUMNS)]
        for n_classes, task in found["by_classes"].items()
    ]
    return (
        f"{markdown(header, rows)}\n\n{found['settings']['n_subjects'] // 2} subjects a side; n counts seeds, each "
        "with subjects of its own ([docs/results/identity_gap.json](results/identity_gap.json), made by `make gap`)."
    )


def imbalance(found: dict) -> str:
    """Each measure without balancing, with it in two ways, and what each way changes."""
    settings, estimates, differences = found["settings"], found["estimates"], found["differences"]
    header = ["%, mean [95 % interval]", "none"]
    rows = []
    for balance in differences:
        header += [f"`{balance}`", "less none"]
    for name, plain in estimates["none"].items():
        row = [_of_imbalance(name), tables.percent(plain)]
        for balance in differences:
            row += [tables.percent(estimates[balance][name]), tables.percent(differences[balance][name])]
        rows.append(row)
    return (
        f"{markdown(header, rows)}\n\n{_benefit(differences)}\n\n"
        "Among six basics and among fifteen compounds, the most frequent class has "
        f"{settings['ratio']} times as many images as the rarest. Of {settings['n_subjects']} subjects, a "
        "fifth are test subjects. n counts base models, each with subjects of its own and the mean of two class orders "
        "([docs/results/imbalance.json](results/imbalance.json), made by `make imbalance`)."
    )


def _of_imbalance(name: str) -> str:
    """What is measured, in words."""
    who, measure = name.split(", ")
    return f"{who if who == 'base' else method_name(who)}, {IMBALANCE_MEASURES[measure]}"


def _benefit(differences: dict) -> str:
    """What the intervals of the differences from no balancing say, in words."""
    measured = [(balance, name, one) for balance, of in differences.items() for name, one in of.items()]
    above, below = [each for each in measured if each[2]["low"] > 0], [each for each in measured if each[2]["high"] < 0]
    neither = len(measured) - len(above) - len(below)
    said = (
        f"Of {len(measured)} differences from no balancing, the intervals of {neither} include 0, {len(above)} are "
        f"above 0 and {len(below)} below; they are not corrected for their number."
    )
    for word, some in (("Above", above), ("Below", below)):
        each = (
            f"`{balance}`, {_of_imbalance(name)}, {tables.percent(one).partition(' (')[0]}"
            for balance, name, one in some
        )
        said += f" {word}: {'; '.join(each)}." if some else ""
    return said


def transfer(found: dict) -> str:
    """Accuracy from ImageNet weights and from random ones."""
    settings = found["settings"]
    header = ["%, mean [95 % interval]", *TRANSFER_COLUMNS.values()]
    row = ["six basics, held-out subjects", *(tables.percent(found["estimates"][name]) for name in TRANSFER_COLUMNS)]
    return (
        f"{markdown(header, [row])}\n\n{settings['n_subjects'] // 3} subjects each to train, validate and test; "
        f"{settings['image_size']} pixels; {_budget(found)}. n counts seeds, each with subjects of its own "
        "([docs/results/transfer.json](results/transfer.json), made by `make transfer`)."
    )


def _budget(found: dict) -> str:
    """How long both starts were trained, and with which learning rates."""
    settings, rows = found["settings"], found["rows"]

    def words(start: str, name: str) -> str:
        chosen, epochs = found["search"][start], [row[f"{start}_epochs"] for row in rows]
        inside = "inside" if chosen["inside"] else "at the edge of"
        tried, ended = [float(rate) for rate in chosen["tried"]], sum(row[f"{start}_plateau"] for row in rows)
        return (
            f"{name}: {chosen['learning_rate']:g} ({inside} {min(tried):g} to {max(tried):g}), "
            f"{min(epochs)} to {max(epochs)} epochs ({ended} of {len(rows)} ended at a plateau)"
        )

    return (
        f"validation subjects choose the epoch, those of another seed the learning rate; a plateau is "
        f"{settings['patience']} epochs without a better one. {words('pretrained', 'ImageNet weights')}; "
        f"{words('scratch', 'random weights')}"
    )


def comparison(results: dict) -> str:
    """Methods by average incremental and by final accuracy, best first, and how long all of it took."""
    device, seconds = results["environment"]["device"], results["seconds"]
    parts = [
        markdown(*table)
        for metric in ("average_incremental_accuracy", "final_accuracy")
        if (table := tables.comparison_table(results, metric))[1]
    ]
    trained = {name: s for name, s in seconds["continual"].items() if not tables.answers_again(name)}
    search = tables.search_seconds(results)
    total = seconds["basic"] + sum(trained.values()) + (search or 0)
    more = {None: " (the time of the search was not recorded)", 0: ""}.get(search, ", the search included")
    environments = len(results.get("merged", {}).get("environments", ()))
    mixed = f" Runs come from {environments} environments (`merged.environments`)." if environments > 1 else ""
    return "\n\n".join([
        *parts,
        f"{total / 60:.0f} minutes of training{more}, all cells added up, on {device['count']} × {device['kind']}, "
        f"Python {results['environment']['python']}, jax {results['environment']['packages']['jax']}.{mixed}",
    ])  # fmt: skip


# What variants of the paper's method differ in: the words of a variant's name that have it, and those of the others.
FACTORS = {
    "herding less random exemplars": ("herding", "random"),
    "random exemplars less Predictive Sorting": ("random", "predictive_sort"),
    "distilled less not": ("base previous", "alone"),
    "previous model as teacher less base model": ("previous", "base"),
    "missing classes left out less padded": ("masked", "padded"),
}


def factors(results: dict) -> str:
    """Differences between the variants that have an ingredient and those that have another, averaged over the rest."""
    runs = {
        "predictive_sort_base_masked" if name == "kd_psmr" else name.rpartition(".")[2]: entry["runs"]
        for name, entry in results["continual"].items()
    }

    def mean(words: str, metric: str) -> dict:
        found = [statistics.values_of(of, metric) for name, of in runs.items() if any(w in name for w in words.split())]
        return {run: float(np.mean([values[run] for values in found])) for run in found[0]}

    measures = ("average_incremental_accuracy", "final_accuracy")
    rows = [
        [words, *(tables.percent(statistics.difference(mean(one, m), mean(other, m))) for m in measures)]
        for words, (one, other) in FACTORS.items()
    ]
    return markdown(["difference, mean over variants", *(METRIC_NAMES[m] for m in measures)], rows)


def search(results: dict) -> str:
    """For each method that searched, in how many runs its choice lies at either end of what was tried."""
    rows = []
    for name, entry in by_method(results).items():
        searches = [run["search"] for run in entry["runs"] if run["search"].get("tried")]
        if searches and not answers_again(name):
            rows.append([method_name(name), *(_ends(searches, key) for key in ("learning_rate", "strength"))])
    return markdown(["runs whose choice is the lowest, the highest", "learning rate", "strength"], rows)


def _ends(searches: list[dict], key: str) -> str:
    """The number of choices at the lowest value tried and at the highest, of how many."""
    if searches[0][key] is None:
        return "–"
    tried = [[row[key] for row in one["tried"]] for one in searches]
    low, high = (
        sum(one[key] == end(values) for one, values in zip(searches, tried, strict=True)) for end in (min, max)
    )
    return f"{low}, {high} of {len(searches)}"


def peer_avalanche(found: dict) -> str:
    """Ours and Avalanche's final accuracy on both streams, with ratios of seconds, and of memory."""
    library, peaks = f"Avalanche {found['peer']['avalanche']}", found["peak_bytes"]
    parts = []
    for stream, methods in found["streams"].items():
        header = [f"{stream}: final accuracy, %", "ours", library, "difference", "times as fast", "training alone"]
        rows = [
            [method_name(name), *(tables.percent(one["final_accuracy"][what]) for what in PEER_COLUMNS),
             times(one["times_avalanche"]), times(one["training_times_avalanche"])]
            for name, one in sorted(methods.items(), key=lambda item: -item[1]["final_accuracy"]["ours"]["mean"])
        ]  # fmt: skip
        parts.append(markdown(header, rows))
    s = found["settings"]
    said = (
        f"Intervals are over {s['seeds']} base models, each with a class order of its own; n counts them. Ratios are "
        f"those of runs by turns. {s['train']} training and {s['test']} test pictures, {s['exemplars']} exemplars of a "
        "class."
    )
    machine = (
        f"The most memory that a process held: ours {peaks['ours'] / 1e9:.2f} GB, Avalanche's "
        f"{peaks['avalanche'] / 1e9:.2f} GB. XLA had compiled {found['compile_seconds']:.0f} s before. PyTorch "
        f"{found['peer']['torch']} has {found['peer']['threads']} thread, XLA every core; {where(found)}."
    )
    return "\n\n".join([*parts, said, machine])


def explanations(found: dict) -> str:
    """What Grad-CAM's maps share and what they stand, a measure a row, both variants."""

    def row(name: str, of: Callable[[str], dict]) -> list[str]:
        return [name, *(explain_run.in_words(of(variant)) for variant in explain.VARIANTS)]

    def head(variant: str) -> dict:
        return found["sanity"][variant][0]

    def lowest(variant: str) -> dict:
        """Randomised down to the block whose input the map is, the last step that leaves what is below it."""
        steps = [step["down_to"] for step in found["sanity"][variant]]
        return found["sanity"][variant][steps.index(found["layer"])]

    header = ["mean [95 % interval] over subjects", "guided (the paper's)", "plain"]
    rows = [
        *(row(f"overlap {name}", lambda variant, key=key: found["overlap"][variant]["all"][key])
          for key, name in OVERLAPS.items()),
        row("rank correlation, head randomised (0 is right)", lambda variant: head(variant)["rank_correlation"]),
        row(f"…, randomised down to `{found['layer']}`", lambda variant: lowest(variant)["rank_correlation"]),
        ["constant maps left out of these two",
         *(f"{head(v)['constant_maps']}, {lowest(v)['constant_maps']}" for v in explain.VARIANTS)],
        row("share of channels with a positive weight", lambda variant: found["channel_weights"][variant]["positive"]),
        row("rank correlation of channels' weights, head randomised",
            lambda variant: found["channel_weights"][variant]["randomised_head"]),
        *(row(f"{name} less that of random maps ({better} 0 is better)",
              lambda variant, name=name: found["faithfulness"][variant][f"{name}_against_random"])
          for name, better in (("deletion", "below"), ("insertion", "above"))),
    ]  # fmt: skip
    model = found["model"]
    return (
        f"{markdown(header, rows)}\n\n{found['test_images']} test images of {found['test_subjects']} subjects; "
        f"the checks take {found['checked_images']} of them. The model is {model['method']}, class order "
        f"{model['order']}, after its last increment. Maps have {' × '.join(map(str, found['map_size']))} entries at "
        f"`{found['layer']}` ([docs/results/explain.json](results/explain.json), made by `make explain`)."
    )


OVERLAPS = {
    "with_parents": "with the maps of the two parents",
    "with_others": "with those of the other basic classes",
    "difference": "difference",
}
PEER_COLUMNS = ("ours", "avalanche", "difference")
IMBALANCE_MEASURES = {
    "macro-F1": "macro-F1",
    "mean recall": "mean recall of classes",
    "macro_f1_final": "macro-F1 after the last increment",
    "macro_f1_average": "macro-F1, mean over increments",
    "mean_class_recall_final": "mean recall after the last increment",
}
GAP_COLUMNS = ("image_disjoint", "subject_disjoint", "gap")
TRANSFER_COLUMNS = {"pretrained": "ImageNet weights", "scratch": "random weights", "gain": "difference"}
