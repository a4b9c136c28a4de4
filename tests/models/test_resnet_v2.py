"""ResNetV2 against Keras' ResNet50V2 with the recipe's weights, and its own properties."""

import jax
import numpy as np
import pytest

from fer_jax.models import resnet_v2
from fer_jax.models.resnet_v2 import ResNetV2
from tests.support import model_size

SMALL = ResNetV2(depths=(1, 2, 1, 1), widths=(4, 6, 8, 8), stem_width=8, stem_kernel=5)


@pytest.fixture(scope="module")
def small():
    x = jax.random.uniform(jax.random.key(0), (3, 40, 40, 3))
    return SMALL.init(jax.random.key(1), x)["params"], x


def distance(found, expected) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_resnet50v2_equals_keras_at_every_given_layer(reference, recipe, resnet50v2):
    r, (x, _) = reference("d_resnet_numerics"), recipe.inputs()
    params = {"params": resnet50v2[0]}
    model = ResNetV2()
    # The layers' names in Keras, and where they are in ours: a block's cut is what goes into it.
    stops = {
        "conv3_block4_out_86in": "conv4_block1",
        "conv4_block6_out_154in": "conv5_block1",
        "post_relu": "post_relu",
    }
    activation, start = x, "input"
    for layer, stop in stops.items():
        activation = model.apply(params, activation, start, stop)
        start = stop
        assert distance(activation.mean((1, 2)), r[f"96_{layer}_spatialmean"]) < 1e-4, layer
        assert distance(activation[:, :3, :3, :16], r[f"96_{layer}_slice"]) < 1e-4, layer
        a = np.asarray(activation)
        found = a.mean(), a.std(), np.abs(a).max()
        np.testing.assert_allclose(found, r[f"96_{layer}_meanstdabsmax"], rtol=1e-4)
    assert distance(activation.max((1, 2)), r["96_maxpool_feature"]) < 1e-4
    assert distance(resnet_v2.features(resnet50v2[0], x), r["96_maxpool_feature"]) < 1e-4


def test_the_first_convolution_equals_keras(reference, recipe, resnet50v2):
    r, (x, _) = reference("d_resnet_numerics"), recipe.inputs()
    model = ResNetV2(stem_pool=False)
    found = model.apply({"params": resnet50v2[0]}, x, "input", "conv2_block1")
    assert distance(found[:, :3, :3, :16], r["96_conv1_conv_slice"]) < 1e-4
    assert distance(found.mean((1, 2)), r["96_conv1_conv_spatialmean"]) < 1e-4


def test_a_narrow_network_equals_keras(reference, recipe, from_keras):
    r = reference("d_small_io")
    backbone, _ = from_keras(recipe.make_weights("small"))
    assert resnet_v2.architecture(backbone).widths == (4, 8, 16, 32)
    assert distance(resnet_v2.features(backbone, r["x"]), r["feature"]) < 1e-5


def test_parameters_and_multiply_adds_are_the_published_ones(resnet50v2):
    backbone, head = resnet50v2
    assert model_size.parameter_count(backbone) + model_size.parameter_count(head) == 24_630_502
    model = ResNetV2()
    assert model_size.multiply_adds(model, 224) / 1e9 == pytest.approx(3.481, abs=1e-3)
    below, above = (
        model_size.multiply_adds(model, 224, stop="conv5_block1") / 1e9,
        model_size.multiply_adds(model, 224, start="conv5_block1") / 1e9,
    )
    assert below == pytest.approx(2.748, abs=1e-3)
    assert above == pytest.approx(0.733, abs=1e-3)


def test_architecture_is_read_off_the_parameters(small):
    assert resnet_v2.architecture(small[0]) == SMALL
