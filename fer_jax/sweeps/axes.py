"""The axes of a sweep and the cells of their product: names and configs, nothing about results."""

import ast
import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import ml_collections

from fer_jax import config as configs
from fer_jax.config import Rule
from fer_jax.errors import UserError

# Axes with a name of their own; a value is the only entry of the key's tuple. Every other axis is named by its key.
NAMES = {"method": "methods", "order": "protocol.orders", "fold": "protocol.folds"}
# What the cells of one sweep share, since their results are reported together.
COMMON = ("data.", "protocol.")
LONGEST_NAME = 120


class Axis(NamedTuple):
    """One thing that a sweep varies: `method`, `order`, `fold` or a config key, and its values in order."""

    name: str
    values: tuple[Any, ...]

    @property
    def key(self) -> str:
        """The config key that it sets."""
        return NAMES.get(self.name, self.name)


def read_axes(texts: list[str], config: ml_collections.ConfigDict, overridden: set[str] = frozenset()) -> list[Axis]:
    """Parses axes written as `name=value,value`, and checks them by the rules of the config's keys.

    Args:
      overridden: keys that the command line sets, too.

    Raises:
      UserError: a name that does not exist or comes twice, no values, a value twice or of the wrong kind, or an axis of
        what all cells share.
    """
    axes: list[Axis] = []
    for text in texts:
        axis = _read_axis(text, config)
        if axis.name in (other.name for other in axes):
            raise UserError(f"--over {axis.name} is there twice; write its values in one, {axis.name}=VALUE,VALUE")
        if axis.key in overridden:
            raise UserError(f"--over {axis.name}: --config.{axis.key} sets the same key; leave one of them out")
        axes.append(axis)
    return axes


def as_text(name: str, values: Iterable[Any]) -> str:
    """Returns an axis as `read_axes` parses it.

    >>> as_text("few_shot.shots", [[1, 5], (1,)])
    'few_shot.shots=(1, 5),(1,)'
    """
    return f"{name}=" + ",".join(str(tuple(value) if isinstance(value, list) else value) for value in values)


def _read_axis(text: str, config: ml_collections.ConfigDict) -> Axis:
    name, equals, values = text.partition("=")
    rules = configs.rules(config.data.name, config.model.name)
    by_key = {key: short for short, key in NAMES.items()}
    if name in by_key:
        raise UserError(f"--over {name} is written --over {by_key[name]}=VALUE,VALUE")
    key = NAMES.get(name, name)
    if key not in rules:
        known = [*NAMES, *rules]
        hint = configs.suggestion(name, known) or f"; it may be {', '.join(NAMES)} or a key of the config"
        raise UserError(f"--over {name} does not exist{hint}")
    if name not in NAMES and key.startswith(COMMON) and key not in configs.LEFT_OUT:
        raise UserError(f"--over {name}: the cells of a sweep share data set and protocol; make a sweep of each")
    if not equals or not values:
        raise UserError(f"--over {name} has no values; write --over {name}=VALUE,VALUE")
    rule = rules[key].each if name in NAMES else rules[key]
    parsed = tuple(_read_value(name, one, rule) for one in _split(values))
    for value in parsed:
        if parsed.count(value) > 1:
            raise UserError(f"--over {name} has {value} twice; each value may be there once")
    return Axis(name, parsed)


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _read_value(name: str, text: str, rule: Rule) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that text can make it raise
        value = text
    if str in rule.types and not isinstance(value, str):
        value = text  # a file called 7
    if isinstance(value, list):
        value = tuple(value)
    if not configs.fits(rule, value):
        raise UserError(f"--over {name} has {value!r}; it may be {rule.words}")
    return value


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A config and its axes. Cells are numbered from 0 in the order of the axes' product, the last one fastest.

    few_shot: the few-shot phase, which depends on neither method nor order, is run with the first of each; without it
      no cell runs it.

    Raises:
      UserError: a cell whose config cannot be run, or axes that do not go together.
    """

    config: ml_collections.ConfigDict
    axes: tuple[Axis, ...]
    few_shot: bool = False

    def __post_init__(self):
        for axis in self.axes:
            if axis.name.startswith("few_shot.") and not self.few_shot:
                raise UserError(f"--over {axis.name} changes nothing: cells run no few shots without --few-shot")
            if axis.name == "fold" and len(axis.values) > 1 and self.config.protocol.name == "published":
                raise UserError(
                    "--over fold: config.protocol.name is 'published', which goes on with the best of "
                    "config.protocol.folds; leave the axis out"
                )
        for number in range(len(self)):
            try:
                configs.check(self.cell(number))
            except UserError as error:
                raise UserError(f"cell {self.names[number]}: {error}") from None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> list[str]:
        """The names of the cells."""
        return cell_names(self.axes)

    def cell(self, number: int) -> ml_collections.ConfigDict:
        """Returns the config of a cell."""
        config = self.config.copy_and_resolve_references()
        values = next(itertools.islice(itertools.product(*(axis.values for axis in self.axes)), number, None))
        if not self.few_shot or not self._first(values):
            config.few_shot.shots = ()
        for axis, value in zip(self.axes, values, strict=True):
            config.update_from_flattened_dict({axis.key: (value,) if axis.name in NAMES else value})
        return config

    def _first(self, values: tuple[Any, ...]) -> bool:
        return all(
            value == axis.values[0]
            for axis, value in zip(self.axes, values, strict=True)
            if axis.name in ("method", "order")
        )

    def described(self) -> dict[str, Any]:
        """Describes the sweep by a flat dict, ready for JSON; two sweeps are the same if these are equal."""
        config = self.config.copy_and_resolve_references()
        if not self.few_shot:
            config.few_shot.shots = ()
        over = [[axis.name, list(axis.values)] for axis in self.axes]
        return {**configs.flatten(configs.resolve(config)), "over": over}


def cell_names(axes: tuple[Axis, ...]) -> list[str]:
    """Returns a name for every cell, fit for a folder, such as `kd_psmr-order0-continual.learning_rate=0.001`."""
    return [_shortened("-".join(parts)) for parts in itertools.product(*(_value_names(axis) for axis in axes))]


def _value_names(axis: Axis) -> list[str]:
    texts = [re.sub(r"[^\w.+-]+", "_", str(value)).strip("_") for value in axis.values]
    if len(set(texts)) < len(texts):
        texts = [f"{text}_{i}" for i, text in enumerate(texts)]
    form = {"method": "{}", "order": "order{}", "fold": "fold{}", "seed": "seed{}"}.get(axis.name)
    return [form.format(text) if form else f"{axis.name}={text}" for text in texts]


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
