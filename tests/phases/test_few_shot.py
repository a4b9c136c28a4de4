"""Which images decide how long the few-shot phase trains."""

import dataclasses

import jax.numpy as jnp
import pytest

from fer_jax import protocol
from fer_jax.phases import base as base_task
from fer_jax.phases.few_shot import FewShot
from fer_jax.phases.trunk_cache import TrunkCache
from tests.support.digits import fold_of

CHANGES = {
    "protocol.name": "held_out", "few_shot.max_epochs": 4, "few_shot.patience": 1, "few_shot.batch_size": 4,
    "few_shot.exemplars": 2, "data.n_base": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_task.run(fold_of(tmp_path_factory.mktemp("base"), **CHANGES))[0]


def learned(given, base, blind_to=()):
    """Three shots of the last class, with validation images of some classes spoilt, which are no training images."""
    given = dataclasses.replace(given, split=protocol.split(given.data.subject, 0, 5, "held_out"))
    rows = given.split.validation
    spoilt = jnp.zeros(len(given.labels), bool).at[rows].set(jnp.isin(given.labels[rows], jnp.asarray(blind_to)))
    images = jnp.where(spoilt[:, None, None, None], 255 - given.images, given.images)
    learner = FewShot(dataclasses.replace(given, images=images, cache=TrunkCache()), base)
    with given.slot("few_shot") as slot:
        found = learner.learn(9, 3, 0, slot)
        slot.finish()
    return found


def test_no_validation_image_decides_and_all_epochs_are_run(base, tmp_path):
    given = fold_of(tmp_path / "whole", **CHANGES)
    found = learned(given, base)
    assert found["epoch"] == 3
    assert found == learned(fold_of(tmp_path / "blind", **CHANGES), base, blind_to=range(10))


@pytest.mark.parametrize(("selection", "decide", "do_not"), [("seen", range(10), [8]), ("new", [9], range(9))])
def test_an_oracle_stops_by_the_validation_images_that_it_names(selection, decide, do_not, base, tmp_path):
    changes = {
        **CHANGES,
        "few_shot.selection": selection,
        "few_shot.learning_rate": 3e-3,
        "few_shot.patience": 9,
        "few_shot.max_epochs": 20,
    }
    found = learned(fold_of(tmp_path / "whole", **changes), base)
    assert found == learned(fold_of(tmp_path / "others", **changes), base, blind_to=do_not)
    assert found["epoch"] != learned(fold_of(tmp_path / "blind", **changes), base, blind_to=decide)["epoch"]
