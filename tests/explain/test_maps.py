"""Grad-CAM against the published code's vectors and by hand; overlap, sanity and faithfulness against known answers."""

import dataclasses
import timeit

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fer_jax.errors import UserError
from fer_jax.explain import maps as explain
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.small import Mlp
from fer_jax.models.vit import ViT
from tests.support import clock

SMALL = Network(ResNetV2((1, 1, 1, 1), (2, 2, 3, 3), 4, 3), ExpressionHead((5,), 4, 0.0))
TOKENS = Network(ViT(4, 8, 1, 2, grid=4, registers=1), ExpressionHead((), 3, 0.0), "imagenet")


def random_parameters(network: Network, size: int):
    """Random numbers in the shapes of a network's parameters."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), size))
    return jax.tree.map(lambda leaf: jnp.asarray(generator.random(leaf.shape, np.float32)), shapes)


@pytest.fixture(scope="module")
def params():
    return random_parameters(SMALL, 32)


def test_the_guided_variant_is_the_published_codes(reference):
    vectors = reference("f_gradcam")
    weights = explain.channel_weights(vectors["conv"], vectors["grads"])
    np.testing.assert_allclose(weights[0], vectors["channel_weights"], rtol=1e-6)
    maps = explain.class_map(vectors["conv"], vectors["grads"])
    np.testing.assert_allclose(maps[0], vectors["cam"], rtol=1e-6)
    heat = explain.heat_map(maps, 56)
    np.testing.assert_allclose(heat[0], vectors["heatmap_float"], atol=1e-6)
    difference = explain.quantise(heat)[0].astype(int) - vectors["heatmap_uint8"]
    assert np.abs(difference).max() <= 1


def test_both_variants_by_hand():
    activations = jnp.asarray([[[[1.0, 2.0], [0.0, 1.0]]]])  # 1 × 1 × 2 × 2
    gradients = jnp.asarray([[[[2.0, -4.0], [6.0, -2.0]]]])
    np.testing.assert_allclose(explain.channel_weights(activations, gradients, "plain"), [[4, -3]])
    np.testing.assert_allclose(explain.class_map(activations, gradients, "plain"), [[[0, 0]]])  # -2 and -3
    np.testing.assert_allclose(explain.channel_weights(activations, gradients, "guided"), [[1, 0]])
    np.testing.assert_allclose(explain.class_map(activations, gradients, "guided"), [[[1, 0]]])
    with pytest.raises(ValueError, match="variant is 'other'; it may be one of guided, plain"):
        explain.channel_weights(activations, gradients, "other")


@dataclasses.dataclass(frozen=True)
class Squares:
    """Logit c is the sum of weight[c] x²: its gradient is known."""

    backbone = SMALL.backbone  # takes tensors for maps as they are

    def trunk(self, params, images, cut):
        return 2 * images

    def tail(self, params, activations, cut):
        return jnp.einsum("bhwd,c->bc", activations**2, params), None


def test_gradients_are_those_of_each_images_own_logit():
    images = jnp.asarray(np.random.default_rng(0).random((3, 2, 2, 3), np.float32))
    weight, classes = jnp.asarray([1.0, -2.0, 5.0]), jnp.asarray([2, 1, 2])
    activations, found = explain.gradients(weight, images, classes, Squares(), "post")
    np.testing.assert_allclose(activations, 2 * images)
    np.testing.assert_allclose(found, 2 * activations * weight[classes][:, None, None, None], rtol=1e-6)


def test_features_have_no_map():
    assert explain.map_layers(SMALL)[0] == "input"
    with pytest.raises(ValueError, match="layer is 'features'; it may be one of input, conv2_block1"):
        explain.grad_cam({}, jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, jnp.int32), SMALL, "features")


def test_a_transformers_map_has_its_patches_where_the_image_has_them():
    params, images = random_parameters(TOKENS, 16), jnp.zeros((1, 16, 16, 3))
    other = images.at[0, 4:8, 8:12].set(1.0)
    maps, changed = (TOKENS.backbone.as_map(TOKENS.trunk(params, one, "block1")) for one in (images, other))
    assert np.argwhere(np.abs(maps - changed).max((0, 3)) > 1e-3).tolist() == [[1, 2]]
    activations, gradients = explain.gradients(params, images, jnp.asarray([2]), TOKENS, "block1")
    np.testing.assert_allclose(activations, maps, rtol=1e-5)
    assert gradients.shape == (1, 4, 4, 8)
    assert np.abs(gradients).max(-1).all()


def test_a_transformers_layers_are_those_whose_patches_count():
    assert explain.map_layers(TOKENS) == ("input", "block1")
    assert explain.default_layer(TOKENS, 16) == "block1"
    mean = dataclasses.replace(TOKENS, backbone=TOKENS.backbone.clone(pooling="mean"))
    assert explain.default_layer(mean, 16) == "pool"
    assert explain.shapes(mean, 32) == {"input": (32, 32, 3), "block1": (8, 8, 8), "pool": (8, 8, 8)}


@pytest.mark.slow
def test_maps_of_every_layer_have_the_images_size_and_compile_once(params):
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    for layer in explain.map_layers(SMALL):
        heat = explain.grad_cam(params, images, jnp.asarray([0, 1]), SMALL, layer, "plain")
        assert heat.shape == (2, 32, 32)
        assert heat.min() >= 0
        assert heat.max() <= 1
    before = explain.gradients._cache_size()
    for c in (2, 3):
        explain.grad_cam(params, images, jnp.full(2, c), SMALL, "post_relu", "plain")
    assert explain.gradients._cache_size() == before


def test_the_default_layer_is_the_papers_at_the_papers_size():
    assert explain.default_layer(SMALL, 224) == "post_relu"  # strides are ResNet50V2's
    assert explain.default_layer(SMALL, 16) == "conv2_block1"


def test_a_network_without_maps_is_told():
    perceptron = Network(Mlp((8, 4)), ExpressionHead((), 3, 0.0))
    with pytest.raises(UserError, match="the network keeps no map of the image"):
        explain.default_layer(perceptron, 8)


def test_a_constant_map_is_no_heat():
    assert not explain.heat_map(jnp.ones((2, 3, 3)), 6).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.1, 100))
def test_overlap_is_symmetric_within_0_and_1_and_knows_no_scale(seed, scale):
    a, b = np.random.default_rng(seed).random((2, 4, 4), np.float32)
    found = float(explain.overlap(a, b))
    assert 0 <= found <= 1 + 1e-6
    assert found == pytest.approx(float(explain.overlap(b, a)), abs=1e-6)
    assert found == pytest.approx(float(explain.overlap(scale * a, b)), abs=1e-5)
    assert float(explain.overlap(a, a)) == pytest.approx(1, abs=1e-6)


def test_overlap_by_hand():
    a, b = np.zeros((2, 2, 2), np.float32)
    a[0] = 1  # half its mass in each entry of the first row
    b[:, 0] = (1, 3)
    assert float(explain.overlap(a, b)) == 0.25
    assert float(explain.overlap(a, 1 - a)) == 0
    assert float(explain.overlap(a, 0 * a)) == 0


def test_softmax_at_temperatures():
    logits, mask = jnp.asarray([[0.0, np.log(4.0), 50.0]]), jnp.asarray([True, True, False])
    found = explain.softmax_at(logits, mask, (1, 2))
    np.testing.assert_allclose(found, [[[0.2, 0.8, 0]], [[1 / 3, 2 / 3, 0]]], rtol=1e-6)


def test_rank_correlation_is_spearmans():
    a, b = np.random.default_rng(0).random((2, 5, 3, 3))
    b[0], a[1] = np.exp(a[0]), 1.0
    a[2, 0] = 0.0  # ties
    found = explain.rank_correlation(a, b)
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])  # a constant map has no ranks, so that it is neither right nor wrong
    for i in (2, 3, 4):
        assert found[i] == pytest.approx(stats.spearmanr(a[i].ravel(), b[i].ravel()).statistic)


def test_the_cascade_goes_down_and_keeps_every_value(params):
    parts = list(explain.cascade(params, SMALL))
    assert [part for part, _ in parts] == ["head", *(f"conv{s}_block1" for s in (5, 4, 3, 2)), "input"]
    changed = lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b)))  # noqa: E731
    head_only = parts[0][1]
    assert changed(head_only["head"]["logits"]["kernel"], params["head"]["logits"]["kernel"])
    assert not any(jax.tree.leaves(jax.tree.map(changed, head_only["backbone"], params["backbone"])))
    last = parts[-1][1]
    assert changed(last["backbone"]["conv1_conv"]["kernel"], params["backbone"]["conv1_conv"]["kernel"])
    same_values = jax.tree.map(lambda a, b: np.array_equal(np.sort(np.ravel(a)), np.sort(np.ravel(b))), last, params)
    assert all(jax.tree.leaves(same_values))
    norms = [layer for layer in params["backbone"] if layer.endswith("_bn")]
    assert norms
    assert not any(changed(last["backbone"][n][k], params["backbone"][n][k]) for n in norms for k in ("mean", "var"))


@dataclasses.dataclass(frozen=True)
class Weighing:
    """Logits are the head's products with the mean of each channel, so a map weighs channels by the head's column."""

    backbone = SMALL.backbone

    def trunk(self, params, images, cut):
        return images

    def tail(self, params, images, cut):
        return images.mean((1, 2)) @ params["head"]["kernel"], None


def test_a_map_stays_when_the_head_is_randomised_only_if_it_does_not_depend_on_it():
    up = jnp.arange(16.0).reshape(1, 4, 4, 1) / 16
    images = jnp.repeat(jnp.concatenate([up, 1 - up], -1), 2, 0)
    for kernel, low, high in (([[3.0, 3.0], [3.0, 3.0]], None, None), ([[1.0, -1.0], [0.0, 0.0]], -0.9, 0.9)):
        params = {"backbone": {}, "head": {"kernel": jnp.asarray(kernel)}}
        # Of equal weights the channels' sum is constant, so the second one is darkened.
        shown = images * jnp.asarray([1.0, 0.5])
        found = explain.sanity(params, shown, jnp.zeros(2, jnp.int32), Weighing(), "input", "plain", shuffles=20)
        assert found.shape == (2,)
        assert found[0] == found[1]
        assert found[0] == pytest.approx(1) if low is None else low < found[0] < high
    nothing = {"backbone": {}, "head": {"kernel": jnp.zeros((2, 2))}}
    assert np.isnan(explain.sanity(nothing, images, jnp.zeros(2, jnp.int32), Weighing(), "input", "plain")).all()


@dataclasses.dataclass(frozen=True)
class Left:
    """Answers class 1 by how bright the left half of a picture is."""

    def trunk(self, params, images, cut):
        return images

    def tail(self, params, images, cut):
        score = 20 * images[:, :, : images.shape[2] // 2].mean((1, 2, 3)) - 18
        return jnp.stack([-score, score], 1), None


def test_deletion_and_insertion_know_a_right_map_from_a_wrong_one():
    images = jnp.zeros((1, 8, 8, 3)).at[:, :, :4].set(1.0)
    right = jnp.zeros((1, 8, 8)).at[:, :, :4].set(1.0)
    maps = jnp.concatenate([right, 1 - right])
    images = jnp.concatenate([images, images])
    ones = jnp.ones(2, jnp.int32)
    deletion, insertion = explain.deletion_insertion({}, images, ones, maps, jnp.ones(2, bool), Left())
    assert deletion[0] < 0.2 < 0.4 < deletion[1]
    assert insertion[0] > insertion[1]
    assert (np.asarray([deletion, insertion]) <= 1 + 1e-6).all()


@pytest.mark.alone
@pytest.mark.slow
def test_grad_cam_of_the_small_network_makes_200_images_a_second():
    network = Network(ResNetV2((1, 1, 1, 1), (16, 32, 48, 64), 24, 5), ExpressionHead((512, 128), 21, 0.0))
    params = network.init(jax.random.key(0), 64)
    images, classes = jax.random.uniform(jax.random.key(1), (64, 64, 64, 3)), jnp.arange(64) % 21
    layer = explain.default_layer(network, 64)
    run = lambda: explain.grad_cam(params, images, classes, network, layer).block_until_ready()  # noqa: E731
    run()
    assert 64 / min(timeit.repeat(run, number=1, repeat=5)) >= 200 / clock.slowness()
