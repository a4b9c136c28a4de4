"""`several`: data sets as one, for training on some and testing on another.

    config.data.sets = (("kdef", (("name", "kdef"), ("manual_dir", "/where/kdef/lies"))), ("jaffe", …))
    config.data.test_on = "jaffe"           the others train; "" folds all subjects
    config.data.class_map = (("kdef/afraid", "fear"), ("disgusted", "disgust"), ("kdef/neutral", ""))

A class is called as its own data set calls it unless `class_map` says otherwise, for one set or for all; "" leaves it
out. An entry that matches no class is an error, whatever the case of its letters. With `test_on` a class counts that
both sides have; pictures of others are left out, and counted. The set that is tested on gives its official test images,
if it has some, else all; the others give all but those. People of two sets are different people.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
from ml_collections import ConfigDict

from fer_jax import config as configs
from fer_jax.config import names
from fer_jax.config.rules import REQUIRED, TEXT, Rule, optional, several
from fer_jax.data import classes
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.listing import class_name, order_classes
from fer_jax.data.load import check_form
from fer_jax.errors import UserError

# What a data set's config has unless the set says otherwise.
_PLAIN = {"manual_dir": "", "on_bad_image": "error", "base_classes": (), "labels_csv": "", "subject_pattern": "",
          "part": "basic", "class_names": ()}  # fmt: skip


def _load(config: ConfigDict) -> FaceArrays:
    if wrong := _wrong(config):  # of a config that nobody checked as a whole, as `fer-jax data check` has
        raise UserError(f"config.{wrong}")
    parts = {tag: _one(config, tag, dict(keys)) for tag, keys in config.sets}
    _check_map(config.class_map, {tag: part.class_names for tag, part in parts.items()})
    parts = {tag: _mapped(tag, part, config) for tag, part in parts.items()}
    notes = [f"{tag}: {note}" for tag, part in parts.items() for note in part.metadata.get("notes", ())]
    if config.test_on:
        parts, more = _sided(parts, config.test_on)
        notes += more
    shared = [name for part in parts.values() for name in part.class_names]
    ordered = order_classes(shared, tuple(config.base_classes), "the data sets")
    data = _joined(list(parts.values()), ordered)
    skipped = [{**one, "file": f"{tag}/{one['file']}"} for tag, part in parts.items()
               for one in part.metadata.get("skipped", ())]  # fmt: skip
    known = all(part.metadata.get("split_by") != "image" for part in parts.values())
    metadata = {"split_by": "subject" if known else "image", "notes": notes, "skipped": skipped,
                "images": {tag: len(part.label) for tag, part in parts.items()},
                "ignored": sum(part.metadata.get("ignored", 0) for part in parts.values())}  # fmt: skip
    return dataclasses.replace(data, metadata=metadata)


def _one(config: ConfigDict, tag: str, given: Mapping[str, object]) -> FaceArrays:
    """Loads one of the data sets, with an error that names it."""
    try:
        rules = names.data_set(given["name"]).keys
        defaults = {key.removeprefix("data."): rule.default for key, rule in rules.items()}
        plain = {key: _PLAIN.get(key, value) for key, value in defaults.items()}
        plain = {key: value for key, value in plain.items() if value is not REQUIRED}
        common = {"dir": config.dir, "image_size": config.image_size, "exclude": (), "n_base": 2}
        own = ml_collections.ConfigDict({**common, **plain, **given})
        configs.check_data(own, ("name", *defaults))
        own.n_base = 1  # which classes are the base task's is a matter of all sets together
        data = names.data_set(own.name).load(own)
        check_form(own, data)
        return data
    except UserError as error:
        raise UserError(f"config.data.sets {tag}: {error}") from None


def _check_map(class_map: Sequence[tuple[str, str]], class_names: Mapping[str, Sequence[str]]) -> None:
    """Checks that every entry is of a class.

    Raises:
      UserError: one is of no set's class.
    """
    by_set = {class_name(tag): [class_name(one) for one in names] for tag, names in class_names.items()}
    everywhere = list(dict.fromkeys(one for names in by_set.values() for one in names))
    known = {*everywhere, *(f"{tag}/{one}" for tag, names in by_set.items() for one in names)}
    for old, _ in class_map:
        if class_name(old) in known:
            continue
        tag, slash, _ = class_name(old).rpartition("/")
        if slash and tag not in by_set:
            may = f"a set may be {', '.join(class_names)}"
        else:
            may = f"classes{f' of {tag}' if slash else ''} are {', '.join(by_set[tag] if slash else everywhere)}"
        raise UserError(f"config.data.class_map has {old!r}, which is no class; {may}")


def _mapped(tag: str, data: FaceArrays, config: ConfigDict) -> FaceArrays:
    """Renames classes, and leaves out those that are mapped to nothing; two may become one."""
    renamed = {class_name(old): class_name(new) for old, new in config.class_map}
    folded = [(f"{class_name(tag)}/{class_name(one)}", class_name(one), one) for one in data.class_names]
    new = [renamed.get(own, renamed.get(any_set, one)) for own, any_set, one in folded]
    return _with_classes(data, tuple(dict.fromkeys(filter(None, new))), dict(enumerate(new)))


def _with_classes(data: FaceArrays, class_names: tuple[str, ...], name_of: Mapping[int, str]) -> FaceArrays:
    """Returns the images whose class has a name among these, with labels by them; targets by class go."""
    number = np.array([class_names.index(name_of[i]) if name_of[i] in class_names else -1
                       for i in range(len(data.class_names))], np.int32)  # fmt: skip
    rows = number[data.label] >= 0
    part = data.rows(rows)
    return dataclasses.replace(part, label=number[part.label], class_names=class_names, targets={}, class_targets={})


def _sided(parts: dict[str, FaceArrays], test_on: str) -> tuple[dict[str, FaceArrays], list[str]]:
    """Marks the images of one set as the official test ones, and leaves out what has no place; says what."""
    learned = {name for tag, part in parts.items() if tag != test_on for name in part.class_names}
    both = [name for name in parts[test_on].class_names if name in learned]
    sided, notes = {}, classes.in_two_words(learned.union(parts[test_on].class_names))
    for tag, part in parts.items():
        test, before = tag == test_on, len(part.label)
        own = tuple(name for name in part.class_names if name in both)
        gone = [name for name in part.class_names if name not in both]
        part = _with_classes(part, own, dict(enumerate(part.class_names)))
        if gone:
            notes.append(f"{tag}: {before - len(part.label)} images of classes of one side alone: {', '.join(gone)}")
        if part.official_test is not None:
            rows = part.official_test == test
            notes.append(f"{tag}: its official {'training' if test else 'test'} images are left out ({(~rows).sum()})")
            part = part.rows(rows)
        validation = None if test else part.official_validation
        sided[tag] = dataclasses.replace(
            part, official_test=np.full(len(part.label), test), official_validation=validation
        )
    if len(both) < 3:
        words = ", ".join(both) or "none"
        raise UserError(
            f"config.data.test_on {test_on} shares {len(both)} classes with the others ({words}); "
            "config.data.class_map may give classes of both sides one name"
        )
    return sided, notes


def _joined(parts: list[FaceArrays], class_names: tuple[str, ...]) -> FaceArrays:
    labels, subjects, begins = [], [], 0
    for part in parts:
        labels.append(np.array([class_names.index(name) for name in part.class_names], np.int32)[part.label])
        subjects.append(np.unique(part.subject, return_inverse=True)[1].astype(np.int32) + begins)
        begins += len(np.unique(part.subject))

    def official(name: str) -> np.ndarray | None:
        rows = [getattr(part, name) for part in parts]
        if all(one is None for one in rows):
            return None
        no = (np.zeros(len(part.label), bool) for part in parts)
        return np.concatenate([none if one is None else one for one, none in zip(rows, no, strict=True)])

    return FaceArrays(
        np.concatenate([part.image for part in parts]), np.concatenate(labels), np.concatenate(subjects), class_names,
        official_test=official("official_test"), official_validation=official("official_validation"),
        files=tuple(file for part in parts for file in part.files) if all(part.files for part in parts) else (),
    )  # fmt: skip


def _wrong(data: ConfigDict) -> str | None:
    tags = [tag for tag, _ in data.sets]
    if len(set(map(class_name, tags))) < len(tags):
        return f"data.sets has the names {', '.join(tags)}; each may be there once"
    if data.test_on and data.test_on not in tags:
        return f"data.test_on is {data.test_on!r}; it may be empty or one of {', '.join(tags)}"
    times = collections.Counter(class_name(old) for old, _ in data.class_map)
    twice = [old for old, count in times.items() if count > 1]
    if twice:
        return f"data.class_map has {twice[0]!r} more than once; each class may be there once"
    return None


def _is_pairs(value, inner) -> bool:
    pairs = all(isinstance(one, tuple | list) and len(one) == 2 for one in value)
    return pairs and all(isinstance(key, str) and inner(other) for key, other in value)


def _is_set(value) -> bool:
    if not isinstance(value, tuple | list) or not _is_pairs(value, lambda _: True):
        return False
    own = dict(value)
    return isinstance(own.get("name"), str) and not any("." in key for key in own)


_SETS = Rule(
    (tuple, list), lambda v: len(v) > 1 and _is_pairs(v, _is_set),
    "a tuple of at least 2 pairs of a name and the set's own keys, without dots, "
    "such as ('kdef', (('name', 'kdef'), …))",
)  # fmt: skip
_MAP = Rule((tuple, list), lambda v: _is_pairs(v, lambda new: isinstance(new, str)), "a tuple of pairs of class names")
DATA_SET = DataSet(
    {
        "data.sets": _SETS.means("The data sets that are joined, each with its own keys."),
        "data.test_on": optional(TEXT, "").means("Name of the set that alone is tested on; empty tests on all sets."),
        "data.class_map": optional(_MAP, ()).means("Pairs of class names, old and new, that make the sets agree."),
        "data.base_classes": optional(several(TEXT, 0), ()).means(
            "Names of the classes of the base task; an empty tuple leaves the data set's order."
        ),
    },
    _load, lambda config: _wrong(config.data),
)  # fmt: skip
