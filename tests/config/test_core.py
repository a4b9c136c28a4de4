"""Every key of a config is checked before anything runs."""

import importlib.util
import json
import pathlib

import pytest

from fer_jax import config as configs
from fer_jax.phases import part as parts

ROOT = pathlib.Path(__file__).parents[2]


def read(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_in_the_house_is_valid(path):
    config = read(path.stem)
    configs.check(config)
    assert configs.flatten(configs.resolve(config)).keys() == configs.rules(config.data.name, config.model.name).keys()
    parts.targets(configs.resolve(config))  # every method of it can be trained as it says


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.image_size", 0, "config.data.image_size is 0; it may be a whole number from 8 to 1024"),
        ("feature_cache.max_gb", float("inf"), "config.feature_cache.max_gb is inf; it may be a finite number above 0"),
        (
            "basic.batch_size",
            10**20,
            f"config.basic.batch_size is {10**20}; it may be a whole number from 1 to 2147483647",
        ),
        ("data.residency", "disk", "config.data.residency is 'disk'; it may be one of auto, device, host"),
        ("model.precision", "float16", "config.model.precision is 'float16'; it may be one of auto, float32, bfloat16"),
        ("data.image_size", 28, "config.data.image_size is 28; with resnet_v2 it may be from 32"),
        (
            "data.name",
            "facs",
            "config.data.name: 'facs' does not exist; it may be one of facs_faces, cfee, rafdb, image_folder, digits, ",
        ),
        ("methods", ("kd_psm",), "config.methods: 'kd_psm' does not exist; it may be one of kd_psmr, "),
        ("memory.rule", "best", "config.memory.rule: 'best' does not exist; it may be auto, one of predictive_sort, "),
        ("continual.loss", "not_there.loss", "config.continual.loss: 'not_there.loss': module not_there cannot be"),
        ("model.widths", (8, 8), "config.model.widths is (8, 8); it may be a tuple of at least 4, each a"),
        ("protocol.classes_per_increment", 0, "config.protocol.classes_per_increment is 0"),
        ("feature_cache.max_gb", 0.0, "config.feature_cache.max_gb is 0.0; it may be a finite number above 0"),
        ("methods", ("joint", "joint"), "each may be named once"),
        ("seed", True, "config.seed is True"),
        ("seed", -1, "config.seed is -1"),
        (
            "continual.learning_rate",
            0.0,
            "config.continual.learning_rate is 0.0; it may be a number above 0 to 1",
        ),
        ("protocol.folds", (10,), "config.protocol.folds has 10; it may be 0 to 9"),
        ("protocol.orders", (0, 3), "config.protocol.orders has 3; it may be 0 to 2"),
        ("protocol.orders", (1, 1), "config.protocol.orders is (1, 1); each may be named once"),
        ("protocol.n_folds", 400, "at most data.n_subjects, 230"),
        ("model.widths", (8, 8, 8, 8, 8), "as many as model.depths"),
        ("basic.body.max_epochs", 0, "one of the two basic stages"),
        ("model.name", "resnet", "config.model.name: 'resnet' does not exist; it may be one of resnet_v2, "),
        ("model.name", "efficientnet_lite0", "config.model.stem_kernel is 5; it may be 3 with efficientnet_lite0"),
        ("model.weights", "", "config.model.weights is ''; it may be none, pretrained or the path of a file"),
        ("basic.objective", "", "config.basic.objective is ''; it may be a text, not empty"),
        (
            "basic.terms",
            (("a", 0),),
            "config.basic.terms is (('a', 0),); it may be a tuple of at least 0, each a pair (name, weight) with",
        ),
        (
            "continual.terms",
            ("a", 1),
            "config.continual.terms is ('a', 1); it may be a tuple of at least 0, each a pair",
        ),
        ("few_shot.terms", (("a", 1), ("a", 2)), "config.few_shot.terms is ('a', 'a'); each may be named once"),
        ("augment.function", "not_there.f", "config.augment.function: 'not_there.f': module not_there cannot be"),
        ("model.weights", "pretrained", "with resnet_v2 it may be 'none' or the path of a Keras file"),
    ],
)
def test_a_bad_value_is_told_with_what_it_may_be(key, value, said):
    config = read("quickstart")
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
        if key == "data.image_size":
            assert config.data.image_size == value
    with pytest.raises(configs.ConfigError) as error:
        configs.check(config)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.depths", (1, 1, 1, 1), "config.model.depths is (1, 1, 1, 1); it may be 7 whole numbers from 1, one a"),
        ("model.widths", (8,) * 6, "config.model.widths is (8, 8, 8, 8, 8, 8); it may be 7 whole numbers from 1"),
        ("model.weights", "w.h5", "config.model.weights is 'w.h5'; with efficientnet_lite0 it may be 'none' or"),
        ("model.stem_pool", True, "config.model.stem_pool is True; it may be False with efficientnet_lite0"),
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


