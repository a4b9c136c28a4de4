"""Where the base task starts: published weights as they are, or random ones with measured batch statistics."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax import protocol
from fer_jax.errors import UserError
from fer_jax.models.backbones import Weights
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.phases import base as base_task
from fer_jax.phases.fold import Fold
from fer_jax.runs.checkpoints import Checkpoints, Saving
from studies.chaos import without_times
from tests.support import digits
from tests.support.epochs import Cut, counted

BACKBONES = {
    "resnet": ResNetV2((1, 1, 1, 1), (2, 2, 3, 3), 4, 5),
    "efficientnet": EfficientNetLite((1,) * 7, (2, 2, 3, 3, 3, 4, 4), stem_width=4, top_width=6),
}


class Data(NamedTuple):
    """What of FaceArrays the start of a base task reads."""

    label: np.ndarray
    class_names: tuple[str, ...]


def fold_of(tiny_config, backbone, weights: Weights | None, folder: pathlib.Path) -> Fold:
    images = jax.random.randint(jax.random.key(0), (24, 32, 32, 3), 0, 255).astype(jnp.uint8)
    labels = np.arange(24) % 8
    network = Network(backbone, ExpressionHead((4,), 8, 0.0), backbone.input_range)
    split = protocol.split(np.arange(24), 0, 6, "held_out")
    data = Data(labels, tuple("abcdefgh"))
    config = configs.resolve(tiny_config)
    return Fold(config, data, network, images, jnp.asarray(labels), 0, split, folder, None, Saving(), weights)


@pytest.mark.parametrize("name", ["resnet", pytest.param("efficientnet", marks=pytest.mark.slow)])
def test_published_weights_are_started_from_as_they_are_and_random_ones_are_calibrated(name, tiny_config, tmp_path):
    backbone = BACKBONES[name]
    fresh = base_task.initial_params(fold_of(tiny_config, backbone, None, tmp_path))
    norms = {layer: leaves for layer, leaves in fresh["backbone"].items() if "mean" in leaves}
    assert norms
    assert all(float(jnp.abs(leaves["mean"]).max()) > 0 for leaves in norms.values())
    given = jax.tree.map(lambda leaf: leaf + 0.25, fresh["backbone"])
    started = base_task.initial_params(fold_of(tiny_config, backbone, Weights(given, "0" * 64), tmp_path))
    jax.tree.map(np.testing.assert_array_equal, started["backbone"], given)
    # The head is the same draw, whatever it stands on.
    jax.tree.map(np.testing.assert_array_equal, started["head"], fresh["head"])


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_weights_only(tiny_config, tmp_path):
    backbone = BACKBONES["resnet"]
    given = backbone.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    begun = fold_of(tiny_config, backbone, Weights(given, "a" * 64), tmp_path)
    with Checkpoints(tmp_path / "fold0" / "basic") as checkpoints:
        checkpoints.save(0, {"params": base_task.initial_params(begun)}, {"weights_sha256": "a" * 64})
    for other in (Weights(given, "b" * 64), None):
        with pytest.raises(UserError, match=f"began with {'a' * 64}, it may go on with that file only") as error:
            base_task.run(fold_of(tiny_config, backbone, other, tmp_path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_base_task_of_two_stages_goes_on_in_either(tmp_path, monkeypatch, logged, at):
    """In the head's fit, at the start of the body's, where the last save is the head's, and in the body's."""
    stages = {"basic.head.max_epochs": 3, "basic.body.max_epochs": 3, "basic.patience": 3}
    expected, measured = base_task.run(digits.fold_of(tmp_path / "whole", **stages))

    def cut():
        raise Cut

    given = dataclasses.replace(digits.fold_of(tmp_path / "cut", **stages), saving=Saving(0.0))
    with monkeypatch.context() as patch:
        counted(patch, at, cut)
        with pytest.raises(Cut):
            base_task.run(given)
    with monkeypatch.context() as patch:
        after = counted(patch)
        params, again = base_task.run(given)
    assert len(after) == 6 - at
    assert "begins again" not in logged.text
    assert without_times(again) == without_times(measured)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def pretrained(fold, **changes):
    """The fold with three epochs of pretraining, and changes of it."""
    config = ml_collections.ConfigDict(fold.config.to_dict())
    config.basic.pretraining.max_epochs = 3
    return dataclasses.replace(fold, config=ml_collections.FrozenConfigDict(config), **changes)


def test_pretraining_reads_no_label_and_runs_all_its_epochs(tmp_path):
    given = pretrained(digits.fold_of(tmp_path / "one", **{"basic.body.max_epochs": 1, "basic.patience": 1}))
    _, measured = base_task.run(given)
    assert list(measured["stages"]) == ["pretraining", "body"]
    assert (len(measured["stages"]["pretraining"]["history"]), measured["stages"]["pretraining"]["epoch"]) == (3, 2)
    # With the labels of the training images mixed up among the base classes the pretrained network is the same.
    labels, base = given.data.label.copy(), np.flatnonzero(given.base_mask()[given.data.label])
    labels[base] = np.random.default_rng(0).permutation(labels[base])
    found = []
    for name, of in (("own", given.data.label), ("mixed", labels)):
        fold = digits.fold_of(tmp_path / name)
        data = dataclasses.replace(fold.data, label=of)
        fold = pretrained(fold, data=data, labels=jnp.asarray(of), split=given.split)
        stage = base_task.schedule(fold.config)[0]
        found.append(base_task._train_stage(fold, base_task.initial_params(given), stage, None)[0])
    jax.tree.map(np.testing.assert_array_equal, *found)
    before = base_task.initial_params(given)
    assert not np.allclose(*(jax.tree.leaves(one["backbone"])[0] for one in (found[0], before)))


def test_a_fold_is_its_own_unless_another_base_objective_is_asked_for(tmp_path):
    fold = digits.fold_of(tmp_path)
    assert base_task.with_objective(fold, "auto") is fold
    assert base_task.with_objective(fold, "cross_entropy") is fold
    other = base_task.with_objective(fold, "contrastive")
    assert base_task.objective_of(other.config).views == 2
    assert other.basic == "basic-contrastive"
    assert base_task.with_objective(other, "contrastive") is other
