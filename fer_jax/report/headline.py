"""The first screen of the page: what was learned, how good it is, what went wrong and what to do next, in sentences."""

from typing import NamedTuple

import numpy as np

from fer_jax import statistics
from fer_jax.data.classes import WORDS
from fer_jax.report import forgetting, selection
from fer_jax.runs.names import method_name
from fer_jax.runs.results import answers_again, by_method

NAMED = 6  # classes that a sentence lists
PAIRS = 3  # confusions that are told
LEAST_SHARE = 0.05  # of a class's images, for a confusion to be told
NEAR = 0.05  # to joint training: what is left is not forgetting
EXPRESSIONS = {word for words in WORDS for word in words}


class Bar(NamedTuple):
    """A bar of the scale from 0 to 1; `kind` is "main", "bound" or "other"."""

    name: str
    value: float
    kind: str


class Card(NamedTuple):
    """What the first screen says of one question: a number in large type, sentences, and (purpose, command)."""

    question: str
    number: str
    sentences: list[str]
    commands: tuple[tuple[str, str], ...] = ()


def title(results: dict) -> str:
    """Returns the readable name of the method that the page shows in detail."""
    method = selection.main_method(results)
    return "" if method is None else method_name(method)


def noun(results: dict) -> tuple[str, str]:
    """Returns what a class is and what several are: an expression, if a base class is named as one, else a class."""
    names = results["data"]["classes"][: results["data"]["n_base"]]
    named = EXPRESSIONS & {name.lower() for name in names}
    return ("an expression", "expressions") if named else ("a class", "classes")


def learned(results: dict) -> list[str]:
    """Returns the sentences that say what was learned and from what, for who has never heard of such learning."""
    data, (_, what) = results["data"], noun(results)
    names, n_base = data["classes"], data["n_base"]
    new, at_once = len(names) - n_base, results["config"].get("protocol.classes_per_increment") or 1
    listed = f": {_listed(names[:n_base])}" if n_base <= NAMED else ""
    sentences = [f"A network first learned {n_base} {what} together{listed}."]
    if results["continual"]:
        pace = "one at a time" if at_once == 1 else f"{at_once} at a time"
        sentences.append(
            f"Then it learned {new} more, {pace}, such as {names[n_base]}, without going back to all earlier images."
        )
    each = round(data["images"] / len(names))
    about = "" if each * len(names) == data["images"] else "about "
    tested = ""
    if results["protocol"] == "held_out":
        tested = f"; it was tested on {'people' if data['subjects'] else 'images'} that training never saw"
    sentences.append(f"The data set has {about}{each} images of each{tested}.")
    return sentences


def bars(results: dict) -> list[Bar]:
    """Returns the scale: the final accuracy of the main method between guessing, the bounds, and the best others."""
    main = selection.main_method(results)
    if main is None:
        entries = _own_bases(results)
        n_base = results["data"]["n_base"]
        chance = [Bar(f"guessing among {n_base}", 1 / n_base, "bound")]
        return chance + [Bar("base task", _base_estimate(entries)["mean"], "main")] * bool(entries)
    classes = len(results["data"]["classes"])
    shown = [
        Bar(f"guessing among {classes}", 1 / classes, "bound"),
        Bar(method_name(main), _final(results, main), "main"),
    ]
    rest = {name: _final(results, name) for name in by_method(results) if name != main and not answers_again(name)}
    for column in (_beside(results, main, "finetune"), _joint(results, main)):
        if column:
            shown.append(Bar(method_name(column), rest.pop(column), "bound"))
    rest = {name: value for name, value in rest.items() if not selection.is_bound(name)}
    paper = _beside(results, main, statistics.REFERENCE)
    told = {name for name in (paper, max(rest, key=rest.get, default=None)) if name in rest}
    shown += [Bar(method_name(name), rest[name], "other") for name in told]
    bayes = ((results["data"]["metadata"] or {}).get("bayes") or {}).get("all")
    if bayes:
        shown.append(Bar("best possible on these images", bayes, "bound"))
    return sorted(shown, key=lambda bar: bar.value)


