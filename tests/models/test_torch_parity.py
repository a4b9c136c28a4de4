"""Backbones give the features that their reference implementations gave to the same weights and images.

The weights are made from names and shapes (tests/support/torch_files.py); the vectors are those of
tests/reference/make_torch_vectors.py. No real weights are needed.
"""

import json
import math
import pathlib
import re

import jax
import ml_collections
import numpy as np
import pytest

from fer_jax.config import names
from fer_jax.models import efficientnet_b0, resnet_v1, torch_weights, vit
from tests.support import torch_files

VECTORS = pathlib.Path(__file__).parents[1] / "reference" / "torch_vectors.npz"
TINY = {"patch": 4, "width": 128, "depth": 2}
# The variant and other keys of `config.model`, and the side of the images.
TRANSFORMERS = {
    "vit_s16": ("timm", {"width": 384}, 224),
    "vit_b16": ("timm", {}, 224),
    "vit_b16_mean_norm": ("timm", {"pooling": "mean_norm"}, 224),
    "mae_b16": ("mae", {}, 224),
    "dinov2_b14": ("dinov2", {"patch": 14}, 224),
    "dinov2_b14_reg4": ("dinov2", {"patch": 14, "registers": 4}, 224),
    "dinov2_b14_reg4_timm": ("dinov2", {"patch": 14, "registers": 4}, 224),
    "clip_b16_openai": ("clip", {}, 224),
    "clip_b16_hub": ("clip", {}, 224),
    "tiny_timm": ("timm", TINY | {"grid": 8}, 32),
    "tiny_timm_smaller": ("timm", TINY | {"grid": 8}, 20),
    "tiny_timm_larger": ("timm", TINY | {"grid": 8}, 48),
    "tiny_timm_mean": ("timm", TINY | {"grid": 8, "pooling": "mean"}, 32),
    "tiny_timm_mean_norm": ("timm", TINY | {"grid": 8, "pooling": "mean_norm"}, 32),
    "tiny_mae": ("mae", TINY | {"grid": 8}, 20),
    "tiny_dinov2": ("dinov2", TINY | {"grid": 7}, 32),
    "tiny_dinov2_smaller": ("dinov2", TINY | {"grid": 7}, 16),
    "tiny_dinov2_reg4": ("dinov2", TINY | {"grid": 7, "registers": 4}, 16),
    "tiny_dinov2_reg4_timm": ("dinov2", TINY | {"grid": 8, "registers": 4}, 20),
    "tiny_dinov2_hub": ("dinov2", TINY | {"grid": 8}, 32),
    "tiny_dinov2_hub_reg4": ("dinov2", TINY | {"grid": 8, "registers": 4}, 32),
    "tiny_clip_openai": ("clip", TINY | {"grid": 8}, 32),
    "tiny_clip_hub": ("clip", TINY | {"grid": 8}, 20),
    "tiny_clip_timm": ("clip", TINY | {"grid": 8}, 32),
}
CONVOLUTIONAL = {
    "resnet50_torchvision": ("resnet_v1", {}, 224),
    "resnet50_timm": ("resnet_v1", {}, 224),
    "b0_tensorflow": ("efficientnet_b0", {}, 224),
    "b0": ("efficientnet_b0", {"tensorflow": False}, 224),
    "tiny_resnet": ("resnet_v1", {"depths": (1, 2, 1, 1)}, 40),
}
CASES = {name: ("vit", {"variant": variant, **keys}, size) for name, (variant, keys, size) in TRANSFORMERS.items()}
CASES |= CONVOLUTIONAL
QUICK = ("tiny_timm_smaller", "tiny_dinov2_reg4", "tiny_clip_hub", "tiny_resnet")


def marked(cases) -> list:
    """The cases, all but the quick ones marked slow: each compiles a network."""
    return [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in cases]


@pytest.fixture(scope="module")
def vectors():
    with np.load(VECTORS) as file:
        return dict(file)


