"""Fixtures shared by all tests."""

import contextlib
import errno
import pathlib
import runpy
import socket
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.cli.train import run_and_report
from fer_jax.data.load import load
from fer_jax.runs.environment import prepare_environment
from fer_jax.runs.progress import log

prepare_environment()

ROOT = pathlib.Path(__file__).parents[1]
REFERENCE = pathlib.Path(__file__).parent / "reference"
NORM_NAMES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
HEAD_NAMES = {"dense": "hidden0", "dense_1": "hidden1", "dense_2": "logits"}


def pytest_collection_modifyitems(items):
    """Tests against the published code's vectors are those that `make accelerator-check` runs."""
    for item in items:
        if "reference" in item.fixturenames:
            item.add_marker(pytest.mark.parity)


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


@pytest.fixture(scope="session", autouse=True)
def _no_compilation_cache():
    """Timings and trace counts must not depend on what ran here before."""
    jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(scope="session")
def tiny_config():
    """All three phases on few pixels, classes and epochs: seconds, not minutes."""
    return runpy.run_path(str(ROOT / "configs" / "smoke.py"))["get_config"]()


@pytest.fixture(scope="session")
def connections():
    """Where `tiny_data` and `tiny_run` wanted to connect to, which they could not: nowhere."""
    return []


@contextlib.contextmanager
def offline(asked: list):
    """No name can be looked up and no address reached; who asks is noted."""

    def refuse(where):
        asked.append(where)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    def connect(self, address, allowed=socket.socket.connect):
        return allowed(self, address) if self.family == socket.AF_UNIX else refuse(address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect)
        patch.setattr(socket, "getaddrinfo", lambda *names, **named: refuse(names))
        yield


@pytest.fixture(scope="session")
def tiny_data(tiny_config, connections, tmp_path_factory):
    """The data of `tiny_config`, built once; the config then reads it from there."""
    tiny_config.data.dir = str(tmp_path_factory.mktemp("tiny_tfds"))
    with offline(connections):
        return load(tiny_config.data)


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tiny_data, connections, tmp_path_factory):
    """The workdir of a finished run of `tiny_config`; not to be changed."""
    workdir = tmp_path_factory.mktemp("tiny_run") / "run"
    with offline(connections):
        run_and_report(tiny_config, workdir)
    return workdir
