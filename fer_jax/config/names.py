"""Names in a config: what stands for a built-in value, or for a user's own by its dotted path."""

import dataclasses
from typing import Any

from fer_jax import augment, classifiers, corrections, methods, objectives, replay
from fer_jax.config import dotted
from fer_jax.errors import UserError
from fer_jax.objectives import Augmentation, Objective, Term

# Corrections of the head by the names that a config may give them.
CORRECTIONS = {"align_weights": corrections.align_weights, "correct_bias": corrections.correct_bias}


def method(name: str) -> methods.Method:
    """Returns a method by its name, or by the dotted path of a `Method` of the user's own.

    Raises:
      UserError: there is no such method, or the path names something else.
    """
    if name in methods.METHODS:
        return methods.METHODS[name]
    found = dotted.find(name, f"one of {', '.join(methods.METHODS)}, or the dotted path of a fer_jax.methods.Method")
    if not isinstance(found, methods.Method):
        raise UserError(f"{name!r} is a {type(found).__name__}; it may be a fer_jax.methods.Method")
    if found.reads not in methods.READS:
        raise UserError(f"{name!r} reads {found.reads!r}; it may read {', '.join(methods.READS)}")
    if isinstance(found.selects, str) and found.selects not in replay.RULES:
        raise UserError(f"{name!r} selects {found.selects!r}; it may be one of {', '.join(replay.RULES)}, or a Rule")
    return dataclasses.replace(found, name=name)


def rule(name: str) -> replay.Rule:
    """Returns a memory rule by its name, or by the dotted path of a `Rule` or of a score.

    Raises:
      UserError: there is no such rule, or the path names something else.
    """
    if name in replay.RULES:
        return replay.RULES[name]
    instead = f"one of {', '.join(replay.RULES)}, or the dotted path of a fer_jax.replay.Rule or a score"
    found = dotted.find(name, instead)
    return found if isinstance(found, replay.Rule) else replay.Rule(dotted.function(name, instead))


def objective(name: str, terms: tuple[tuple[str, float], ...] = ()) -> Objective:
    """Returns an objective by its name, or by the dotted path of an `Objective`, a `Term` or a loss function.

    Args:
      terms: names or dotted paths of terms with their weights, which replace the objective's own.

    Raises:
      UserError: there is no such objective or term, or a path names something else.
    """
    if name in objectives.OBJECTIVES:
        found = objectives.OBJECTIVES[name]
    else:
        found = Objective.of(_loss(name, objectives.OBJECTIVES, (Objective, Term)))
    return composed(found, terms)


def composed(found: Objective, terms: tuple[tuple[str, float], ...]) -> Objective:
    """Returns the objective with terms and weights of the config in the place of its own, if there are any.

    Raises:
      UserError: there is no such term.
    """
    return found.replace(terms={name: _weighted(name, weight) for name, weight in terms}) if terms else found


def _weighted(name: str, weight: float) -> Term:
    found = objectives.TERMS.get(name) or _loss(name, objectives.TERMS, (Term,))
    term = found if isinstance(found, Term) else Term(found)
    return dataclasses.replace(term, weight=weight * term.weight)


def _loss(name: str, known: dict, kinds: tuple[type, ...]) -> Any:
    words = " or ".join((*(f"a fer_jax.objectives.{kind.__name__}" for kind in kinds), "a loss"))
    instead = f"one of {', '.join(known)}, or the dotted path of {words}"
    found = dotted.find(name, instead)
    return found if isinstance(found, kinds) else dotted.function(name, instead)


def classifier(name: str) -> str | classifiers.Classifier:
    """Returns a classifier by its name, or by the dotted path of a `Classifier`; "network" stays a name.

    Raises:
      UserError: there is no such classifier, or the path names something else.
    """
    if name == "network" or name in classifiers.CLASSIFIERS:
        return name
    found = dotted.find(
        name, f"network, one of {', '.join(classifiers.CLASSIFIERS)}, or the dotted path of a Classifier"
    )
    if not isinstance(found, classifiers.Classifier):
        raise UserError(f"{name!r} is a {type(found).__name__}; it may be a fer_jax.classifiers.Classifier")
    return found


def correction(name: str) -> methods.Correction:
    """Returns a correction of the head by its name or dotted path.

    Raises:
      UserError: there is no such correction.
    """
    return CORRECTIONS.get(name) or dotted.function(name, f"one of {', '.join(CORRECTIONS)}, or a dotted path")


def augmentation(settings: Any) -> Augmentation | None:
    """Returns the augmentation of `config.augment`: the user's own function, or the paper's; None changes nothing.

    Raises:
      UserError: there is no such function.
    """
    if settings.get("function", "auto") != "auto":
        return dotted.function(settings.function, "auto, or the dotted path of an augmentation")
    amounts = (settings.flip, settings.rotation, settings.zoom, settings.translation)
    return augment.Augmentation(*amounts) if any(amounts) else None
