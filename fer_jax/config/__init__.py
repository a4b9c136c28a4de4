"""Configs: every key and its allowed values (`keys`, `rules`, `core`), and names that stand for values (`names`,
`dotted`).
"""

from fer_jax.config.core import (
    DEFAULTS,
    LEFT_OUT,
    PLACES,
    ConfigError,
    base_settings,
    check,
    check_data,
    complete,
    decides_base,
    flatten,
    missing,
    nested,
    resolve,
    rules,
    suggestion,
    without_defaults,
)
from fer_jax.config.keys import INPUT_RANGES, PRECISIONS, RESIDENCIES, RULES
from fer_jax.config.rules import Rule, fits

__all__ = [
    "DEFAULTS",
    "INPUT_RANGES",
    "LEFT_OUT",
    "PLACES",
    "PRECISIONS",
    "RESIDENCIES",
    "RULES",
    "ConfigError",
    "Rule",
    "base_settings",
    "check",
    "check_data",
    "complete",
    "decides_base",
    "fits",
    "flatten",
    "missing",
    "nested",
    "resolve",
    "rules",
    "suggestion",
    "without_defaults",
]
