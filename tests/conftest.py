"""Fixtures shared by all tests."""

import hashlib
import os
import pathlib
import runpy
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.data.load import load
from fer_jax.interface.experiments import run_and_report
from fer_jax.runs.environment import prepare_environment
from fer_jax.runs.progress import log
from tests.support.shared import made_once, offline, share_compiled_programs, take_own_cores

prepare_environment()

ROOT = pathlib.Path(__file__).parents[1]
REFERENCE = pathlib.Path(__file__).parent / "reference"
NORM_NAMES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
HEAD_NAMES = {"dense": "hidden0", "dense_1": "hidden1", "dense_2": "logits"}


def pytest_configure(config):
    take_own_cores()
    share_compiled_programs(config)


# One worker makes `tiny_run` for all while the other one waits for the process of four devices.
# Then files that hold a single test of minutes, so that at the end no worker waits for the other.
FIRST = (
    "test_main.py", "test_devices.py", "test_fashion_mnist.py", "test_processes.py", "test_tour.py", "test_cfee_run.py",
    "test_vit_run.py", "test_accelerator.py", "test_serving.py", "test_builder.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Tests against the published code's vectors are those that `make accelerator-check` runs."""
    for item in items:
        if "reference" in item.fixturenames:
            item.add_marker(pytest.mark.parity)
    if BEGIN_UNTIL:
        items.sort(key=lambda item: hashlib.sha256(f"{BEGIN_UNTIL} {item.path.name}".encode()).digest())
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


# CI has an end, in seconds since the epoch. Slow tests that have not begun by then are skipped. It shuffles all files
# but the first, so that the next time others are.
BEGIN_UNTIL = os.environ.get("SLOW_TESTS_BEGIN_UNTIL")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    late = BEGIN_UNTIL and time.time() > float(BEGIN_UNTIL)
    if late and item.get_closest_marker("slow") and not item.get_closest_marker("alone"):
        pytest.skip("CI's time is over: `make test-slow` runs it")


@pytest.fixture(scope="session")
def reference():
    """Loads a file of vectors computed with the published code."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(REFERENCE / f"{name}.npz") as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def recipe():
    """The module that makes the reference weights and inputs."""
    sys.path.insert(0, str(REFERENCE))
    try:
        import recipe
    finally:
        sys.path.remove(str(REFERENCE))
    return recipe


@pytest.fixture(scope="session")
def from_keras():
    """Turns (layer, weight, array) rows in Keras' names into our backbone and head."""

    def convert(rows) -> tuple[dict, dict]:
        backbone, head = {}, {}
        for layer, weight, array in rows:
            if layer in HEAD_NAMES:
                head.setdefault(HEAD_NAMES[layer], {})[weight] = jnp.asarray(array)
            else:
                # "bias" is a convolution's own name too: only batch-norm's four are renamed.
                backbone.setdefault(layer, {})[NORM_NAMES.get(weight, weight)] = jnp.asarray(array)
        return backbone, head

    return convert


@pytest.fixture(scope="session")
def resnet50v2(recipe, from_keras):
    """Backbone and head of the reference network, as our parameters."""
    return from_keras(recipe.make_weights("resnet50v2"))


@pytest.fixture
def logged(caplog, monkeypatch):
    """The package's log lines, which otherwise go to the terminal alone."""
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level("INFO", logger="fer_jax"):
        yield caplog


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs of a module go with it; what another one needs of them is in the session's cache."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _leaves_what_xla_reads():
    """Fails a test that leaves other threads or flags to those after it: they would compute other digits, unsaid."""
    before = {name: os.environ.get(name) for name in ("NPROC", "XLA_FLAGS", "JAX_PLATFORMS")}
    yield
    assert {name: os.environ.get(name) for name in before} == before


@pytest.fixture(scope="session")
def tiny_config():
    """All three phases on few pixels, classes and epochs: seconds, not minutes."""
    return runpy.run_path(str(ROOT / "configs" / "smoke.py"))["get_config"]()


@pytest.fixture(scope="session")
def connections(tmp_path_factory):
    """The file that says where `tiny_data` and `tiny_run` wanted to connect to, which they could not."""
    return made_once(tmp_path_factory, "connections", lambda folder: None) / "asked.jsonl"


@pytest.fixture(scope="session")
def tiny_data(tiny_config, connections, tmp_path_factory):
    """The data of `tiny_config`, built once; the config then reads it from there."""

    def prepare(folder):
        tiny_config.data.dir = str(folder)
        with offline(connections):
            load(tiny_config.data)

    tiny_config.data.dir = str(made_once(tmp_path_factory, "tiny_tfds", prepare))
    return load(tiny_config.data)


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tiny_data, connections, tmp_path_factory):
    """The workdir of a finished run of `tiny_config`; not to be changed."""

    def train(folder):
        with offline(connections):
            run_and_report(tiny_config, folder / "run")

    return made_once(tmp_path_factory, "tiny_run", train) / "run"
