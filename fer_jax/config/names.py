"""Names in a config: each stands for a built-in value, or is the dotted path of a user's own.

The name of a built-in backbone or data set is short for a dotted path. The path is imported when a config is checked,
not before, because data sets and backbones take seconds to import and belong to a layer above this one.
"""

import dataclasses
from typing import Any

from fer_jax import augment, classifiers, corrections, methods, objectives, replay
from fer_jax.config import dotted
from fer_jax.errors import UserError
from fer_jax.objectives import Augmentation, Objective, Term

BACKBONES = {
    "resnet_v2": "fer_jax.models.resnet_v2.FAMILY",
    "efficientnet_lite0": "fer_jax.models.efficientnet.FAMILY",
    "efficientnet_b0": "fer_jax.models.efficientnet_b0.FAMILY",
    "resnet_v1": "fer_jax.models.resnet_v1.FAMILY",
    "vit": "fer_jax.models.vit.FAMILY",
    "mlp": "fer_jax.models.small.MLP",
    "convnet": "fer_jax.models.small.CONVNET",
}
TFDS = "tfds:"  # what names of TFDS's own data sets begin with
DATA_SETS = {
    "facs_faces": "fer_jax.data.facs_faces.DATA_SET",
    "cfee": "fer_jax.data.cfee.DATA_SET",
    "rafdb": "fer_jax.data.rafdb.DATA_SET",
    "image_folder": "fer_jax.data.image_folder.DATA_SET",
    "digits": "fer_jax.data.standard.DIGITS",
    "idx": "fer_jax.data.standard.IDX",
    "fer2013": "fer_jax.data.layouts.fer2013.DATA_SET",
    "affectnet": "fer_jax.data.layouts.affectnet.DATA_SET",
    "ckplus": "fer_jax.data.layouts.ckplus.DATA_SET",
    "kdef": "fer_jax.data.layouts.by_name.KDEF",
    "jaffe": "fer_jax.data.layouts.by_name.JAFFE",
    "parquet": "fer_jax.data.layouts.parquet.DATA_SET",
    "hub_folder": "fer_jax.data.layouts.hub_folder.DATA_SET",
    "several": "fer_jax.data.several.DATA_SET",
    TFDS: "fer_jax.data.standard.TFDS_SET",
}
_FAMILY, _DATA_SET = "fer_jax.models.backbone.Family", "fer_jax.data.data_set.DataSet"
BACKBONE_WORDS = f"one of {', '.join(BACKBONES)}, or the dotted path of a {_FAMILY}"
DATA_SET_WORDS = f"one of {', '.join(DATA_SETS)}NAME, or the dotted path of a {_DATA_SET}"
# Corrections of the head by the names that a config may give them.
CORRECTIONS = {
    one.__name__: one for one in (corrections.align_weights, corrections.correct_bias, corrections.align_classifier)
}


def method(name: str) -> methods.Method:
    """Returns a method by its name, or by the dotted path of a `Method` of the user's own.

    Raises:
      UserError: there is no such method, or the path names something else.
    """
    if name in methods.METHODS:
        return methods.METHODS[name]
    value = dotted.find(name, f"one of {', '.join(methods.METHODS)}, or the dotted path of a fer_jax.methods.Method")
    if not isinstance(value, methods.Method):
        raise UserError(f"{name!r} is a {type(value).__name__}; it may be a fer_jax.methods.Method")
    for field, choices in methods.CHOICES.items():
        if getattr(value, field) not in choices:
            raise UserError(f"{name!r} has {field}={getattr(value, field)!r}; it may be one of {', '.join(choices)}")
    known = ("network", *classifiers.CLASSIFIERS)
    for one in value.classifiers:
        if isinstance(one, str) and one not in known:
            raise UserError(f"{name!r} has the classifier {one!r}; it may be one of {', '.join(known)}")
    if value.base != "auto":
        objective(value.base)
    if isinstance(value.selects, str) and value.selects not in replay.RULES:
        raise UserError(f"{name!r} selects {value.selects!r}; it may be one of {', '.join(replay.RULES)}, or a Rule")
    return dataclasses.replace(value, name=name)


def rule(name: str) -> replay.Rule:
    """Returns a memory rule by its name, or by the dotted path of a `Rule` or of a score.

    Raises:
      UserError: there is no such rule, or the path names something else.
    """
    if name in replay.RULES:
        return replay.RULES[name]
    instead = f"auto, one of {', '.join(replay.RULES)}, or the dotted path of a fer_jax.replay.Rule or a score"
    value = dotted.find(name, instead)
    return value if isinstance(value, replay.Rule) else replay.Rule(dotted.function(name, instead))


