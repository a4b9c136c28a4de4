"""The structure of docs/architecture.md holds: imports point one way, nothing runs on import, functions stay small."""

import pathlib
import re
import subprocess
import sys

import pytest

from studies import structure

ROOT = pathlib.Path(__file__).parents[1]
PURE = (
    "losses",
    "augment",
    "replay",
    "classifiers",
    "classifiers.covariances",
    "classifiers.discriminants",
    "classifiers.mixtures",
    "classifiers.prototypes",
    "classifiers.random_features",
    "corrections",
)
COVARIANCES, DISCRIMINANTS, MIXTURES, PROTOTYPES, RANDOM_FEATURES = (
    f"fer_jax.classifiers.{name}"
    for name in ("covariances", "discriminants", "mixtures", "prototypes", "random_features")
)
FORMULAE = {
    "fer_jax.classifiers": {COVARIANCES, DISCRIMINANTS, MIXTURES, PROTOTYPES, RANDOM_FEATURES},
    COVARIANCES: {DISCRIMINANTS},
    MIXTURES: {RANDOM_FEATURES},
    PROTOTYPES: {DISCRIMINANTS},
    RANDOM_FEATURES: {DISCRIMINANTS},
}
MOST_MODULES, MOST_LINES, MOST_PARAMETERS = 15, 60, 8


MODULES = structure.modules(ROOT)
IMPORTS = structure.imports(MODULES)


def test_every_module_has_a_layer():
    assert {structure.place(name) for name in MODULES} - {""} == set(structure.RANK)


def test_imports_point_one_way():
    assert structure.upward(IMPORTS) == []


def test_no_modules_import_each_other_in_a_circle():
    assert structure.circles(IMPORTS) == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_of_the_project_but_rng(name):
    name = f"fer_jax.{name}"
    assert set(IMPORTS[name]) <= {"fer_jax.rng", *FORMULAE.get(name, ())}


def test_the_top_of_the_package_stays_small():
    assert structure.at_top(ROOT) <= MOST_MODULES


def test_functions_stay_short():
    long = {name: structure.length(node) for name, node in structure.functions(MODULES)}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_functions_take_few_parameters():
    many = {name: structure.parameters(node) for name, node in structure.functions(MODULES)}
    assert {name: count for name, count in many.items() if count > MOST_PARAMETERS} == {}


IMPORT_ALL = """
import importlib, os, sys
import flax.linen, jax, optax, orbax.checkpoint, tensorflow_datasets  # which may do what they like
before = dict(os.environ), dict(jax.config.values)
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert (dict(os.environ), dict(jax.config.values)) == before, name
"""


def test_no_module_changes_the_environment_or_configures_jax_on_import():
    command = [sys.executable, "-c", IMPORT_ALL, *(name for name in MODULES if name.startswith("fer_jax"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_test_modules_import_nothing_from_each_other():
    """What several of them need is in tests/support; programs that they start are text of theirs."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"(?:from|import) (tests\.[\w.]+)", path.read_text())
        if not name.startswith("tests.support")
    }
    assert found == set()
