"""Rules of config keys: the allowed types, a test of the value, and the same in words.

Data sets, backbones and objectives declare the rules of their own keys, next to themselves.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

REQUIRED = object()  # the default of a key that every config must have


class Rule(NamedTuple):
    """The rule of one key: its types, a test of its value, and the same in words.

    each: the rule of a tuple's entries.
    default: the value in a config without the key.
    meaning: one sentence on what the key decides.
    """

    types: tuple[type, ...]
    allows: Callable[[Any], bool]
    words: str
    each: "Rule | None" = None
    default: Any = REQUIRED
    meaning: str = ""

    def means(self, meaning: str) -> "Rule":
        """Returns the rule with a sentence on what its key decides."""
        return self._replace(meaning=meaning)


def optional(rule: Rule, default: Any) -> Rule:
    """Returns the rule of a key that a config may omit.

    Every key that is added later is optional, so that older configs and workdirs stay valid.

    Raises:
      ValueError: the default breaks the rule.
    """
    if not fits(rule, default):
        raise ValueError(f"the default {default!r} breaks its own rule; it may be {rule.words}")
    return rule._replace(default=default)


def whole(low: int, high: int = 2**31 - 1) -> Rule:
    """Returns the rule of a whole number from `low` to `high`, which is the largest that arrays of indices hold."""
    return Rule((int,), lambda v: low <= v <= high, f"a whole number from {low} to {high}")


def number(low: float, high: float, open_low: bool = False) -> Rule:
    """Returns the rule of a finite number from `low` to `high`, without `low` itself if `open_low` is set."""
    kind = "a number" if math.isfinite(high) else "a finite number"
    words = f"{kind} {'above' if open_low else 'from'} {low:g}" + (f" to {high:g}" if high < 1e30 else "")
    # JSON has no infinity, and a workdir's config is JSON.
    return Rule((int, float), lambda v: (low < v if open_low else low <= v) and v <= high and math.isfinite(v), words)


def one_of(*values: str) -> Rule:
    """Returns the rule of a value that is one of the choices."""
    return Rule((str,), lambda v: v in values, "one of " + ", ".join(values))


def several(rule: Rule, least: int = 1) -> Rule:
    """Returns the rule of a tuple of at least `least` values, each by `rule`."""
    words = f"a tuple of at least {least}, each {rule.words}"
    return Rule((tuple, list), lambda v: len(v) >= least and all(fits(rule, x) for x in v), words, rule)


def fits(rule: Rule, value: Any) -> bool:
    """Returns True if a value has one of the rule's types and passes its test."""
    # bool is an int to Python; as a count it is always a slip.
    if isinstance(value, bool) and bool not in rule.types:
        return False
    return isinstance(value, rule.types) and rule.allows(value)


BOOL = Rule((bool,), lambda v: True, "True or False")
TEXT = Rule((str,), lambda v: True, "a text")
RATE = number(0, 1, open_low=True)
CUT = Rule((str,), bool, "input, head or a block of the backbone")
POSITIVE = number(0, float("inf"), open_low=True)
NAME = Rule((str,), bool, "a text, not empty")
_PAIR = Rule(
    (tuple, list),
    lambda v: len(v) == 2 and fits(NAME, v[0]) and fits(POSITIVE, v[1]),
    "a pair (name, weight) with a weight above 0",
)
PAIRS = several(_PAIR, 0)
