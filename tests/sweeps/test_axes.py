"""Axes are read with the rules of the config's keys; their product is a stable list of cells."""

import json
import pathlib
import runpy

import ml_collections
import pytest

from fer_jax import config as configs
from fer_jax.errors import UserError
from fer_jax.sweeps.axes import Axis, Sweep, cell_names, read_axes

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def config():
    return runpy.run_path(str(ROOT / "configs" / "quickstart.py"))["get_config"]()


def test_values_are_read_as_what_their_key_may_be(config):
    axes = read_axes(
        ["method=kd_psmr,finetune", "order=2,0", "seed=7", "continual.learning_rate=1e-3,1", "continual.augment=False",
         "model.hidden=(512,128),(32,)", "memory.mode=limit"],
        config,
    )  # fmt: skip
    assert [axis.values for axis in axes] == [
        ("kd_psmr", "finetune"), (2, 0), (7,), (1e-3, 1), (False,), ((512, 128), (32,)), ("limit",)
    ]  # fmt: skip
    assert [axis.key for axis in axes][:3] == ["methods", "protocol.orders", "seed"]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (["metod=joint"], "--over metod does not exist; did you mean method?"),
        (["continual.learning_rte=1"], "--over continual.learning_rte does not exist; did you mean continual.learning"),
        (["zzz=1"], "--over zzz does not exist; it may be method, order, fold or a key of the config"),
        (["order"], "--over order has no values; write --over order=VALUE,VALUE"),
        (["order="], "--over order has no values"),
        (["order=0,,1"], "--over order has ''; it may be a whole number from 0"),
        (["order=0,first"], "--over order has 'first'; it may be a whole number from 0"),
        (["seed={[]:1}"], "--over seed has '{[]:1}'; it may be a whole number from 0"),
        (["method={[]}"], "config.methods: '{[]}' does not exist; it may be one of kd_psmr, finetune"),
        (["seed=" + "(" * 999 + ")" * 999], "; it may be a whole number from 0"),
        (["seed=True"], "--over seed has True; it may be a whole number from 0"),
        (["method=kd_psm"], "config.methods: 'kd_psm' does not exist; it may be one of kd_psmr, finetune"),
        (["continual.learning_rate=fast"], "--over continual.learning_rate has 'fast'; it may be a number above 0"),
        (["model.hidden=32"], "--over model.hidden has 32; it may be a tuple of at least 0"),
        (["continual.learning_rate=1e-3,0.001"], "--over continual.learning_rate has 0.001 twice"),
        (["seed=0", "seed=1"], "--over seed is there twice; write its values in one, seed=VALUE,VALUE"),
        (["methods=joint"], "--over methods is written --over method=VALUE,VALUE"),
        (["protocol.orders=0"], "--over protocol.orders is written --over order=VALUE,VALUE"),
        (["data.seed=0,1"], "--over data.seed: the cells of a sweep share data set and protocol"),
        (["protocol.name=published"], "--over protocol.name: the cells of a sweep share data set and protocol"),
        (["continual.gamma=0.1"], "--over continual.gamma: --config.continual.gamma sets the same key"),
        (["order=0,3"], "cell order3: config.protocol.orders has 3; it may be 0 to 2"),
        (["fold=0,10"], "cell fold10: config.protocol.folds has 10; it may be 0 to 9"),
        (["continual.cut=conv9_block1"], "cell continual.cut=conv9_block1: config.continual.cut is 'conv9_block1'"),
        (["few_shot.draws=1,2"], "--over few_shot.draws changes nothing: cells run no few shots without --few-shot"),
    ],
)
def test_a_mistake_is_one_line(config, over, said):
    with pytest.raises(UserError) as error:
        Sweep(config, tuple(read_axes(over, config, {"continual.gamma"})))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_cells_are_the_product_in_order_and_each_is_a_config_that_can_be_run(config):
    sweep = Sweep(config, tuple(read_axes(["method=joint,kd_psmr", "order=1,0", "seed=3"], config)))
    assert sweep.names == ["joint-order1-seed3", "joint-order0-seed3", "kd_psmr-order1-seed3", "kd_psmr-order0-seed3"]
    flat = [configs.flatten(sweep.cell(number)) for number in range(len(sweep))]
    chosen = [(c["methods"], c["protocol.orders"], c["seed"], c["few_shot.shots"]) for c in flat]
    assert chosen == [
        (["joint"], [1], 3, []), (["joint"], [0], 3, []), (["kd_psmr"], [1], 3, []), (["kd_psmr"], [0], 3, [])
    ]  # fmt: skip
    # What is no axis stays as the config has it, and the config itself as it was.
    assert flat[0]["protocol.folds"] == [0]
    assert config.methods == ("contrastive_replay", "kd_psmr", "finetune", "finetune_blind", "joint")


def test_few_shots_are_run_once_for_every_base_model(config):
    axes = read_axes(["method=joint,kd_psmr", "order=1,0", "seed=0,1"], config)
    sweep = Sweep(config, tuple(axes), few_shot=True)
    with_shots = [name for number, name in enumerate(sweep.names) if sweep.cell(number).few_shot.shots]
    assert with_shots == ["joint-order1-seed0", "joint-order1-seed1"]
    assert sweep.cell(0).few_shot.shots == config.few_shot.shots
    assert sweep.described()["few_shot.shots"] == [1, 3, 5, 0]
    assert Sweep(config, tuple(axes)).described()["few_shot.shots"] == []


def test_folds_of_the_published_protocol_are_not_taken_apart(config):
    config.protocol.name = "published"
    with pytest.raises(UserError, match=r"goes on with the best of config\.protocol\.folds; leave the axis out"):
        Sweep(config, tuple(read_axes(["fold=0,1"], config)))


def test_names_are_unique_and_fit_for_folders():
    weights = Axis("model.weights", ("none", "/a/b.h5", "a b.h5", "a/b.h5"))
    assert cell_names((weights,)) == [
        f"model.weights={text}" for text in ("none_0", "a_b.h5_1", "a_b.h5_2", "a_b.h5_3")
    ]
    hidden = Axis("model.hidden", ((512, 128), (32,)))
    assert cell_names((hidden,)) == ["model.hidden=512_128", "model.hidden=32"]
    long = tuple(Axis(f"section{i}.some_key_of_a_config", (1, 2)) for i in range(6))
    names = cell_names(long)
    assert len(set(names)) == 64
    assert max(map(len, names)) <= 120
    assert names == cell_names(long)


def test_which_data_set_is_tested_on_is_an_axis():
    config = runpy.run_path(str(ROOT / "configs" / "smoke.py"))["get_config"]()
    sets = tuple((name, (("name", name), ("manual_dir", f"/where/{name}"))) for name in ("kdef", "jaffe", "ckplus"))
    with config.unlocked():
        config.data = ml_collections.ConfigDict({
            "name": "several", "dir": "", "image_size": 32, "n_base": 2, "exclude": (), "residency": "auto",
            "base_classes": (), "class_map": (("afraid", "fear"),), "test_on": "kdef", "sets": sets,
        })  # fmt: skip
    configs.check(config)
    sweep = Sweep(config, tuple(read_axes(["data.test_on=kdef,jaffe,ckplus"], config)), False)
    assert sweep.names == ["data.test_on=kdef", "data.test_on=jaffe", "data.test_on=ckplus"]
    # As JSON and back: a workdir's config holds the sets.
    flat = configs.flatten(configs.resolve(config))
    assert configs.nested(json.loads(json.dumps(flat))) == configs.resolve(config).to_dict()
