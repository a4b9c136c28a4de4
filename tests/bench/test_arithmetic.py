"""Multiply-adds by formula: by hand for a small network, and within a stated share of XLA's own account."""

import jax
import jax.numpy as jnp
import pytest

from fer_jax.bench import arithmetic
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.small import ConvNet
from tests.support.model_size import multiply_adds

SMALL = Network(ConvNet((4, 6, 8)), ExpressionHead((10,), 5, 0.0))
B, SIZE = 2, 16
# 3×3 kernels on 16×16×3 to 4, 8×8×4 to 6 and 4×4×6 to 8; then 8 to 10 to 5.
CONV0, CONV1, CONV2 = 16 * 16 * 9 * 3 * 4, 8 * 8 * 9 * 4 * 6, 4 * 4 * 9 * 6 * 8
HEAD = 8 * 10 + 10 * 5


def test_a_small_network_by_hand():
    assert arithmetic.forward(SMALL, SIZE, "conv1", B) == (B * CONV0, B * (CONV1 + CONV2 + HEAD))
    # Of conv1 the gradient by its kernel alone: what goes into it learns nothing.
    assert arithmetic.backward(SMALL, SIZE, "conv1", B) == B * (CONV1 + 2 * (CONV2 + HEAD))
    tail = CONV1 + CONV2 + HEAD
    both_ways = CONV1 + 2 * (CONV2 + HEAD)
    for kind, trunks, tails in (("published", 2, 2), ("exact", 1, 2), ("cached", 0, 1)):
        assert arithmetic.step(SMALL, SIZE, "conv1", B, kind) == B * (trunks * CONV0 + tails * tail + both_ways)


@pytest.mark.parametrize("cut", ["input", "conv4_block1", "conv5_block1"])
def test_resnet50v2_has_the_published_number(cut):
    network = Network(ResNetV2(), ExpressionHead())
    below, above = arithmetic.forward(network, 224, cut)
    head = 2048 * 512 + 512 * 32 + 32 * 21
    assert below == multiply_adds(network.backbone, 224, stop=cut)
    assert above - head == multiply_adds(network.backbone, 224, start=cut)
    assert (below + above) / 1e9 == pytest.approx(3.481, abs=5e-4)


def test_a_depthwise_convolution_counts_a_channel_at_a_time():
    network = Network(EfficientNetLite(), ExpressionHead())
    # EfficientNet-Lite0 has 407 M multiply-adds at 224 by its authors' count, its classifier of 1280 × 1000 among them.
    trunk, tail = arithmetic.forward(network, 224, "head")
    head = 1280 * 512 + 512 * 32 + 32 * 21
    assert (trunk + tail - head + 1_280_000) / 1e6 == pytest.approx(407, rel=0.06)


def test_the_gradient_of_depthwise_convolutions_counts_in_the_form_of_this_device():
    network = Network(EfficientNetLite(form="product"), ExpressionHead())
    _, tail = arithmetic.forward(network, 64, "input")
    # All layers twice, but for the stem: 3×3 on 64×64×3 to 32×32×32.
    assert arithmetic.backward(network, 64, "input") == 2 * tail - 32 * 32 * 9 * 3 * 32


@pytest.mark.parametrize("cut", ["input", "conv1", "head"])
def test_the_formula_is_near_what_xla_counts(cut):
    """Within a fifth: XLA leaves zero pads out and counts additions, activations and the loss."""
    network = Network(ConvNet((16, 24, 32), form="library"), ExpressionHead((64,), 5, 0.0))
    params = network.init(jax.random.key(0), 32)
    trainable, frozen = network.split(params, cut)
    images = jnp.zeros((8, 32, 32, 3))

    def loss(trainable, frozen, images):
        params = merge(trainable, frozen)
        activations = jax.lax.stop_gradient(network.trunk(params, images, cut))
        return network.tail(params, activations, cut)[0].sum()

    compiled = jax.jit(jax.grad(loss)).lower(trainable, frozen, images).compile()
    trunk, tail = arithmetic.forward(network, 32, cut, 8)
    formula = trunk + tail + arithmetic.backward(network, 32, cut, 8)
    assert arithmetic.by_xla(compiled) == pytest.approx(formula, rel=0.2)


def test_the_peak_is_more_than_any_small_product_reaches():
    peak = arithmetic.matmul_peak()
    assert peak.dtype == ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    assert peak.per_second > 1e9