@pytest.mark.parametrize("method", ["gdumb", "er_ace"])
def test_a_memory_that_fills_before_needs_a_rule_that_looks_at_no_model(method):
    config = read("compare")
    config.methods = ("er", method)
    for rule in ("auto", "random", "reservoir"):
        config.memory.rule = rule
        configs.check(config)
    for rule in ("herding", "predictive_sort", "entropy", "distance_to_mean", "fer_jax.replay.own_class_logit"):
        config.memory.rule = rule
        with pytest.raises(configs.ConfigError) as error:
            configs.check(config)
        assert f"config.memory.rule: {method} takes classes into its memory before it learns them" in str(error.value)
        assert "\n" not in str(error.value)
    config.methods = ("er",)
    configs.check(config)


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


OPTIONAL = {"augment.function": "auto", "basic.objective": "cross_entropy", "basic.terms": [], "continual.terms": [],
            "basic.balance": "none", "continual.balance": "none",
            "continual.classifiers": [], "continual.correction": "auto",
            "few_shot.objective": "distilled_cross_entropy", "few_shot.terms": [],
            "few_shot.base": "auto", "few_shot.answers": ["network"], "few_shot.taken": 0.15,
            "few_shot.selection": "auto", "devices.spread_by": "pmap",
            "devices.convolutions": "auto", "devices.side_by_side": "auto",
            "basic.pretraining.objective": "unlabelled_contrastive", "basic.pretraining.cut": "input",
            "basic.pretraining.learning_rate": 1e-3, "basic.pretraining.max_epochs": 0,
            "augment.occlusion": 0.0, "augment.resolution": 0.0, "data.near_duplicates": "keep",
            "data.near_duplicates_in": "picture",
            "data.units.path": "", "data.units.minimum_confidence": 0.5, "data.units.kind": "intensity",
            "data.units.flips": 0.0, "data.units.noise": 0.0, "data.units.input": False,
            "deep.cut": "input", "deep.batch_size": 32, "deep.learning_rate": 5e-4, "deep.max_epochs": 4}  # fmt: skip


def test_a_config_without_a_newer_key_has_its_default():
    config = read("views")
    assert not OPTIONAL.keys() & configs.flatten(config).keys()
    configs.check(config)
    assert not OPTIONAL.keys() & configs.flatten(config).keys()  # the user's own is left as it is
    flat = configs.flatten(configs.resolve(config))
    assert OPTIONAL == configs.DEFAULTS
    assert {key: flat[key] for key in OPTIONAL} == {**OPTIONAL, "few_shot.selection": "none"}
    with config.unlocked():
        config.basic.terms = (("centre", 0.5),)
    flat = configs.flatten(configs.resolve(config))
    assert flat["basic.terms"] == [["centre", 0.5]]
    # What was written as JSON is read back as it was.
    assert configs.nested(json.loads(json.dumps(flat))) == configs.resolve(config).to_dict()


def test_a_default_is_as_good_as_no_key():
    config = read("views")
    resolved = configs.resolve(config)
    flat = configs.flatten(resolved)
    less = {key: value for key, value in flat.items() if key not in (*OPTIONAL, "data.twin")}
    # By protocol; runs from before there was a choice let the validation images of the seen classes choose.
    assert configs.without_defaults(flat) == {**less, "few_shot.selection": "none"}
    assert configs.without_defaults(less) == less
    assert configs.base_settings(flat) == configs.base_settings(less)
    other = {**flat, "basic.objective": "another"}
    assert configs.without_defaults(other)["basic.objective"] == "another"
    assert configs.base_settings(other) == {**configs.base_settings(less), "basic.objective": "another"}
    assert configs.base_settings({**flat, "few_shot.terms": [["a", 1]]}) == configs.base_settings(less)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("held_out", ("minus_one_one", "teacher", "memory", "none")),
        ("published", ("zero_one", "known", "none", "new")),
    ],
)
def test_auto_follows_the_protocol_and_can_be_overruled(protocol, expected):
    config = read("quickstart")
    config.protocol.name = protocol
    resolved = configs.resolve(config)
    few_shot = resolved.few_shot
    assert (
        resolved.model.input_range,
        resolved.continual.distill_over,
        few_shot.replay,
        few_shot.selection,
    ) == expected
    config.model.input_range = "zero_one"
    assert configs.resolve(config).model.input_range == "zero_one"
    assert config.continual.distill_over == "auto"


