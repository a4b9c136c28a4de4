"""Checks configs on the host before anything is made or written: every key, its type and its range."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import ml_collections

from fer_jax import methods, objectives, protocol, replay
from fer_jax.config import names
from fer_jax.config.keys import INPUT_STATISTICS, RULES
from fer_jax.config.rules import REQUIRED, Rule, fits
from fer_jax.errors import UserError


class ConfigError(UserError):
    """An error in a config; one line: the key, what it was, what it may be."""


# What a base model does not depend on. Everything else counts, so that a key to come parts models rather than mixes.
_AFTER_BASE = ("continual.", "memory.", "joint.", "gdumb.", "deep.", "few_shot.", "search.", "feature_cache.")
_CHOICES = ("methods", "protocol.folds", "protocol.n_orders", "protocol.orders", "protocol.order_seed",
            "protocol.classes_per_increment", "data.residency", "devices.spread_by",
            "devices.convolutions", "devices.side_by_side")  # fmt: skip


def flatten(config: ml_collections.ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves by dotted key, tuples as lists, ready for JSON."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, (ml_collections.ConfigDict, dict)):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = _as_lists(value)
    return flat


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns the groups and leaves of a flat config, lists as tuples; the inverse of `flatten`."""
    groups: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        group = groups
        for name in path:
            group = group.setdefault(name, {})
        group[leaf] = as_tuples(value)
    return groups


def _as_lists(value: Any) -> Any:
    return [_as_lists(one) for one in value] if isinstance(value, (tuple, list)) else value


def as_tuples(value: Any) -> Any:
    """Returns a value of a flat config as a config has it: lists as tuples."""
    return tuple(as_tuples(one) for one in value) if isinstance(value, (tuple, list)) else value


def _defaults(known: dict[str, Rule]) -> dict[str, Any]:
    return {key: _as_lists(rule.default) for key, rule in known.items() if rule.default is not REQUIRED}


# What older configs and results, which lack newer keys, have in the place of them.
DEFAULTS = _defaults(RULES)