def cards(results: dict, workdir: str) -> list[Card]:
    """Returns the answers of the first screen: how good, what was forgotten, what is confused, what to do next."""
    main = selection.main_method(results)
    if main is None:
        own = _own_bases(results)
        if not own:
            return []
        counts = np.sum([entry["test_confusion"] for entry in own], axis=0)
        found = [_base_card(results, own), _confused(results, counts, None), _next(results, workdir)]
        return [card for card in found if card]
    counts = _counts(results, main)
    joint = _joint(results, main)
    found = [
        _good(results, main, joint),
        _forgotten(results, main),
        _confused(results, counts, None if joint is None else _counts(results, joint)),
        _next(results, workdir),
    ]
    return [card for card in found if card]


def _good(results: dict, main: str, joint: str | None) -> Card:
    estimate = results["continual"][main]["metrics"]["final_accuracy"]
    value, classes = estimate["mean"], len(results["data"]["classes"])
    tested = int(np.sum(results["continual"][main]["runs"][0]["test_counts"]))
    sentences = [
        f"In the end {method_name(main)} names {_percent(value)} of {tested} test images right, out of {classes} "
        f"{noun(results)[1]}{_spread(estimate)}.",
        f"Guessing would reach {_percent(1 / classes)}.",
    ]
    if joint is not None:
        bound = _final(results, joint)
        way = (value - 1 / classes) / (bound - 1 / classes) if bound > 1 / classes else 0
        sentences[1] = (
            f"Guessing would reach {_percent(1 / classes)}, and training on all images at once {_percent(bound)}"
            + (f". This is {_percent(way, 0)} of the way between them." if 0 < way <= 1 else ".")
        )
    return Card("How good is it?", _percent(value), sentences)


def _forgotten(results: dict, main: str) -> Card | None:
    """Returns what the classes lost; None where no run was trained at every step."""
    estimate = results["continual"][main]["metrics"].get("forgetting")
    runs = forgetting.whole(results["continual"][main])
    if estimate is None or not runs:
        return None
    lost = forgetting.mean_over_runs([forgetting.by_class(run) for run in runs])
    worst, names = int(np.nanargmax(lost)), results["data"]["classes"]
    points = 100 * estimate["mean"]
    sentences = [f"On average {noun(results)[0]} lost {points:.0f} points between its best accuracy and the end."]
    if lost[worst] > 0:
        sentences.append(f"The most was lost by {names[worst]}: {100 * lost[worst]:.0f} points.")
    measured = results["continual"][main]["metrics"]
    if {"base_accuracy", "base_retention_final"} <= set(measured):
        before, after = (measured[key]["mean"] for key in ("base_accuracy", "base_retention_final"))
        sentences.append(
            f"The first {results['data']['n_base']} went from {_percent(before)}, when they were alone, to "
            f"{_percent(after)}."
        )
    return Card("What did it forget?", f"{-points:+.0f} points".replace("-", "\N{MINUS SIGN}"), sentences)


def _confused(results: dict, counts: np.ndarray, joint: np.ndarray | None) -> Card | None:
    """Returns the worst confusions, and whether joint training shares them; None where there are none worth telling."""
    names, pairs = results["data"]["classes"], confusions(counts)
    if not pairs:
        return None
    shares = None if joint is None else joint / np.maximum(joint.sum(1, keepdims=True), 1)
    sentences = []
    for truth, answer, share in pairs:
        also = "" if shares is None else f" (joint training: {_percent(shares[truth, answer], 0)})"
        sentences.append(f"{_percent(share, 0)} of {names[truth]} were called {names[answer]}{also}.")
    return Card("What does it confuse?", _percent(pairs[0][2], 0), sentences)