def of_files(name: str, **more):
    """configs/cfee.py made one of another data set of files."""
    config = read("cfee")
    with config.unlocked():
        config.data.name = name
        config.data.update(more)
    return config


def test_each_data_set_has_keys_of_its_own():
    configs.check(of_files("cfee"))
    configs.check(of_files("rafdb", part="both"))
    configs.check(of_files("image_folder", labels_csv="", subject_pattern=r"(?P<subject>\d+)"))
    assert "data.manual_dir" not in configs.rules("facs_faces", "resnet_v2")
    assert "data.n_subjects" not in configs.rules("cfee", "resnet_v2")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (("cfee", {"part": "both"}), "config.data.part is no key of data set cfee; beside those of all data sets "
         "it has data.manual_dir, data.on_bad_image, data.base_classes"),
        (("cfee", {"n_subjects": 230}), "config.data.n_subjects is no key of data set cfee"),
        (("cfee", {"manual_dri": ""}), "config.data.manual_dri does not exist; did you mean data.manual_dir?"),
        (("rafdb", {}), "config.data.part is missing; it may be one of basic, compound, both"),
        (("rafdb", {"part": "all"}), "config.data.part is 'all'; it may be one of basic, compound, both"),
        (("cfee", {"on_bad_image": "ignore"}), "config.data.on_bad_image is 'ignore'; it may be one of error, skip"),
        (("cfee", {"n_base": 5}), "config.data.n_base is 5; it may be the number of data.base_classes, 6"),
        (("cfee", {"base_classes": ("sad", "sad"), "n_base": 2}), "each may be named once"),
        (("image_folder", {"labels_csv": "", "subject_pattern": "([a-z"}), "config.data.subject_pattern is '([a-z'"),
        (("image_folder", {"labels_csv": "", "subject_pattern": r"\d+"}), "expression with a group (?P<subject>…)"),
    ],
)  # fmt: skip
def test_keys_of_another_data_set_and_bad_values_are_told(config, said):
    name, more = config
    with pytest.raises(configs.ConfigError) as error:
        configs.check(of_files(name, **more))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_without_a_data_set_is_told():
    config = read("cfee")
    with config.unlocked():
        del config.data.name
    with pytest.raises(configs.ConfigError, match=r"config\.data\.name is missing; it may be one of facs_faces, cfee"):
        configs.check(config)


def test_the_papers_numbers():
    """Those of arXiv 2308.06197, as shared with its published code."""
    config = read("cfee")
    flat = configs.flatten(config)
    assert flat.items() >= {
        "model.depths": [3, 4, 6, 3], "model.widths": [64, 128, 256, 512], "model.hidden": [512, 32],
        "model.dropout": 0.2, "data.image_size": 224, "data.n_base": 6, "data.exclude": ["neutral"],
        "protocol.name": "held_out", "protocol.n_folds": 10, "protocol.folds": list(range(10)),
        "protocol.n_orders": 10, "protocol.order_seed": 42,
        "basic.batch_size": 32, "basic.l2": 1e-5, "basic.patience": 100, "basic.min_delta": 0.01,
        "basic.head.cut": "head", "basic.head.learning_rate": 1e-4, "basic.head.max_epochs": 1000,
        "basic.body.cut": "conv4_block1", "basic.body.learning_rate": 1e-6, "basic.body.max_epochs": 1000,
        "memory.mode": "grow", "memory.share": 0.3,
        "continual.cut": "conv5_block1", "continual.batch_size": 16, "continual.learning_rate": 1e-5,
        "continual.max_epochs": 1000, "continual.patience": 100, "continual.gamma": 0.1, "continual.temperature": 3.0,
        "augment.flip": 0.5, "augment.rotation": 0.01, "augment.zoom": 0.05, "augment.translation": 0.05,
        "few_shot.shots": [1, 3, 5, 0], "few_shot.draws": 10, "few_shot.batch_size": 32,
    }.items()  # fmt: skip
    for name, (scale, replay) in {"held_out": ("minus_one_one", "memory"), "published": ("zero_one", "none")}.items():
        config.protocol.name = name
        resolved = configs.resolve(config)
        assert (resolved.model.input_range, resolved.few_shot.replay) == (scale, replay)


def test_the_input_range_is_what_the_backbones_weights_expect():
    config = read("efficientnet")
    assert configs.resolve(config).model.input_range == "around_127"
    config.protocol.name = "published"
    assert configs.resolve(config).model.input_range == "zero_one"
