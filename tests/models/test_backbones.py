"""A config's backbone is built and its weights are found by name."""

import hashlib
import pathlib
import runpy

import pytest

from fer_jax import config as configs
from fer_jax.errors import UserError
from fer_jax.models import backbones, efficientnet_weights
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.network import INPUT_RANGES
from fer_jax.models.resnet_v2 import ResNetV2

ROOT = pathlib.Path(__file__).parents[2]
SMALL = ROOT / "tests" / "reference" / "small_weights_legacy.h5"


def model(name: str, **changes):
    config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]().model
    config.update(changes)
    return config


def test_the_configs_backbones_are_built():
    assert backbones.build(model("efficientnet")) == EfficientNetLite()
    expected = ResNetV2((1, 1, 1, 1), (16, 32, 48, 64), stem_width=24, stem_kernel=5)
    assert backbones.build(model("quickstart")) == expected


def test_every_range_that_a_config_may_name_is_known():
    assert tuple(INPUT_RANGES) == configs.INPUT_RANGES


def test_no_weights_are_none():
    assert backbones.load_weights(model("quickstart")) is None
    assert backbones.load_weights(model("efficientnet", weights="none")) is None


def test_weights_come_with_the_checksum_of_their_file():
    fits = model("quickstart", depths=(3, 4, 6, 3), widths=(4, 8, 16, 32), stem_width=64, stem_kernel=7)
    fits.weights = str(SMALL)
    weights = backbones.load_weights(fits)
    assert weights.sha256 == hashlib.sha256(SMALL.read_bytes()).hexdigest()
    assert weights.params["conv5_block3_3_conv"]["kernel"].shape == (1, 1, 32, 128)
    pretrained = backbones.load_weights(model("efficientnet"))
    assert pretrained.sha256 == hashlib.sha256(efficientnet_weights.find().read_bytes()).hexdigest()
    # As the package's own list of its files has it.
    assert pretrained.sha256.startswith("57934424")


def test_weights_of_another_network_are_told():
    with pytest.raises(UserError, match=r"conv1_conv/kernel is 7×7×3×64, not 5×5×3×24"):
        backbones.load_weights(model("quickstart", weights=str(SMALL)))
    with pytest.raises(UserError, match=r"_bn0\.bias is 32, not 16"):
        backbones.load_weights(model("efficientnet", stem_width=16))


def test_a_missing_package_names_the_key(monkeypatch):
    monkeypatch.setattr(efficientnet_weights, "PACKAGE", "not_installed")
    with pytest.raises(UserError, match=r"^config\.model\.weights is 'pretrained', but not_installed is not installed"):
        backbones.load_weights(model("efficientnet"))