@pytest.mark.parametrize("case", marked(CASES))
def test_features_are_those_of_the_reference(case, vectors, monkeypatch):
    name, keys, size = CASES[case]
    arrays = torch_files.tensors(json.loads(str(vectors[f"{case}/names"])))
    monkeypatch.setattr(torch_weights, "load", lambda path: dict(arrays))
    model = ml_collections.ConfigDict({"name": name, "weights": __file__, **keys})
    family = names.backbone(name)
    assert family.complaint(model) is None
    backbone = family.build(model)
    params = family.load_weights(model, backbone).params
    found = jax.jit(backbone.apply)({"params": params}, torch_files.images(size))
    expected = vectors[f"{case}/features"]
    assert found.shape == expected.shape == (2, backbone.feature_width)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    # Every example, so that a small one is not hidden by a large one.
    assert (np.linalg.norm(found - expected, axis=1) <= 1e-4 * np.linalg.norm(expected, axis=1)).all()


@pytest.mark.parametrize("case", ["tiny_dinov2_hub", "tiny_dinov2_hub_reg4"])
def test_files_of_older_transformers_name_attention_differently(case, vectors, monkeypatch):
    """As those do that DINOv2's authors put on the hub."""
    older = {
        "q_proj": "attention.query",
        "k_proj": "attention.key",
        "v_proj": "attention.value",
        "o_proj": "output.dense",
    }
    name, keys, _ = CASES[case]
    arrays = torch_files.tensors(json.loads(str(vectors[f"{case}/names"])))
    renamed = {re.sub("|".join(older), lambda found: older[found[0]], key): array for key, array in arrays.items()}
    assert renamed.keys() != arrays.keys()
    model = ml_collections.ConfigDict({"name": name, "weights": __file__, **keys})
    family = names.backbone(name)
    loaded = []
    for given in (arrays, renamed):
        monkeypatch.setattr(torch_weights, "load", lambda path, given=given: dict(given))
        loaded.append(family.load_weights(model, family.build(model)).params)
    jax.tree.map(np.testing.assert_array_equal, *loaded)


def test_every_case_of_the_vectors_is_tried(vectors):
    assert {name.split("/")[0] for name in vectors} == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK)
def test_features_need_the_parameters_alone(case, vectors, monkeypatch):
    name, keys, size = CASES[case]
    arrays = torch_files.tensors(json.loads(str(vectors[f"{case}/names"])))
    monkeypatch.setattr(torch_weights, "load", lambda path: dict(arrays))
    model = ml_collections.ConfigDict({"name": name, "weights": __file__, **keys})
    family = names.backbone(name)
    params = family.load_weights(model, family.build(model)).params
    features = {"vit": vit, "resnet_v1": resnet_v1, "efficientnet_b0": efficientnet_b0}[name].features
    expected = vectors[f"{case}/features"]
    np.testing.assert_allclose(features(params, torch_files.images(size)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"variant": "clip"}, 1 / (1 + math.exp(-1.702))),  # OpenAI's, x sigmoid(1.702 x) at 1: 0.8458
        ({"variant": "clip", "activation": "quick_gelu"}, 1 / (1 + math.exp(-1.702))),
        ({"variant": "clip", "activation": "gelu"}, (1 + math.erf(2**-0.5)) / 2),  # OpenCLIP's of LAION-2B: 0.8413
        ({"variant": "timm"}, (1 + math.erf(2**-0.5)) / 2),
        ({"variant": "timm", "activation": "quick_gelu"}, 1 / (1 + math.exp(-1.702))),
    ],
)
def test_the_activation_is_the_variants_or_as_asked(keys, expected):
    """A block whose attention gives nothing, whose hidden layer is 1 everywhere, and whose last layer passes one on."""
    model = ml_collections.ConfigDict({"name": "vit", "weights": "none", "width": 64, "depth": 1, "grid": 2, **keys})
    backbone = names.backbone("vit").build(model)
    zeros = {layer: {leaf: np.zeros(shape, np.float32) for leaf, shape in leaves.items()}
             for layer, leaves in backbone.shapes().items()}  # fmt: skip
    zeros["block1_in"]["bias"] += 1
    zeros["block1_out"]["kernel"][0] = 1
    found = backbone.apply({"params": zeros}, np.zeros((1, 5, 64), np.float32), start="block1", stop="pool")
    np.testing.assert_allclose(found, np.full((1, 5, 64), expected), atol=1e-6)
