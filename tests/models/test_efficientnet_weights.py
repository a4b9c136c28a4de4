"""EfficientNet-Lite0 with its ImageNet weights names photographs; a file that does not fit is told."""

import importlib.util
import shutil

import jax
import numpy as np
import pytest
import skimage.data
from PIL import Image

from fer_jax.errors import UserError
from fer_jax.models import efficientnet_weights, torch_weights
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.network import INPUT_RANGES

# ImageNet's own numbers of the classes that a picture may be called.
CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
COFFEE = {504, 967, 968}  # coffee mug, espresso, cup
ROCKET = {657, 744, 812}  # missile, projectile, space shuttle


@pytest.fixture(scope="module")
def imagenet():
    return efficientnet_weights.load(efficientnet_weights.find(), EfficientNetLite())


def centre(picture: np.ndarray, size: int = 224) -> np.ndarray:
    """The middle 7/8 of a picture as a square, f32[size, size, 3] in [0, 1]: the model's own evaluation."""
    image = Image.fromarray(picture)
    side = min(image.size) * size / (size + 32)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box), np.float32) / 255


def test_a_cat_a_cup_of_coffee_and_a_rocket_are_named(imagenet):
    backbone, classifier = imagenet
    factor, offset = INPUT_RANGES[EfficientNetLite.input_range]
    pictures = (skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
    images = np.stack([centre(picture) for picture in pictures]) * factor + offset
    features = jax.jit(EfficientNetLite().apply)({"params": backbone}, images)
    logits = np.asarray(features @ classifier["kernel"] + classifier["bias"])
    assert logits.shape == (3, 1000)
    first_five = [set(row.argsort()[-5:].tolist()) for row in logits]
    assert first_five[0] >= CATS
    assert first_five[1] >= COFFEE
    assert first_five[2] >= ROCKET
    assert [row.argmax() for row in logits] == [282, 967, 657]


def test_every_tensor_of_the_file_is_used_once(imagenet):
    backbone, classifier = imagenet
    tensors = torch_weights.load(efficientnet_weights.find())
    numbers = sum(array.size for name, array in tensors.items() if not name.endswith("num_batches_tracked"))
    assert sum(leaf.size for leaf in jax.tree.leaves((backbone, classifier))) == numbers
    assert jax.tree.structure(backbone) == jax.tree.structure(
        EfficientNetLite().shapes(), is_leaf=lambda x: type(x) is tuple
    )
    np.testing.assert_array_equal(
        backbone["stage2_block1_expand_conv"]["kernel"][0, 0], tensors["_blocks.1._expand_conv.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(
        backbone["stage7_block1_project_bn"]["var"], tensors["_blocks.15._bn2.running_var"]
    )  # fmt: skip


def test_another_network_is_told_by_its_tensors(tmp_path, monkeypatch):
    path = efficientnet_weights.find()
    with pytest.raises(UserError, match=r"_bn0\.bias is 32, not 24") as error:
        efficientnet_weights.load(path, EfficientNetLite(stem_width=24))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"not of this network"):
        efficientnet_weights.load(path, EfficientNetLite(depths=(1, 2, 2, 3, 3, 3, 1)))
    real = torch_weights.load(path)
    changed = {name: array for name, array in real.items() if name != "_bn1.bias"} | {"more": np.zeros(3)}
    monkeypatch.setattr(torch_weights, "load", lambda _: changed)
    with pytest.raises(UserError, match=r"_bn1\.bias missing; more not of this network"):
        efficientnet_weights.load(path, EfficientNetLite())
    changed = real | {"_bn1.running_var": -real["_bn1.running_var"]}
    with pytest.raises(UserError, match=r"_bn1\.running_var has -.*; it may have variances, which are from 0"):
        efficientnet_weights.load(path, EfficientNetLite())


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "cut.pth"
    shutil.copy(efficientnet_weights.find(), path)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(UserError, match="it is cut short"):
        efficientnet_weights.load(path, EfficientNetLite())


def test_a_missing_package_names_the_extra(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == efficientnet_weights.PACKAGE else real(name)
    )
    with pytest.raises(UserError) as error:
        efficientnet_weights.find()
    assert ".[pretrained]" in str(error.value)
    assert "\n" not in str(error.value)
