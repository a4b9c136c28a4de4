"""The backbones for small pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.models.small import ConvNet, Mlp

IMAGES = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)


def test_the_perceptron_by_hand():
    model = Mlp((5, 4))
    params = model.init(jax.random.key(0), IMAGES)["params"]
    x = IMAGES.mean(-1).reshape(2, 64)
    for name in ("dense0", "dense1"):
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    np.testing.assert_allclose(model.apply({"params": params}, IMAGES), x, rtol=1e-4, atol=1e-6)


def test_the_convolutional_network_by_hand():
    model = ConvNet((3, 4))
    params = model.init(jax.random.key(0), IMAGES)["params"]
    x = jnp.asarray(IMAGES)
    for name in ("conv0", "conv1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jnp.maximum(x + bias, 0)
        x = x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
    np.testing.assert_allclose(model.apply({"params": params}, IMAGES), x.mean((1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", [Mlp((5, 4)), ConvNet((3, 4))])
def test_cuts_are_in_order_and_every_layer_belongs_to_one(model):
    params = model.init(jax.random.key(0), IMAGES)["params"]
    assert {model.layer_cut(layer) for layer in params} <= set(model.cuts)
    whole = model.apply({"params": params}, IMAGES)
    for cut in model.cuts[1:-1]:
        lower = model.apply({"params": params}, IMAGES, stop=cut)
        np.testing.assert_array_equal(model.apply({"params": params}, lower, start=cut), whole)