def confusions(counts: np.ndarray, most: int = PAIRS) -> list[tuple[int, int, float]]:
    """Returns the worst confusions as (true class, answer, share of the true class), from counts i[C, C].

    A pair is listed once, in its worse direction, and only if its share is `LEAST_SHARE` or more.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    found: list[tuple[int, int, float]] = []
    for place in np.argsort(-shares, axis=None, kind="stable"):
        truth, answer = divmod(int(place), len(shares))
        if shares[truth, answer] < LEAST_SHARE or len(found) == most:
            break
        if all({truth, answer} != {a, b} for a, b, _ in found):
            found.append((truth, answer, float(shares[truth, answer])))
    return found


def _next(results: dict, workdir: str) -> Card:
    """Returns what the numbers suggest to try, and the command that uses what was learned."""
    main, sentences = selection.main_method(results), []
    joint = None if main is None else _joint(results, main)
    if main is None:
        sentences.append("Add methods to config.methods: nothing has been learned after the base task yet.")
    elif joint is None:
        sentences.append("Add joint to config.methods: without it nobody knows how much there is to gain.")
    elif _final(results, joint) - _final(results, main) <= NEAR:
        sentences.append(
            "Training on all images at once is hardly better, so little is left to gain by forgetting less. More "
            "images or pretrained weights (config.model.weights) may raise both."
        )
    elif main.partition(", ")[0].partition(" (")[0] != "contrastive_replay":
        sentences.append(
            "Training on all images at once is better. Try contrastive_replay in config.methods, or store more images "
            "(config.memory.share)."
        )
    else:
        sentences.append(
            "Training on all images at once is better. Store more images (config.memory.share), or train for longer."
        )
    commands = () if "merged" in results else (
        ("Ask the model", f"fer-jax predict --workdir {workdir} PICTURE"),
        ("Compare with a run of other settings", f"fer-jax report --workdir {workdir} --against OTHER"),
    )  # fmt: skip
    return Card("What next?", "", sentences, commands)


def _base_card(results: dict, entries: list[dict]) -> Card:
    estimate, n_base = _base_estimate(entries), results["data"]["n_base"]
    said = (
        f"The base model names {_percent(estimate['mean'])} of the test images of its {n_base} {noun(results)[1]} right"
        f"{_spread(estimate)}. Guessing would reach {_percent(1 / n_base)}."
    )
    return Card("How good is it?", _percent(estimate["mean"]), [said])


def base_estimate(results: dict) -> dict | None:
    """Returns the estimate of the base task's test accuracy; None without a base model of the config's own."""
    own = _own_bases(results)
    return _base_estimate(own) if own else None


def _own_bases(results: dict) -> list[dict]:
    """Returns the base models of the config's own objective, not those that a method asks for."""
    return [base for base in results["basic"] if base.get("objective") is None]


def _base_estimate(entries: list[dict]) -> dict:
    return statistics.estimate({(b.get("label"), b.get("seed"), b["fold"]): b["test_accuracy"] for b in entries})


def _counts(results: dict, column: str) -> np.ndarray:
    """Returns the final confusion i[C, C] of a column, summed over its runs."""
    return np.sum([run["final_confusion"] for run in results["continual"][column]["runs"]], axis=0)


def _final(results: dict, column: str) -> float:
    return results["continual"][column]["metrics"]["final_accuracy"]["mean"]


def _beside(results: dict, main: str, method: str) -> str | None:
    """Returns the column of a method that goes with the main column: of its settings in a merged report."""
    _, comma, label = main.partition(", ")
    return next((one for one in (method + comma + label, method) if one in by_method(results) and one != main), None)


def _joint(results: dict, main: str) -> str | None:
    """Returns the best column of joint training, the upper bound; None if there is no other than the main one."""
    label = main.partition(", ")[2]
    columns = [one for one in by_method(results) if one.startswith("joint") and one != main and not answers_again(one)]
    same = [one for one in columns if one.partition(", ")[2] == label] or columns
    return max(same, key=lambda one: _final(results, one), default=None)


def _spread(estimate: dict) -> str:
    if estimate["low"] is not None:
        return (
            f" (95 % interval {100 * estimate['low']:.1f} to {100 * estimate['high']:.1f} over "
            f"{estimate['base_models']} base models)"
        )
    if estimate["n"] == 1:
        return ""
    return f" ({100 * estimate['lowest']:.1f} to {100 * estimate['highest']:.1f} over class orders)"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
