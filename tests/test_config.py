"""Every key of a config is checked before anything runs."""

import importlib.util
import pathlib

import pytest

from fer_jax import config as configs

ROOT = pathlib.Path(__file__).parents[1]


def read(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_in_the_house_is_valid(path):
    config = read(path.stem)
    configs.check(config)
    assert configs.flatten(configs.resolve(config)).keys() == configs.RULES.keys()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.image_size", 0, "config.data.image_size is 0; it may be a whole number from 32 to 1024"),
        ("data.name", "facs", "config.data.name is 'facs'; it may be one of facs_faces"),
        ("methods", ("kd_psm",), "config.methods is"),
        ("methods", ("joint", "joint"), "each may be named once"),
        ("seed", True, "config.seed is True"),
        ("seed", -1, "config.seed is -1"),
        (
            "continual.learning_rate",
            0.0,
            "config.continual.learning_rate is 0.0; it may be a number above 0 to 1",
        ),
        ("protocol.folds", (10,), "config.protocol.folds has 10; it may be 0 to 9"),
        ("protocol.n_folds", 400, "at most data.n_subjects, 230"),
        ("model.widths", (8, 8, 8, 8, 8), "as many as model.depths"),
        ("basic.body.max_epochs", 0, "one of the two basic stages"),
        ("model.name", "resnet", "config.model.name is 'resnet'; it may be one of resnet_v2, efficientnet_lite0"),
        ("model.name", "efficientnet_lite0", "config.model.stem_kernel is 5; with efficientnet_lite0 it may be 3"),
        ("model.weights", "", "config.model.weights is ''; it may be none, pretrained or the path of a Keras file"),
        ("model.weights", "pretrained", "with resnet_v2 it may be 'none' or the path of a Keras file"),
    ],
)
def test_a_bad_value_is_told_with_what_it_may_be(key, value, said):
    config = read("quickstart")
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
        if key == "data.image_size":
            assert config.data.image_size == 0
    with pytest.raises(configs.ConfigError) as error:
        configs.check(config)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.depths", (1, 1, 1, 1), "config.model.depths is (1, 1, 1, 1); efficientnet_lite0 has 7 stages"),
        ("model.widths", (8,) * 6, "config.model.widths is (8, 8, 8, 8, 8, 8); efficientnet_lite0 has 7 stages"),
        ("model.weights", "w.h5", "config.model.weights is 'w.h5'; with efficientnet_lite0 it may be 'none' or"),
        ("model.stem_pool", True, "config.model.stem_pool is True; with efficientnet_lite0 it may be False"),
        (
            "continual.cut",
            "conv5_block1",
            "config.continual.cut is 'conv5_block1'; it may be one of input, stage1_block1",
        ),
    ],
)
def test_the_second_backbone_has_its_own_rules(key, value, said):
    config = read("efficientnet")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(configs.ConfigError) as error:
        configs.check(config)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_too_many_and_a_key_too_few_are_told():
    config = read("quickstart")
    with config.unlocked():
        config.continual.learning_rat = 0.1
    with pytest.raises(
        configs.ConfigError, match=r"learning_rat does not exist; did you mean continual\.learning_rate"
    ):
        configs.check(config)
    config = read("quickstart")
    with config.unlocked():
        del config.memory.mode
    with pytest.raises(configs.ConfigError, match=r"config\.memory\.mode is missing; it may be one of grow, limit"):
        configs.check(config)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("held_out", ("minus_one_one", "teacher", "memory")),
        ("published", ("zero_one", "known", "none")),
    ],
)
def test_auto_follows_the_protocol_and_can_be_overruled(protocol, expected):
    config = read("quickstart")
    config.protocol.name = protocol
    resolved = configs.resolve(config)
    keys = resolved.model.input_range, resolved.continual.distill_over, resolved.few_shot.replay
    assert keys == expected
    config.model.input_range = "zero_one"
    assert configs.resolve(config).model.input_range == "zero_one"
    assert config.continual.distill_over == "auto"


def test_the_input_range_is_what_the_backbones_weights_expect():
    config = read("efficientnet")
    assert configs.resolve(config).model.input_range == "around_127"
    config.protocol.name = "published"
    assert configs.resolve(config).model.input_range == "zero_one"