def objective(name: str, terms: tuple[tuple[str, float], ...] = ()) -> Objective:
    """Returns an objective by its name, or by the dotted path of an `Objective`, a `Term` or a loss function.

    Args:
      terms: names or dotted paths of terms with their weights, which replace the objective's own.

    Raises:
      UserError: there is no such objective or term, or a path names something else.
    """
    if name in objectives.OBJECTIVES:
        value = objectives.OBJECTIVES[name]
    else:
        value = Objective.of(_loss(name, objectives.OBJECTIVES, (Objective, Term)))
    return composed(value, terms)


def composed(own: Objective, terms: tuple[tuple[str, float], ...]) -> Objective:
    """Returns the objective with the config's terms and weights in place of its own, if the config has any.

    Raises:
      UserError: there is no such term.
    """
    return own.replace(terms={name: _weighted(name, weight) for name, weight in terms}) if terms else own


def balanced(objective: Objective, how: str) -> Objective:
    """Returns an objective in which all classes count the same, as `Objective.balanced`.

    Raises:
      UserError: the objective puts its images into batches in another way.
    """
    try:
        return objective.balanced(how)
    except ValueError as error:
        raise UserError(f"{how!r} does not go with the objective: {error}") from None


def _weighted(name: str, weight: float) -> Term:
    value = objectives.TERMS.get(name) or _loss(name, objectives.TERMS, (Term,))
    term = value if isinstance(value, Term) else Term(value)
    return dataclasses.replace(term, weight=weight * term.weight)


def _loss(name: str, known: dict, kinds: tuple[type, ...]) -> Any:
    words = " or ".join((*(f"a fer_jax.objectives.{kind.__name__}" for kind in kinds), "a loss"))
    instead = f"one of {', '.join(known)}, or the dotted path of {words}"
    value = dotted.find(name, instead)
    return value if isinstance(value, kinds) else dotted.function(name, instead)


def classifier(name: str) -> str | classifiers.Classifier:
    """Returns a classifier by its name, or by the dotted path of a `Classifier`; "network" stays a name.

    Raises:
      UserError: there is no such classifier, or the path names something else.
    """
    if name == "network" or name in classifiers.CLASSIFIERS:
        return name
    value = dotted.find(
        name, f"network, one of {', '.join(classifiers.CLASSIFIERS)}, or the dotted path of a Classifier"
    )
    if not isinstance(value, classifiers.Classifier):
        raise UserError(f"{name!r} is a {type(value).__name__}; it may be a fer_jax.classifiers.Classifier")
    return value


def of_few_images(name: str) -> classifiers.Classifier | None:
    """Returns a classifier that learns without training, by its name; None for "network".

    Raises:
      UserError: there is no such classifier, it reads exemplars, or it chooses a penalty.
    """
    if name == "network":
        return None
    known = [one.name for one in classifiers.CLASSIFIERS.values() if not (one.reads_stored or one.penalties)]
    value = classifier(name)
    value = classifiers.CLASSIFIERS[value] if isinstance(value, str) else value
    if value.reads_stored or value.penalties:
        words = ", ".join(("network", *known))
        raise UserError(f"{name!r} reads exemplars or chooses a penalty; it may be one of {words}")
    return value


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
    amounts = [settings.get(field.name, field.default) for field in dataclasses.fields(augment.Augmentation)]
    return augment.Augmentation(*amounts) if any(amounts) else None


def backbone(name: str) -> Any:
    """Returns the `models.backbone.Family` that `model.name` names.

    Raises:
      UserError: there is none, or the path names something else.
    """
    return _value(name, BACKBONES.get(name, name), _FAMILY, BACKBONE_WORDS)


def data_set(name: str) -> Any:
    """Returns the `data.data_set.DataSet` that `data.name` names; all of TFDS's own are one.

    Raises:
      UserError: there is none, or the path names something else.
    """
    short = TFDS if name.startswith(TFDS) else name
    path = name if name == TFDS else DATA_SETS.get(short, name)
    return _value(name, path, _DATA_SET, DATA_SET_WORDS)


def _value(name: str, path: str, kind: str, words: str) -> Any:
    value = dotted.find(path, words)
    if not isinstance(value, dotted.find(kind, words)):
        raise UserError(f"{name!r} is a {type(value).__name__}; it may be a {kind}")
    return value
