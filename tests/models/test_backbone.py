"""What holds of every backbone: cutting changes nothing, calibration evens every norm's input, weights have a place."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fer_jax.models.backbone import Family, calibrate_batch_norm
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.efficientnet_b0 import EfficientNetB0
from fer_jax.models.head import ExpressionHead
from fer_jax.models.layers import BATCH_STATISTICS
from fer_jax.models.network import INPUT_RANGES, Network, merge
from fer_jax.models.resnet_v1 import ResNetV1
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.vit import ViT

BACKBONES = {
    "resnet": ResNetV2(depths=(1, 2, 1, 1), widths=(4, 6, 8, 8), stem_width=8, stem_kernel=5),
    "efficientnet": EfficientNetLite((1, 2, 1, 1, 1, 2, 1), (4, 4, 6, 6, 6, 8, 8), stem_width=6, top_width=10),
    "efficientnet_b0": EfficientNetB0((1, 2, 1, 1, 1, 1, 1), (4, 4, 6, 6, 6, 8, 8), stem_width=8, top_width=10),
    "resnet_v1": ResNetV1(depths=(1, 2, 1, 1), widths=(4, 6, 8, 8), stem_width=8),
    "vit": ViT(8, 16, 2, 2, grid=4, registers=1, pre_norm=True, layer_scale=True),
}


# B0 has four times the layers of the others, and each test compiles them.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name == "efficientnet_b0" else name for name in BACKBONES],
)
def small(request):
    model = BACKBONES[request.param]
    x = jax.random.uniform(jax.random.key(0), (3, 40, 40, 3))
    return model, jax.jit(model.init)(jax.random.key(1), x)["params"], x


def test_cutting_anywhere_changes_nothing(small):
    model, params, x = small
    whole = model.apply({"params": params}, x)
    assert whole.shape == (3, model.feature_width)
    tensor = x
    for cut, following in zip(model.cuts, model.cuts[1:], strict=False):
        np.testing.assert_array_equal(model.apply({"params": params}, tensor, cut, cut), tensor)
        tensor = model.apply({"params": params}, tensor, cut, following)
    np.testing.assert_allclose(tensor, whole, rtol=1e-5, atol=1e-6)


def test_bad_cuts_are_told(small):
    model, params, x = small
    with pytest.raises(ValueError, match=f"'conv9_block1' does not exist; it may be one of {', '.join(model.cuts)}"):
        model.apply({"params": params}, x, stop="conv9_block1")
    later = model.cuts[2]
    with pytest.raises(ValueError, match=f"stop 'input' comes before start '{later}'"):
        model.apply({"params": params}, x, start=later, stop="input")


def test_every_layer_is_trained_from_its_own_cut_and_not_from_the_next(small):
    model, backbone, _ = small
    network = Network(model, ExpressionHead((5,), 4), model.input_range)
    head = network.head.init(jax.random.key(0), jnp.zeros((1, model.feature_width)))["params"]
    params = {"backbone": backbone, "head": head}
    for cut, following in zip(model.cuts, (*model.cuts[1:], "head"), strict=False):
        trainable, frozen = network.split(params, cut)
        assert jax.tree.structure(merge(trainable, frozen)) == jax.tree.structure(params)
        below, _ = network.split(params, following)
        own = set(trainable["backbone"]) - set(below["backbone"])
        # A gradient through this step alone reaches exactly the layers that are trained from here on only.
        tensor = jax.eval_shape(lambda b, c=cut: model.apply({"params": b}, jnp.ones((1, 40, 40, 3)), stop=c), backbone)
        if following != "head":
            step = jax.eval_shape(lambda t, c=cut, f=following: model.init(jax.random.key(0), t, c, f), tensor)
            used = {layer for layer, leaves in step.get("params", {}).items() if set(leaves) != set(BATCH_STATISTICS)}
            assert own == used
        assert not any(set(leaves) == set(BATCH_STATISTICS) for leaves in trainable["backbone"].values())


def test_shapes_are_those_of_the_parameters(small):
    model, params, _ = small
    assert model.shapes() == {k: {n: leaf.shape for n, leaf in v.items()} for k, v in params.items()}
    assert model.input_range in INPUT_RANGES


def test_calibration_gives_every_norm_an_even_input(small):
    model, params, x = small
    calibrated = calibrate_batch_norm(model, params, x)
    # Calibrating again finds the statistics that are there: every layer was measured behind calibrated ones.
    again = calibrate_batch_norm(model, calibrated, x)
    moved = 0
    for layer, leaves in calibrated.items():
        for name, value in leaves.items():
            np.testing.assert_allclose(again[layer][name], value, rtol=1e-3, atol=1e-4)
            if name not in ("mean", "var"):
                np.testing.assert_array_equal(value, params[layer][name])
        if "mean" in leaves:
            moved += float(jnp.abs(leaves["mean"]).max()) > 0
    assert moved == sum("mean" in leaves for leaves in params.values())


def config(size: int = 32, weights: str = "none", **more) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {"data": {"image_size": size}, "model": {"name": "mine", "weights": weights, **more}}
    )


def test_a_family_says_what_cannot_be():
    family = Family(lambda model: None, least_image_size=16)
    assert family.wrong(config()) is None
    assert family.wrong(config(size=15)) == "data.image_size is 15; with mine it may be from 16"
    assert family.wrong(config(weights="w.h5")) == "model.weights is 'w.h5'; with mine it may be 'none'"
    loads = Family(
        lambda model: None, load_weights=lambda model, backbone: None, complaint=lambda model: "model.x is 1"
    )
    assert loads.wrong(config(weights="w.h5")) == "model.x is 1"
