"""The examples in docstrings give what they say, and every public pure function has one."""

import doctest
import importlib
import inspect
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "fer_jax").rglob("*.py")
    if ">>> " in path.read_text()
)
# Formulas and decisions; scores of a memory rule take a whole batch of candidates, which no short example has.
PURE = ("losses", "replay", "metrics", "protocol", "statistics")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", PURE)
def test_public_pure_functions_have_an_example(name):
    module = importlib.import_module(f"fer_jax.{name}")
    functions = {
        key: value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    }
    without = {key for key, value in functions.items() if ">>> " not in (value.__doc__ or "")}
    scores = {"own_class_logit", "random_score", "entropy_score", "closeness_score", "herding_score"}
    assert functions
    assert without - scores == set()
