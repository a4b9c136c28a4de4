"""Configs are checked on the host, before anything is made or written: every key, its type and its range."""

import dataclasses
import difflib
from typing import Any

import ml_collections

from fer_jax import methods, protocol, replay
from fer_jax.config import dotted, names
from fer_jax.config.rules import BOOL, CUT, POSITIVE, RATE, TEXT, Rule, fits, number, one_of, several, whole
from fer_jax.errors import UserError
from fer_jax.models import backbones, precision
from fer_jax.models.network import INPUT_RANGES


class ConfigError(UserError):
    """A config that cannot be run; one line: the key, what it was, what it may be."""


# The keys of each backbone beside those that all have.
_STAGES: dict[str, Rule] = {
    "model.depths": several(whole(1), 4),
    "model.stem_width": whole(1),
    "model.stem_kernel": whole(1, 15),
    "model.stem_pool": BOOL,
}
MODEL_RULES: dict[str, dict[str, Rule]] = {
    "resnet_v2": _STAGES,
    "efficientnet_lite0": _STAGES,
    "mlp": {},
    "convnet": {},
}
# The keys of every config.
RULES: dict[str, Rule] = {
    "seed": whole(0, 2**31 - 1),
    "data.name": Rule((str,), bool, names.DATA_SET_WORDS),
    "data.dir": TEXT,
    "data.image_size": whole(8, 1024),
    "data.exclude": several(TEXT, 0),
    "data.n_base": whole(2),
    "data.residency": one_of("auto", "device", "host"),
    "protocol.name": one_of(*protocol.PROTOCOLS),
    "protocol.n_folds": whole(2),
    "protocol.folds": several(whole(0)),
    "protocol.n_orders": whole(1),
    "protocol.orders": several(whole(0), 0),
    "protocol.order_seed": whole(0),
    "protocol.classes_per_increment": whole(1),
    "model.name": one_of(*backbones.BUILDERS),
    "model.widths": several(whole(1)),
    "model.hidden": several(whole(1), 0),
    "model.dropout": number(0, 0.99),
    "model.weights": Rule((str,), bool, "none, pretrained or the path of a Keras file"),
    "model.input_range": one_of("auto", *INPUT_RANGES),
    "model.precision": one_of(*precision.CHOICES),
    "augment.flip": number(0, 1),
    "augment.rotation": number(0, 0.5),
    "augment.zoom": number(0, 0.9),
    "augment.translation": number(0, 1),
    "basic.batch_size": whole(1),
    "basic.l2": number(0, 1),
    "basic.patience": whole(1),
    "basic.min_delta": number(0, 1),
    "basic.head.cut": CUT,
    "basic.head.learning_rate": RATE,
    "basic.head.max_epochs": whole(0),
    "basic.body.cut": CUT,
    "basic.body.learning_rate": RATE,
    "basic.body.max_epochs": whole(0),
    "memory.mode": one_of("grow", "limit"),
    "memory.share": RATE,
    "memory.rule": Rule((str,), bool, f"auto, one of {', '.join(replay.RULES)}, or the dotted path of a score"),
    "continual.cut": CUT,
    "continual.batch_size": whole(2),
    "continual.learning_rate": RATE,
    "continual.max_epochs": whole(1),
    "continual.patience": whole(1),
    "continual.gamma": number(0, 1),
    "continual.temperature": POSITIVE,
    "continual.distill_over": one_of("auto", "teacher", "known"),
    "continual.teacher": one_of("auto", "base", "previous"),
    "continual.loss": Rule((str,), bool, "auto, or the dotted path of a loss"),
    "continual.augment": BOOL,
    "continual.side_by_side": whole(1),
    "methods": several(Rule((str,), bool, f"one of {', '.join(methods.METHODS)}, or a dotted path")),
    "search.learning_rates": several(RATE, 0),
    "search.strengths": several(POSITIVE, 0),
    "search.increments": whole(1),
    "feature_cache.views": whole(0),
    "feature_cache.max_gb": POSITIVE,
    "joint.steps": one_of("every", "last"),
    "joint.cut": CUT,
    "joint.learning_rate": RATE,
    "joint.max_epochs": whole(1),
    "gdumb.cut": CUT,
    "gdumb.learning_rate": RATE,
    "gdumb.max_epochs": whole(1),
    "few_shot.shots": several(whole(0), 0),
    "few_shot.draws": whole(1),
    "few_shot.batch_size": whole(1),
    "few_shot.learning_rate": RATE,
    "few_shot.max_epochs": whole(1),
    "few_shot.patience": whole(1),
    "few_shot.replay": one_of("auto", "memory", "none"),
    "few_shot.exemplars": whole(0),
}

