"""Formats configs and their keys as text: one config, the differences of two, and the reference page of all keys."""

from collections.abc import Iterable, Iterator, Mapping

import ml_collections

from fer_jax.config import names
from fer_jax.config.core import as_tuples, flatten, rules
from fer_jax.config.keys import RULES
from fer_jax.config.rules import REQUIRED, Rule

ABSENT = "not there"
HEADING = """# Config keys

This page lists every key of a config: what it may be, its default, and what it means. A key without a default is
required. `fer-jax config --config FILE` shows the same for one config, with its values. `fer-jax config --diff A B`
lists the keys in which two configs differ. This page is the output of `fer-jax config --markdown`.
"""
OWN = """
## {title}

These keys go with the named {kind}s only. A {kind} of your own declares its keys itself ([extending.md](extending.md)).
"""


def listing(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields every key of a resolved config with its value, meaning, rule and default."""
    flat = flatten(config)
    for key, rule in rules(config.data.name, config.model.name).items():
        meaning = f"{rule.meaning} It may be {rule.words}; {_default(rule)}.".lstrip()  # a user's key may have none
        yield f"{key} = {as_tuples(flat[key])!r}\n    {meaning}"


def differences(first: ml_collections.ConfigDict, second: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields the keys in which two resolved configs differ, with both values; a key that one lacks is "not there"."""
    a, b = ({key: repr(as_tuples(value)) for key, value in flatten(config).items()} for config in (first, second))
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            yield f"{key}: {a.get(key, ABSENT)} -> {b.get(key, ABSENT)}"


def reference() -> str:
    """Returns the reference page of all keys, in Markdown: of every config, of data sets and of backbones."""
    groups: dict[str, list[str]] = {}
    for key, rule in RULES.items():
        groups.setdefault(key.partition(".")[0] if "." in key else "The whole run", []).append(_row(key, rule))
    tables = [f"\n## {group}\n\n{_table(rows)}" for group, rows in groups.items()]
    for kind, known, find in (
        (
            "data set",
            [name for name in names.DATA_SETS if name != names.TFDS],
            names.data_set,
        ),  # those of TFDS have no keys of their own
        ("backbone", names.BACKBONES, names.backbone),
    ):
        rows = _own({name: find(name).keys for name in known})
        tables.append(OWN.format(title=f"{kind}s".capitalize(), kind=kind) + "\n" + _table(rows, kind))
    return HEADING + "".join(tables)


def _own(keys: Mapping[str, Mapping[str, Rule]]) -> list[str]:
    """Returns a row for every key of these data sets or backbones; those with the same rule share one."""
    owners: dict[tuple, list[str]] = {}
    for name, own in keys.items():
        for key, rule in own.items():
            owners.setdefault((key, rule.words, _default(rule), rule.meaning), []).append(name)
    return [f"{_cells(key, *rest)} {', '.join(found)} |" for (key, *rest), found in owners.items()]


def _row(key: str, rule: Rule) -> str:
    return _cells(key, rule.words, _default(rule), rule.meaning)


def _cells(key: str, words: str, default: str, meaning: str) -> str:
    return f"| `{key}` | {meaning} | {words} | {default.removeprefix('default ')} |"


def _table(rows: Iterable[str], *more: str) -> str:
    columns = ("key", "meaning", "may be", "default", *more)
    return "\n".join((f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows, ""))


def _default(rule: Rule) -> str:
    return "required" if rule.default is REQUIRED else f"default {as_tuples(rule.default)!r}"
