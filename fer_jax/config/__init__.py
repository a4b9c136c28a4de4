"""Configs: what every key may be (`core`), and names that stand for values (`dotted`)."""

from fer_jax.config.core import (
    MODEL_RULES,
    RULES,
    ConfigError,
    Rule,
    base_settings,
    check,
    check_data,
    fits,
    flatten,
    resolve,
    rules,
    suggestion,
)

__all__ = [
    "MODEL_RULES",
    "RULES",
    "ConfigError",
    "Rule",
    "base_settings",
    "check",
    "check_data",
    "fits",
    "flatten",
    "resolve",
    "rules",
    "suggestion",
]
