"""Every form of a layer computes what the layer is."""

import functools
import time

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.models import layers
from fer_jax.models.efficientnet import EfficientNetLite


@pytest.mark.parametrize("form", layers.FORMS)
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(5, 2, 17), (3, 1, 8), (7, 2, 12), (1, 1, 8), (1, 2, 9), (3, 1, 2)]
)
def test_every_form_of_a_convolution_is_the_convolution(kernel, stride, size, form):
    x = jax.random.normal(jax.random.key(0), (2, size, size, 3))
    weights = jax.random.normal(jax.random.key(1), (kernel, kernel, 3, 5))
    pad = [(kernel // 2, kernel // 2)] * 2
    settings = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def ours(w):
        return layers._convolve(x, w, (stride, stride), pad, form=form, **settings)

    def theirs(w):
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pad, **settings)

    np.testing.assert_allclose(ours(weights), theirs(weights), atol=1e-4)
    gradients = [jax.grad(lambda w, f=f: jnp.sum(jnp.sin(f(w))))(weights) for f in (ours, theirs)]
    np.testing.assert_allclose(*gradients, atol=1e-3)


@pytest.mark.parametrize(("kernel", "outputs"), [(5, 24), (3, 32)])
def test_a_stem_and_its_gradients_are_the_librarys(kernel, outputs):
    """Of images that are constants, and of images and kernels; in any mode of differentiation."""
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    weights = jax.random.normal(jax.random.key(1), (kernel, kernel, 3, outputs))
    layer = layers.conv("stem", outputs, kernel, 2)

    def ours(x, w):
        return layer.apply({"params": {"kernel": w}}, x)

    def theirs(x, w):
        pad = [(kernel // 2, kernel // 2)] * 2
        return jax.lax.conv_general_dilated(x, w, (2, 2), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert ("_stem" in str(jax.make_jaxpr(ours)(x, weights))) == (jax.default_backend() == "cpu")
    np.testing.assert_allclose(ours(x, weights), theirs(x, weights), atol=1e-4)
    for argument in (0, 1):
        found, expected = (
            jax.grad(lambda *both, f=f: jnp.sum(jnp.sin(f(*both))), argument)(x, weights) for f in (ours, theirs)
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)
    moved = [jax.jvp(f, (x, weights), (2 * x, 3 * weights))[1] for f in (ours, theirs)]
    np.testing.assert_allclose(*moved, atol=1e-3)
    each = jax.vmap(jax.grad(lambda w, one: jnp.sum(jnp.sin(ours(one[None], w)))), (None, 0))(weights, x)
    np.testing.assert_allclose(each.sum(0), jax.grad(lambda w: jnp.sum(jnp.sin(theirs(x, w))))(weights), atol=1e-3)


@pytest.mark.parametrize("size", [6, 7, 9])
def test_the_max_pool_is_a_windowed_maximum(size):
    x = jax.random.normal(jax.random.key(size), (2, size, size, 3))

    def windowed(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

    np.testing.assert_array_equal(layers.max_pool(x), windowed(x))
    found, expected = (jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (layers.max_pool, windowed))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(3, 1, 8), (3, 2, 8), (3, 2, 9), (5, 1, 4), (5, 1, 2), (5, 2, 12), (5, 2, 7)]
)
def test_a_depthwise_convolution_is_the_grouped_one_with_tensorflows_pads(kernel, stride, size):
    x = jax.random.normal(jax.random.key(0), (2, size, size, 6))
    layer = layers.depthwise_conv("depthwise", 6, kernel, stride)
    params = layer.init(jax.random.key(1), x)

    def ours(params, x):
        return layer.apply(params, x)

    def theirs(params, x):
        return jax.lax.conv_general_dilated(
            x, params["params"]["kernel"], (stride, stride), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6,
        )  # fmt: skip

    assert params["params"]["kernel"].shape == (kernel, kernel, 1, 6)
    np.testing.assert_allclose(ours(params, x), theirs(params, x), atol=1e-5)
    found, expected = (jax.value_and_grad(lambda p, x, f=f: jnp.sum(jnp.sin(f(p, x))), argnums=(0, 1))(params, x)
                       for f in (ours, theirs))  # fmt: skip
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4), found, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_takes_a_batch_of_unknown_size(stride):
    layer = layers.depthwise_conv("depthwise", 6, 3, stride)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 6))
    params = layer.init(jax.random.key(1), x)
    faces = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 8, 8, 6"), x.dtype)
    exported = jax.export.export(jax.jit(functools.partial(layer.apply, params)))(faces)
    np.testing.assert_allclose(exported.call(x), layer.apply(params, x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.alone
def test_frozen_batch_norm_does_not_slow_the_gradient_down():
    """XLA once computed a depthwise convolution anew for each entry of its kernel, in four times the time."""
    size, width = 12, 96
    net = EfficientNetLite((1, 1, 2, 1, 1, 1, 1), (8, 8, width, 8, 8, 8, 8), 8, 16)
    x = jax.random.normal(jax.random.key(0), (32, 8 * size, 8 * size, 3))
    params = net.init(jax.random.key(1), x)["params"]
    norms = {name: layer for name, layer in params.items() if name.endswith("_bn")}
    others = {name: layer for name, layer in params.items() if name not in norms}

    def loss(*parts):
        return jnp.sum(net.apply({"params": {name: layer for part in parts for name, layer in part.items()}}, x))

    # Slopes of batch-norm read what a depthwise convolution computes, so that it is kept.
    some, every = jax.jit(jax.grad(loss)), jax.jit(jax.grad(loss, argnums=(0, 1)))
    seconds = {some: [], every: []}
    for _ in range(6):
        for gradient, took in seconds.items():
            began = time.process_time()
            jax.block_until_ready(gradient(others, norms))
            took.append(time.process_time() - began)
    assert min(seconds[some]) < 1.5 * min(seconds[every])
