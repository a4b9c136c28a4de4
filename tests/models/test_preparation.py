"""What is done to an image before a pretrained backbone sees it: by hand, as Pillow does it, and as configs say it."""

import pathlib
import runpy

import numpy as np
import pytest
from PIL import Image

from fer_jax import config as configs
from fer_jax.config.core import INPUT_STATISTICS, ConfigError
from fer_jax.models.preparation import Preparation
from fer_jax.phases.fold import build_network

VIT = pathlib.Path(__file__).parents[2] / "configs" / "vit.py"
NONE = (0.0,) * 3, (1.0,) * 3


def config_of(**changes):
    config = runpy.run_path(str(VIT))["get_config"]()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def test_the_centre_is_kept_and_channels_are_normalised():
    images = np.arange(4 * 4 * 3, dtype=np.float32).reshape(1, 4, 4, 3)
    found = Preparation((1.0, 2.0, 3.0), (1.0, 2.0, 4.0), crop=0.5)(images)
    np.testing.assert_allclose(found, (images[:, 1:3, 1:3] - [1, 2, 3]) / [1, 2, 4])
    assert Preparation(*NONE, crop=0.875)(np.zeros((1, 112, 112, 3), np.float32)).shape == (1, 98, 98, 3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [5, 12])
def test_an_image_is_resized_as_pillow_does_it(interpolation, size):
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    found = Preparation(*NONE, size=size, interpolation=interpolation)(image[None])[0]
    for channel in range(3):
        pillow = Image.fromarray(image[:, :, channel]).resize((size, size), getattr(Image, interpolation.upper()))
        np.testing.assert_allclose(found[:, :, channel], pillow, atol=1e-5)


def test_a_config_says_it_and_a_network_does_it():
    resolved = configs.resolve(config_of(model__input__size=56, model__input__crop=0.5))
    prepare = build_network(resolved, 6).preparation
    assert prepare == Preparation(*INPUT_STATISTICS["imagenet"], 56, 0.5, "bicubic")
    images = np.random.default_rng(0).random((1, 112, 112, 3), np.float32)
    np.testing.assert_allclose(build_network(resolved, 6).scale_input(images), prepare(images), rtol=1e-5)
    quickstart = runpy.run_path(str(VIT.with_name("quickstart.py")))["get_config"]()
    assert build_network(configs.resolve(quickstart), 6).preparation is None


@pytest.mark.parametrize(
    ("variant", "protocol", "given"), [("clip", "held_out", "clip"), ("timm", "held_out", "minus_one_one"),
                                       ("timm", "published", "zero_one")],
)  # fmt: skip
def test_mean_and_deviation_that_are_left_out_are_the_input_ranges(variant, protocol, given):
    config = config_of(model__variant=variant, model__patch=16, protocol__name=protocol)
    config.model.input.update(mean=(), std=())
    resolved = configs.resolve(config)
    assert (tuple(resolved.model.input.mean), tuple(resolved.model.input.std)) == INPUT_STATISTICS[given]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.input.mean": (0.5, 0.5)}, "config.model.input.mean is (0.5, 0.5); it may be () or a tuple of three"),
        ({"model.input.std": (0.0, 1.0, 1.0)}, "config.model.input.std is (0.0, 1.0, 1.0); it may be () or"),
        ({"model.input.mean": ()}, "model.input has one of mean and std; it may have both or neither"),
        ({"model.input.crop": 0.0}, "config.model.input.crop is 0.0; it may be"),
        ({"model.input.interpolation": "area"}, "is 'area'; it may be one of bilinear, bicubic"),
        ({"data.image_size": 50}, "data.image_size is 50; with vit it may be a multiple of model.patch, 14"),
        ({"model.input.size": 50}, "model.input.size is 50; with vit it may be a multiple of model.patch, 14"),
        ({"model.input.crop": 0.9}, "model.input.crop of data.image_size is 101; with vit it may be a multiple"),
        ({"model.heads": 5}, "model.heads is 5; it may be a divisor of model.width, 384"),
        ({"model.weights": "pretrained"}, "model.weights is 'pretrained'; with vit it may be 'none' or the path of a"),
        ({"model.variant": "beit"}, "config.model.variant is 'beit'; it may be"),
    ],
)
def test_what_cannot_be_is_one_line(changes, said):
    config = config_of()
    ((key, value),) = changes.items()
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError) as error:
        configs.check(config)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