def missing(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the defaults of the keys that a config omits, by dotted key.

    Raises:
      ConfigError: there is no such data set or backbone.
    """
    flat = flatten(config)
    taken = tuple(f"{key}." for key in flat)  # a value in the place of a group, which is reported as an unknown key
    return {
        key: as_tuples(value)
        for key, value in _defaults(rules(*_named(flat))).items()
        if key not in flat and not key.startswith(taken)
    }


def complete(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy in which every omitted key has its default.

    Raises:
      ConfigError: there is no such data set or backbone.
    """
    copied = ml_collections.ConfigDict(config.to_dict())
    copied.update(nested(missing(config)))
    return copied


def without_defaults(flat: dict[str, Any], of: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns a flat config without the optional keys that have their default; it means the same.

    of: the flat config whose data set and backbone say the defaults; None is the config itself.
    """
    named = flat if of is None else of
    defaults = _defaults(rules(named.get("data.name"), named.get("model.name")))
    return {key: value for key, value in flat.items() if key not in defaults or value != defaults[key]}


# Where data lie says nothing of what they are; a run knows its data by their checksum.
PLACES = ("data.dir", "data.manual_dir", "data.labels_csv", "data.sets", "data.units.path")

# Keys of the data in which the cells of a sweep may differ: which of several data sets is tested on.
LEFT_OUT = ("data.test_on",)


def decides_base(key: str) -> bool:
    """Returns True for a key that the base model depends on."""
    return not key.startswith(_AFTER_BASE) and key not in _CHOICES


def base_settings(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a flat config that a base model depends on, without optional keys at their default."""
    return {key: value for key, value in without_defaults(flat).items() if decides_base(key)}


def suggestion(key: str, keys, cutoff: float = 0.6) -> str:
    """Returns `; did you mean …?` for a key that resembles a known one, else an empty string."""
    near = difflib.get_close_matches(key, list(keys), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def rules(data_name: str | None, model_name: str | None) -> dict[str, Rule]:
    """Returns the rule of every key that a config of this data set and backbone has; with None their own keys are
    absent.

    Raises:
      UserError: there is no such data set or backbone.
    """
    own = ((names.data_set, data_name), (names.backbone, model_name))
    return {**RULES, **{key: rule for find, name in own if name is not None for key, rule in find(name).keys.items()}}


def check(config: ml_collections.ConfigDict) -> None:
    """Checks every key by itself, then the keys against each other.

    Raises:
      ConfigError: the first thing wrong.
    """
    known = _known(flatten(config))
    config = complete(config)
    flat = flatten(config)
    for key, rule in known.items():
        _check_key(key, rule, flat)
    _check_together(config)


def check_data(data: ml_collections.ConfigDict, needed: tuple[str, ...]) -> None:
    """Checks `config.data` alone: that no needed key is missing, and every key that it has.

    Raises:
      ConfigError: the first thing wrong.
    """
    flat = flatten(data, "data.")
    known = _known(flat)
    for key in dict.fromkeys((*(f"data.{key}" for key in needed), *flat)):
        _check_key(key, known[key], flat)


def _named(flat: dict[str, Any]) -> tuple[str, str | None]:
    """Returns the names of data set and backbone, which exist; of `config.data` alone there is no backbone."""
    for key, find in (("data.name", names.data_set), ("model.name", names.backbone)):
        if key == "data.name" or key in flat:
            _check_key(key, RULES[key], flat)
            try:
                find(flat[key])
            except UserError as error:
                raise ConfigError(f"config.{key}: {error}") from None
    return flat["data.name"], flat.get("model.name")


def _known(flat: dict[str, Any]) -> dict[str, Rule]:
    """Returns the rules of all keys that a flat config may have; a key that it may not have is an error."""
    data_name, model_name = _named(flat)
    known = rules(data_name, model_name)
    for key in flat:
        if key in known:
            continue
        group, _, _ = key.partition(".")
        kind, name = {"data": ("data set", data_name), "model": ("backbone", model_name)}.get(group, ("", None))
        # Another data set's key may be like one of this set's; a slip of the finger is much liker.
        near = suggestion(key, known, 0.9 if name else 0.6)
        if near or not name:
            raise ConfigError(f"config.{key} does not exist{near}")
        keys = (names.data_set if group == "data" else names.backbone)(name).keys
        raise ConfigError(
            f"config.{key} is no key of {kind} {name}; beside those of all {kind}s it has {', '.join(keys) or 'none'}"
        )
    return known


def _check_key(key: str, rule: Rule, flat: dict[str, Any]) -> None:
    if key not in flat:
        raise ConfigError(f"config.{key} is missing; it may be {rule.words}")
    if not fits(rule, flat[key]):
        raise ConfigError(f"config.{key} is {as_tuples(flat[key])!r}; it may be {rule.words}")


def _check_together(config: ml_collections.ConfigDict) -> None:
    for complaint in (names.data_set(config.data.name).complaint, names.backbone(config.model.name).wrong):
        if wrong := complaint(config):
            raise ConfigError(f"config.{wrong}")
    _check_protocol(config)
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
    if config.data.units.input and names.augmentation(config.augment) is not None:
        raise ConfigError(
            "config.data.units.input is True; with config.augment, which would move units to other places, it may be "
            "False"
        )
    cuts = (*_backbone(config).cuts, "head")
    for name, section in (("basic.pretraining", config.basic.pretraining), ("basic.head", config.basic.head),
                          ("basic.body", config.basic.body), ("continual", config.continual), ("joint", config.joint),
                          ("gdumb", config.gdumb), ("deep", config.deep)):  # fmt: skip
        cut = section.cut
        if cut not in cuts:
            raise ConfigError(f"config.{name}.cut is {cut!r}; it may be one of {', '.join(cuts)}")
    for name, values in (("methods", config.methods), ("few_shot.shots", config.few_shot.shots),
                         ("few_shot.answers", config.few_shot.answers),
                         ("data.base_classes", base), *_terms(config)):  # fmt: skip
        _check_once(name, values)
    _check_dotted(config)
    if config.basic.head.max_epochs + config.basic.body.max_epochs == 0:
        raise ConfigError("config.basic.body.max_epochs is 0; one of the two basic stages must train")


def _check_protocol(config: ml_collections.ConfigDict) -> None:
    p = config.protocol
    if not protocol.chooses(p.name) and config.search.learning_rates + config.search.strengths:
        raise ConfigError(
            "config.search has candidates; with protocol.name 'stratified', which validates on training images, it may "
            "have none"
        )
    if p.name == "held_out" and p.n_folds < 3:
        raise ConfigError(f"config.protocol.n_folds is {p.n_folds}; held_out needs at least 3")
    for name, chosen, count in (("folds", p.folds, p.n_folds), ("orders", p.orders, p.n_orders)):
        for number_ in chosen:
            if number_ >= count:
                raise ConfigError(f"config.protocol.{name} has {number_}; it may be 0 to {count - 1}")
        _check_once(f"protocol.{name}", chosen)


def _check_once(name: str, values) -> None:
    if len(set(values)) < len(values):
        raise ConfigError(f"config.{name} is {tuple(values)}; each may be named once")


def _terms(config: ml_collections.ConfigDict) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the names of the loss terms that each phase adds, by key."""
    return [(f"{phase}.terms", tuple(name for name, _ in config[phase].terms))
            for phase in ("basic", "continual", "few_shot")]  # fmt: skip


def _backbone(config: ml_collections.ConfigDict) -> Any:
    return names.backbone(config.model.name).build(config.model)


def _check_fills(config: ml_collections.ConfigDict) -> None:
    """No model has seen the classes that a memory takes in before they are learned: its rule may look at none."""
    for name in config.methods:
        method, rule = names.method(name), config.memory.rule
        if method.replays and rule != "auto":
            method = dataclasses.replace(method, selects=names.rule(rule))
        if method.replays and method.fills == "before" and methods.rule_of(method).needs_model:
            key = "methods" if rule == "auto" else "memory.rule"
            selects = method.selects if rule == "auto" else rule
            free = ", ".join(sorted(free for free, one in replay.RULES.items() if not one.needs_model))
            raise ConfigError(
                f"config.{key}: {name} takes classes into its memory before it learns them, so {selects!r} would "
                f"rank them by a model that never saw them; with {name} the rule may be one of {free}"
            )


def _named_of(config: ml_collections.ConfigDict) -> dict[str, Callable[[], Any]]:
    """Returns by key what looks up the value that the key names."""
    basic, c, few_shot = config.basic, config.continual, config.few_shot
    plain = objectives.OBJECTIVES["cross_entropy"]
    return {
        "methods": lambda: [names.method(name) for name in config.methods],
        "memory.rule": lambda: config.memory.rule == "auto" or names.rule(config.memory.rule),
        "basic.objective": lambda: names.objective(basic.objective),
        "basic.terms": lambda: names.composed(plain, basic.terms),
        "basic.balance": lambda: names.balanced(names.objective(basic.objective), basic.balance),
        "basic.pretraining.objective": lambda: names.objective(basic.pretraining.objective),
        "few_shot.objective": lambda: _one_view(config, names.objective(few_shot.objective)),
        "few_shot.base": lambda: few_shot.base == "auto" or names.objective(few_shot.base),
        "few_shot.answers": lambda: [names.of_few_images(name) for name in few_shot.answers],
        "few_shot.terms": lambda: names.composed(plain, few_shot.terms),
        "continual.loss": lambda: c.loss == "auto" or _one_view(config, names.objective(c.loss)),
        "continual.terms": lambda: names.composed(plain, c.terms),
        "continual.classifiers": lambda: [names.classifier(name) for name in c.classifiers],
        "continual.correction": lambda: c.correction in ("auto", "none") or names.correction(c.correction),
        "augment.function": lambda: names.augmentation(config.augment),
    }


def _one_view(config: ml_collections.ConfigDict, objective: objectives.Objective) -> None:
    """Raises UserError where cached views are to be read by an objective that makes views of its own."""
    if config.feature_cache.views and objective.sees_own_views:
        raise UserError(
            f"it makes views of an image of its own; with feature_cache.views {config.feature_cache.views} it may not"
        )


def _check_dotted(config: ml_collections.ConfigDict) -> None:
    """Checks that what a config names is there."""
    for key, look_up in _named_of(config).items():
        try:
            look_up()
        except UserError as error:
            raise ConfigError(f"config.{key}: {error}") from None
    _check_fills(config)


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a frozen, complete copy in which every `auto` that the protocol decides is replaced; a device's stay."""
    config = complete(config)
    held_out = config.protocol.name == "held_out"
    if config.model.input_range == "auto":
        # The published code feeds [0, 1] to weights made for [-1, 1].
        config.model.input_range = _backbone(config).input_range if held_out else "zero_one"
    if "input" in config.model and not config.model.input.mean:
        mean, std = INPUT_STATISTICS[config.model.input_range]
        config.model.input.update(mean=mean, std=std)
    if config.continual.distill_over == "auto":
        # Padding with logit 0 hands classes that the teacher never saw some of its mass.
        config.continual.distill_over = "teacher" if held_out else "known"
    if config.few_shot.replay == "auto":
        config.few_shot.replay = "memory" if held_out else "none"
    if config.few_shot.selection == "auto":
        config.few_shot.selection = "new" if config.protocol.name == "published" else "none"
    return ml_collections.FrozenConfigDict(config)
