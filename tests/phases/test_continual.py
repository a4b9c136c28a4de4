"""Class orders side by side are the class orders one by one, also when they go on after an interruption."""

import dataclasses
import shutil
from unittest.mock import Mock

import jax
import ml_collections
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.phases import base as base_task
from fer_jax.phases import continual
from fer_jax.phases.part import Part, effective
from fer_jax.runs import checkpoints
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.slots import Slot
from studies.chaos import arrays
from tests.support.digits import fold_of

ORDERS = {0: np.arange(6), 3: np.arange(6)[::-1], 4: np.roll(np.arange(6), 2)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_task.run(fold_of(tmp_path_factory.mktemp("base")))[0]


def timeless(found: dict[int, list[dict]]) -> dict:
    return {order: [{**step, "seconds": 0} for step in steps] for order, steps in found.items()}


@pytest.mark.parametrize("name", ["derpp", pytest.param("bic", marks=pytest.mark.slow)])
def test_orders_side_by_side_are_the_orders_one_by_one(name, base, tmp_path):
    found = {}
    for at_once in (1, 2):  # of three orders: two together, and one
        given = fold_of(tmp_path / str(at_once) / "checkpoints", **{"continual.side_by_side": at_once})
        found[at_once] = timeless(continual.run_all(given, base, methods.METHODS[name], ORDERS))
    assert found[1] == found[2]
    one, two = (arrays(tmp_path / str(at_once)) for at_once in (1, 2))
    assert one
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_an_order_that_is_ahead_of_the_others_goes_back(base, tmp_path):
    given = fold_of(tmp_path / "checkpoints", **{"continual.side_by_side": 3})
    er = methods.METHODS["er"]
    whole, kept = timeless(continual.run_all(given, base, er, ORDERS)), arrays(tmp_path)
    # As after a kill between two saves: order 3 has one increment less than the others.
    with Slot(tmp_path / "checkpoints" / "fold0" / "er" / "order3", Saving()) as cell:
        assert cell.steps.steps() == [0, 1, 2]
        cell.steps.set_aside_after(1, "is taken away")
    assert timeless(continual.run_all(given, base, er, ORDERS)) == whole
    jax.tree.map(np.testing.assert_array_equal, arrays(tmp_path), kept)


def test_steps_beside_an_order_that_was_removed_are_set_aside_and_told(base, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoints.log, "propagate", True)
    given = fold_of(tmp_path, **{"continual.side_by_side": 3})
    er, folder = methods.METHODS["er"], tmp_path / "fold0" / "er"
    whole = timeless(continual.run_all(given, base, er, ORDERS))
    steps = {order: sorted(p.name for p in (folder / f"order{order}").iterdir()) for order in (0, 4)}
    shutil.rmtree(folder / "order3")
    assert timeless(continual.run_all(given, base, er, ORDERS)) == whole
    aside = sorted(p.name.rpartition("-")[0] for p in (folder / "damaged").iterdir())
    assert aside == sorted(f"order{order}-{number}" for order, numbers in steps.items() for number in numbers)
    # pytest may have a record twice, the logger's own handler and the root's.
    said = {
        record.getMessage() for record in caplog.records if "is ahead of another class order's" in record.getMessage()
    }
    assert len(said) == len(aside)


def test_a_method_without_training_goes_one_by_one(base, tmp_path):
    given = fold_of(tmp_path, **{"continual.side_by_side": 3})
    found = continual.run_all(given, base, methods.METHODS["slda"], ORDERS)
    assert sorted(found) == [0, 3, 4]
    assert all(step["epoch"] is None for step in found[0])


def test_a_joint_model_of_the_last_increment_is_trained_once_for_all_class_orders(base, tmp_path, monkeypatch):
    given = fold_of(tmp_path, **{"joint.steps": "last"})
    joint, learn = methods.METHODS["joint"], Mock(wraps=continual.learn)
    monkeypatch.setattr(continual, "learn", learn)
    whole = continual.run_all(given, base, joint, ORDERS)
    assert learn.call_count == 1
    assert continual.work_of_all(given, joint, ORDERS) == (1, sum(continual.work(given, joint, ORDERS[0])))
    # Each order's last class stands beside it, and the checkpoint is that of the first.
    names = [" + ".join(f"digit {given.n_base + i}" for i in order[-2:]) for order in ORDERS.values()]
    assert [steps[-1]["class"] for steps in whole.values()] == names
    states = []
    for number, order in ORDERS.items():
        part = Part(given, base, effective(given.config, joint), number, order)
        with given.slot("joint", f"order{number}") as slot:
            done = slot.steps.latest(part.saved_like())
        assert done.meta["steps"] == whole[number]
        states.append(done.state)
    jax.tree.map(np.testing.assert_array_equal, *states[:2])
    jax.tree.map(np.testing.assert_array_equal, *states[1:])
    # A kill between two orders loses nothing.
    found = [folder for folder in tmp_path.rglob("order3") if folder.is_dir()]
    assert len(found) == 1
    shutil.rmtree(found[0])
    assert continual.run_all(given, base, joint, ORDERS) == whole
    assert learn.call_count == 1
    # Nor do the others' orders: a cell of a sweep that has one alone trains the same model.
    (alone,) = continual.run_all(
        fold_of(tmp_path / "alone", **{"joint.steps": "last"}), base, joint, {3: ORDERS[3]}
    ).values()
    assert timeless({3: alone}) == timeless({3: whole[3]})
    # With settings to search, the increments of each order have their say.
    searched = fold_of(tmp_path / "searched", **{
        "joint.steps": "last", "protocol.name": "held_out", "search.learning_rates": (1e-3, 1e-2),
    })  # fmt: skip
    assert not continual.one_for_all(searched, joint)
    every = fold_of(tmp_path / "every", **{"joint.steps": "every"})
    assert not continual.one_for_all(every, joint)
    assert sum(step["seconds"] for (step,) in whole.values()) == pytest.approx(3 * whole[0][0]["seconds"])


@pytest.mark.parametrize("changes", [
    {"continual.correction": "align_weights"}, {"continual.classifiers": ("streaming_discriminant",)},
    {"continual.loss": "distilled_cross_entropy"}, {"validates": "new"},
])  # fmt: skip
def test_a_joint_model_that_knows_which_classes_came_last_is_trained_for_each_order(tmp_path, changes):
    joint = methods.METHODS["joint"]
    if "validates" in changes:
        joint, changes = dataclasses.replace(joint, **changes), {}
    fold = fold_of(tmp_path)
    config = ml_collections.ConfigDict(fold.config.to_dict())
    config.joint.steps = "last"
    assert continual.one_for_all(dataclasses.replace(fold, config=config), methods.METHODS["joint"])
    config.update_from_flattened_dict(changes)
    if "continual.loss" in changes:
        joint = dataclasses.replace(joint, teacher="base")
    assert not continual.one_for_all(dataclasses.replace(fold, config=config), joint)
