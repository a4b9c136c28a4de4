"""The two losses by hand, what each player may change, pictures of all people on both sides, and tiny runs."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training.batch import Batch
from studies.related import anonymity, learning
from studies.related.common import Work
from studies.related.learning import Examples
from tests.support import related


def unchanged(key, images, positions):
    return images


def world(tmp_path):
    settings = types.SimpleNamespace(widths=(4, 4), play=1, batch=8, rate=1e-2, weight=1.0)
    work = Work(0, settings, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    facts = Batch(jnp.arange(16) % 3, jnp.arange(16) % 4)
    examples, net = Examples(images, facts, 3), learning.network((4, 4), 3)
    return work, examples, net, learning.starting(work, net, images)


def test_losses_by_hand(tmp_path):
    _, examples, net, start = world(tmp_path)
    mine, rest = net.split(start, "input")
    # All weights 0: no player knows anything.
    nothing = jax.tree.map(jnp.zeros_like, mine)
    empty = anonymity.recogniser(4).init(jax.random.key(0), jnp.zeros((1, net.backbone.feature_width)))["params"]
    empty = jax.tree.map(jnp.zeros_like, empty)
    params = {"network": nothing, "rest": rest, "recogniser": empty, "mask": jnp.asarray([True, True, True])}
    batch = examples.facts._replace(images=jnp.asarray(examples.pictures) / 255)
    (_, people), *_, (_, expressions) = anonymity.players(net, 4, unchanged)
    key = jax.random.key(0)
    assert float(people(params, batch, key, 1.0)) == pytest.approx(np.log(4))
    for weight in (0.0, 0.5):
        assert float(expressions(params, batch, key, weight)) == pytest.approx(np.log(3) - weight * np.log(4))
    # A recogniser that is sure and wrong is worth no more than one that knows nothing.
    wrong = empty | {"logits": empty["logits"] | {"bias": jnp.asarray([0.0, 0.0, 0.0, 50.0])}}
    found = float(expressions(params | {"recogniser": wrong}, batch, key, 1.0))
    assert found == pytest.approx(np.log(3) - np.log(4))


def test_each_player_changes_its_own_and_the_rest_stands_still(tmp_path):
    work, examples, net, start = world(tmp_path)
    network, recogniser = anonymity.game(work, anonymity.HIDDEN, net, start, examples, np.arange(16), 4)
    before, frozen = net.split(start, "input")
    after, still = net.split(network, "input")
    jax.tree.map(np.testing.assert_array_equal, frozen, still)
    assert all((one != two).any() for one, two in zip(*map(jax.tree.leaves, (before, after)), strict=True))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(recogniser))


def test_every_person_is_on_both_sides_with_other_pictures():
    settings = types.SimpleNamespace(config=None, people=3, pictures=2, size=16)
    examples, train, chosen_on, test = anonymity.population(Work(0, settings, None))
    label, subject = np.asarray(examples.facts.labels), np.asarray(examples.facts.subjects)
    parts = (train, chosen_on, test)
    assert sorted(row for part in parts for row in part) == list(range(len(label)))
    pairs = [sorted(zip(label[rows], subject[rows], strict=True)) for rows in (train, np.concatenate(parts[1:]))]
    assert pairs[0] == pairs[1]
    assert all(set(subject[rows]) == {0, 1, 2} for rows in parts)


def test_a_tiny_run(tmp_path):
    row = related.row(anonymity.STUDY, tmp_path, people=2, pictures=2, play=1, batch=16, attack=1)
    assert row["chance"] == 0.5
    assert 0 < row["random compression: features kept"] <= 1


def test_files_take_the_place_of_rendered_faces(tmp_path):
    config = related.config_of_files(tmp_path, (0, 1, 4), people=4, pictures=2)
    row = related.row(anonymity.STUDY, tmp_path / "runs", config=config, play=1, batch=8, attack=1)
    assert row["chance"] == 0.25