# What a base model does not depend on. Everything else counts, so that a key to come parts models rather than mixes.
_AFTER_BASE = ("continual.", "memory.", "joint.", "gdumb.", "few_shot.", "search.", "feature_cache.")
_CHOICES = ("methods", "protocol.folds", "protocol.n_orders", "protocol.orders", "protocol.order_seed",
            "protocol.classes_per_increment", "data.residency")  # fmt: skip


def flatten(config: ml_collections.ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key, tuples as lists, ready for JSON."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, (ml_collections.ConfigDict, dict)):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def base_settings(flat: dict[str, Any]) -> dict[str, Any]:
    """The keys of a flat config that a base model depends on."""
    return {key: value for key, value in flat.items() if not key.startswith(_AFTER_BASE) and key not in _CHOICES}


def suggestion(key: str, keys) -> str:
    """`; did you mean …?` for a key that is nearly one of the keys, else nothing."""
    near = difflib.get_close_matches(key, list(keys), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def rules(data_name: str, model_name: str) -> dict[str, Rule]:
    """The rule of every key that a config of this data set and backbone has."""
    return {**RULES, **names.data_set(data_name).keys, **MODEL_RULES[model_name]}


def check(config: ml_collections.ConfigDict) -> None:
    """Checks every key, then what keys say together.

    Raises:
      ConfigError: the first thing wrong.
    """
    flat = flatten(config)
    known = _known(flat)
    for key, rule in known.items():
        _check_key(key, rule, flat)
    _check_together(config)


def check_data(data: ml_collections.ConfigDict, needed: tuple[str, ...]) -> None:
    """Checks `config.data` alone: that it has the needed keys, and every key that it has.

    Raises:
      ConfigError: the first thing wrong.
    """
    flat = flatten(data, "data.")
    known = _known(flat)
    for key in dict.fromkeys((*(f"data.{key}" for key in needed), *flat)):
        _check_key(key, known[key], flat)


def _known(flat: dict[str, Any]) -> dict[str, Rule]:
    """The rules of the data set that flat keys name; a key that it does not have is an error."""
    _check_key("data.name", RULES["data.name"], flat)
    name = flat["data.name"]
    try:
        names.data_set(name)
    except UserError as error:
        raise ConfigError(f"config.data.name: {error}") from None
    # Of `config.data` alone there is no model; any will do.
    _check_key("model.name", RULES["model.name"], {"model.name": "resnet_v2", **flat})
    model = flat.get("model.name", "resnet_v2")
    known = rules(name, model)
    data_rules = {
        name: names.data_set(name).keys,
        **{one: names.data_set(one).keys for one in names.DATA_SETS if one != names.TFDS},
    }
    kinds = (("data set", name, data_rules, name), ("backbone", model, MODEL_RULES, model))
    for key in flat:
        for kind, called, all_rules, one in kinds:
            if key in set().union(*all_rules.values()) and key not in known:
                own = ", ".join(all_rules[one]) or "none"
                raise ConfigError(
                    f"config.{key} is no key of {kind} {called}; beside those of all {kind}s it has {own}"
                )
        if key not in known:
            raise ConfigError(f"config.{key} does not exist{suggestion(key, known)}")
    return known


def _check_key(key: str, rule: Rule, flat: dict[str, Any]) -> None:
    if key not in flat:
        raise ConfigError(f"config.{key} is missing; it may be {rule.words}")
    if not fits(rule, flat[key]):
        raise ConfigError(f"config.{key} is {flat[key]!r}; it may be {rule.words}")


def _check_together(config: ml_collections.ConfigDict) -> None:
    p = config.protocol
    if wrong := names.data_set(config.data.name).complaint(config):
        raise ConfigError(f"config.{wrong}")
    if config.model.name in ("resnet_v2", "efficientnet_lite0") and config.data.image_size < 32:
        raise ConfigError(
            f"config.data.image_size is {config.data.image_size}; with {config.model.name} it may be from 32"
        )
    if p.name == "stratified" and config.search.learning_rates + config.search.strengths:
        raise ConfigError(
            "config.search has candidates; with protocol.name 'stratified', which validates on training images, it may "
            "have none"
        )
    if config.feature_cache.views and config.continual.cut == "input":
        raise ConfigError(
            f"config.feature_cache.views is {config.feature_cache.views}; with continual.cut 'input' there is no trunk "
            "and it may be 0"
        )
    base = config.data.get("base_classes", ())
    if base and len(base) != config.data.n_base:
        raise ConfigError(
            f"config.data.n_base is {config.data.n_base}; it may be the number of data.base_classes, {len(base)}"
        )
    if p.name == "held_out" and p.n_folds < 3:
        raise ConfigError(f"config.protocol.n_folds is {p.n_folds}; held_out needs at least 3")
    for fold in p.folds:
        if fold >= p.n_folds:
            raise ConfigError(f"config.protocol.folds has {fold}; it may be 0 to {p.n_folds - 1}")
    for order in p.orders:
        if order >= p.n_orders:
            raise ConfigError(f"config.protocol.orders has {order}; it may be 0 to {p.n_orders - 1}")
    if wrong := backbones.complaint(config.model):
        raise ConfigError(f"config.{wrong}")
    cuts = (*backbones.build(config.model).cuts, "head")
    for name, cut in (("basic.head", config.basic.head.cut), ("basic.body", config.basic.body.cut),
                      ("continual", config.continual.cut), ("joint", config.joint.cut),
                      ("gdumb", config.gdumb.cut)):  # fmt: skip
        if cut not in cuts:
            raise ConfigError(f"config.{name}.cut is {cut!r}; it may be one of {', '.join(cuts)}")
    for name, values in (("protocol.folds", p.folds), ("protocol.orders", p.orders), ("methods", config.methods),
                         ("few_shot.shots", config.few_shot.shots), ("data.base_classes", base)):  # fmt: skip
        if len(set(values)) < len(values):
            raise ConfigError(f"config.{name} is {tuple(values)}; each may be named once")
    _check_dotted(config)
    if config.basic.head.max_epochs + config.basic.body.max_epochs == 0:
        raise ConfigError("config.basic.body.max_epochs is 0; one of the two basic stages must train")


def _check_fills(config: ml_collections.ConfigDict) -> None:
    """No model has seen the classes that a memory takes in before they are learned: its rule may look at none."""
    for name in config.methods:
        method, rule = methods.resolve(name), config.memory.rule
        if method.replays and rule != "auto":
            method = dataclasses.replace(method, keeps=rule)
        if method.replays and method.fills == "before" and methods.rule_of(method).needs_model:
            key = "methods" if rule == "auto" else "memory.rule"
            free = ", ".join(sorted(free for free, one in replay.RULES.items() if not one.needs_model))
            raise ConfigError(
                f"config.{key}: {name} takes classes into its memory before it learns them, so {method.keeps!r} would "
                f"rank them by a model that never saw them; with {name} the rule may be one of {free}"
            )


def _check_dotted(config: ml_collections.ConfigDict) -> None:
    """What a config names of the user's own is there."""
    try:
        key = "methods"
        for name in config.methods:
            methods.resolve(name)
        key = "memory.rule"
        if config.memory.rule not in ("auto", *replay.RULES):
            dotted.function(config.memory.rule, RULES[key].words)
        _check_fills(config)
        key = "continual.loss"
        if config.continual.loss != "auto":
            dotted.function(config.continual.loss, RULES[key].words)
    except UserError as error:
        raise ConfigError(f"config.{key}: {error}") from None


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A frozen copy with every `auto` replaced by what the protocol says; those that a device decides are left."""
    config = ml_collections.ConfigDict(config.to_dict())
    held_out = config.protocol.name == "held_out"
    if config.model.input_range == "auto":
        # The published code feeds [0, 1] to weights made for [-1, 1].
        expected = backbones.build(config.model).input_range
        config.model.input_range = expected if held_out else "zero_one"
    if config.continual.distill_over == "auto":
        # Padding with logit 0 hands classes that the teacher never saw some of its mass.
        config.continual.distill_over = "teacher" if held_out else "known"
    if config.few_shot.replay == "auto":
        config.few_shot.replay = "memory" if held_out else "none"
    return ml_collections.FrozenConfigDict(config)
