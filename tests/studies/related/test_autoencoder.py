"""CCC by hand, an autoencoder that makes pictures of codes, controls that can fail, and a tiny run."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training.batch import Batch
from studies.related import autoencoder, learning
from studies.related.common import Work
from studies.related.learning import Examples
from tests.support import related


def test_concordance_by_hand():
    x = np.asarray([1.0, 2.0, 3.0])
    assert autoencoder.concordance(x, x) == pytest.approx(1)
    assert autoencoder.concordance(-x, x + 4 - 2 * x) == pytest.approx(2 * (2 / 3) / (4 / 3 + 16))  # four apart
    assert autoencoder.concordance(np.asarray([1.0, -2.0, 1.0]), x) == pytest.approx(0)


def test_arousal_and_valence_by_hand():
    units = np.zeros((2, 17), np.float32)
    units[0, [9, 4]] = 1.0, 0.5  # 12 and 6
    units[1, [2, 10]] = 0.5, 1.0  # 4 and 15
    np.testing.assert_allclose(autoencoder.affect(units), [[1.5 / 17, 1.5], [1.5 / 17, -1.5]], rtol=1e-6)


def test_components_are_those_of_the_training_pictures():
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (12, 4, 4, 3)).astype(np.uint8)
    found = autoencoder.components(pictures, np.arange(8), 3)
    flat = pictures.reshape(12, -1) / 255.0
    _, _, axes = np.linalg.svd(flat[:8] - flat[:8].mean(0), full_matrices=False)
    right = (flat - flat[:8].mean(0)) @ axes[:3].T

    def normal(x):  # each component's sign and scale are free, and so is their order here
        return np.sort(np.abs(x / np.linalg.norm(x[:8], axis=0)), 1)

    np.testing.assert_allclose(normal(found), normal(right), atol=1e-3)


def test_the_regression_reads_a_code_that_holds_the_targets_and_nothing_of_shuffled_ones(tmp_path):
    generator = np.random.default_rng(0)
    code = generator.normal(size=(2000, 4)).astype(np.float32)
    target = code[:, :2] + 0.1 * generator.normal(size=(2000, 2))
    work, train = Work(0, types.SimpleNamespace(), tmp_path), np.tile(np.arange(1500), 2)
    for name, told in (("true", target), ("shuffled", generator.permutation(target))):
        facts = Batch(jnp.zeros(2000, jnp.int32), None, {"affect": jnp.asarray(told, jnp.float32)})
        found = learning.probe(work, name, Examples(code, facts, 2), train, 10, autoencoder.REGRESSION)
        ccc = autoencoder.concordance(found[1500:, 0], target[1500:, 0])
        assert ccc > 0.9 if name == "true" else abs(ccc) < 0.2


def test_pictures_come_out_as_they_went_in_and_the_code_lies_between():
    net, _ = autoencoder.networks(
        types.SimpleNamespace(settings=types.SimpleNamespace(widths=(4, 4), code=8, size=16)), 22
    )
    params = net.init(jax.random.key(0), 16)
    images = jnp.full((2, 16, 16, 3), 0.5)
    assert net.trunk(params, images, "code").shape == (2, 8)
    _, features = net.tail(params, net.trunk(params, images, "code"), "code")
    assert features.shape == (2, 16 * 16 * 3)
    assert {net.backbone.layer_cut(name) for name in params["backbone"] if name.startswith("decoder")} == {"code"}


def test_a_tiny_run(tmp_path):
    row = related.row(autoencoder.STUDY, tmp_path, people=(3, 2, 2), code=8, fit=2)
    assert all(-1 <= value <= 1 for value in row.values())
