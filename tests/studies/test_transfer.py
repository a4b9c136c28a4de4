"""What the comparison of starts rests on: one choice of rate a side, on validation people, and one head."""

import argparse

import jax
import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.models.efficientnet import EfficientNetLite
from studies import transfer

TINY = EfficientNetLite((1,) * 7, (2, 2, 3, 3, 3, 4, 4), stem_width=4, top_width=6)


def people():
    """Three people without a picture."""
    labels = np.tile(np.arange(transfer.N_CLASSES), 3)
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    split = protocol.split(np.repeat(np.arange(3), transfer.N_CLASSES), 0, 3, "held_out")
    return transfer.People(jax.numpy.asarray(images), jax.numpy.asarray(labels), split)


@pytest.mark.slow
def test_a_seeds_people_are_its_own_and_split_three_ways():
    data, other = transfer.people(0, 6, 32), transfer.people(1, 6, 32)
    parts = [data.split.train, data.split.validation, data.split.test]
    owners = [set(rows // transfer.N_CLASSES) for rows in parts]
    assert [len(owner) for owner in owners] == [2, 2, 2]
    assert set.union(*owners) == set(range(6))
    for rows in parts:
        assert np.bincount(np.asarray(data.labels)[rows]).tolist() == [2] * transfer.N_CLASSES
    assert not np.array_equal(data.images, other.images)


@pytest.mark.slow
def test_both_sides_start_with_one_head_and_only_one_with_the_weights():
    data = transfer.people(0, 3, 32)
    network = transfer.recipe(TINY).network
    given = jax.tree.map(lambda leaf: leaf + 0.5, network.init(jax.random.key(5), 32)["backbone"])
    pretrained, scratch = (transfer.starting_params(0, start, network, data, given) for start in transfer.STARTS)
    jax.tree.map(np.testing.assert_array_equal, pretrained["head"], scratch["head"])
    jax.tree.map(np.testing.assert_array_equal, pretrained["backbone"], given)
    assert float(np.abs(scratch["backbone"]["top_bn"]["mean"]).max()) > 0


def comparison(backbone=TINY, **changes):
    usual = {"seeds": 1, "first_seed": 0, "search_seed": 7, "subjects": 3, "size": 32, "patience": 2, "max_epochs": 9,
             "learning_rates": [1e-3, 4e-3], "most_rates": 6}  # fmt: skip
    recipe = transfer.recipe(backbone)
    pretrained = recipe.network.init(jax.random.key(0), 32)["backbone"]
    return transfer.Comparison(argparse.Namespace(**{**usual, **changes}), recipe, pretrained)


@pytest.mark.parametrize(
    ("best", "tried", "inside"),
    [
        (1.6e-2, [1e-3, 4e-3, 1.6e-2, 6.4e-2], True),
        (2.5e-4, [1e-3, 4e-3, 2.5e-4, 6.25e-5], True),
        (4e-3, [1e-3, 4e-3, 1.6e-2], True),
        (1e9, [1e-3, 4e-3, 1.6e-2, 6.4e-2, 0.256, 1.024], False),
        (1e-9, [1e-3, 4e-3, 2.5e-4, 6.25e-5, 1.5625e-5, 3.90625e-6], False),
    ],
)
def test_the_grid_grows_until_the_best_rate_is_inside_it(best, tried, inside):
    def measure(rate):
        return transfer.Tried(1 / (1 + 0.1 * abs(np.log(rate / best))), 1, True)

    found = transfer.search([1e-3, 4e-3], 6, measure)
    assert list(found) == pytest.approx(tried)
    rate = transfer.best_rate(found)
    assert (min(found) < rate < max(found)) == inside
    assert not inside or rate == pytest.approx(best)


def test_a_single_rate_grows_both_ways_and_a_rate_that_fails_is_no_choice():
    found = transfer.search(
        [1e-3], 5, lambda rate: transfer.Tried(0.0 if rate > 1e-3 else 0.5 - abs(rate - 1e-3), 1, True)
    )
    assert list(found) == pytest.approx([1e-3, 4e-3, 2.5e-4, 2e-3])


def test_a_rate_that_learned_nothing_is_no_bound():
    def measure(rate):
        return transfer.Tried({1e-3: 0.7, 2e-3: 0.8, 4e-3: 0.9, 8e-3: 0.85}.get(round(rate, 5), 1 / 6), 1, True)

    assert list(transfer.search([1e-3, 4e-3], 8, measure)) == pytest.approx([1e-3, 4e-3, 1.6e-2, 8e-3])


@pytest.mark.parametrize(("accuracies", "epochs", "plateau", "best"), [
    ([0.2, 0.4, 0.3, 0.4, 0.9], 4, True, 0.4),
    ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 9, False, 0.9),
    ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.6], 9, True, 0.7),
])  # fmt: skip
def test_a_fit_ends_at_its_plateau_with_its_best_epoch(monkeypatch, accuracies, epochs, plateau, best):
    data, values, states = people(), iter(accuracies), []

    def run_epoch(state, source, pool, context, key, recipe, validate):
        state = state._replace(trainable=jax.tree.map(lambda leaf: leaf + 1, state.trainable))
        states.append(state.trainable)
        np.testing.assert_array_equal(pool, data.split.train)
        assert context.learning_rate == np.float32(2e-3)
        return state, {name: float(value) for name, value in validate(state.trainable).items()}

    def scored(params, network, data, rows):
        np.testing.assert_array_equal(rows, data.split.validation)
        return 1.0, next(values)

    monkeypatch.setattr(transfer.fitting.epochs, "run_epoch", run_epoch)
    monkeypatch.setattr(transfer, "scored", scored)
    params, found = comparison().train(0, "pretrained", 2e-3, data)
    assert (found.epochs, found.plateau, found.validation) == (epochs, plateau, best)
    jax.tree.map(np.testing.assert_array_equal, params["head"], states[accuracies.index(best)]["head"])


def test_a_rate_at_which_training_fails_has_no_accuracy(monkeypatch):
    def fail(job):
        raise FloatingPointError("epoch 1: the loss is nan")

    monkeypatch.setattr(transfer.fitting, "fit", fail)
    assert comparison().train(0, "scratch", 1e3, people()) == (None, transfer.Tried(0.0, 0, False))


@pytest.mark.parametrize("better", [4e-3, 1e-3])
def test_other_people_choose_the_rates_and_test_people_are_read_once_a_start(monkeypatch, tmp_path, better):
    fits, read, data = [], [], people()

    def train(self, seed, start, rate, data):
        # The people that choose prefer one rate, the measured ones would prefer another.
        wanted = better if seed == 7 else 1.0
        fits.append(seed)
        return rate, transfer.Tried(0.9 - abs(rate - wanted), 7, True)

    def scored(trained, network, data, rows):
        np.testing.assert_array_equal(rows, data.split.test)
        read.append(trained)
        return 0.0, 0.4

    monkeypatch.setattr(transfer, "people", lambda seed, n, size: data)
    monkeypatch.setattr(transfer.Comparison, "train", train)
    monkeypatch.setattr(transfer, "scored", scored)
    study = comparison(workdir=tmp_path)
    chosen = study.choose(7)
    assert read == []
    row = study.compare(0, chosen)
    assert (set(fits), fits.count(0), read) == ({7, 0}, 2, [better] * 2)
    for start in transfer.STARTS:
        assert chosen[start]["learning_rate"] == better
        assert chosen[start]["inside"]
        assert chosen[start]["tried"][f"{better:g}"] == {"validation": pytest.approx(0.9), "epochs": 7, "plateau": True}
        assert (row[start], row[f"{start}_epochs"], row[f"{start}_plateau"]) == (0.4, 7, True)
    assert row["gain"] == 0
    # Started again the study reads what is there, but not what another setting or other code left.
    n = len(fits)
    assert (study.choose(7), study.compare(0, chosen), len(fits)) == (chosen, row, n)
    comparison(workdir=tmp_path, patience=3).compare(0, chosen)
    assert len(fits) == n + 2
    monkeypatch.setattr(transfer.environment, "commit", lambda: "of other code")
    comparison(workdir=tmp_path, patience=3).compare(0, chosen)
    assert len(fits) == n + 4


def test_the_people_who_choose_are_not_measured(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["transfer", "--out", "found.json", "--first-seed", "11", "--search-seed", "12"])
    with pytest.raises(SystemExit, match="2"):
        transfer.main()
    assert "--search-seed has 12; it may be none of the seeds that are measured" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_learns_and_is_scored():
    data = transfer.people(0, 6, 32)
    labels = np.asarray(data.labels)
    # Brightness tells the class, so that a small network can; one of two channels learns it or not by rounding alone.
    bright = np.broadcast_to(40 * labels[:, None, None, None], data.images.shape).astype(np.uint8)
    data = transfer.People(jax.numpy.asarray(bright), data.labels, data.split)
    backbone = EfficientNetLite((1,) * 7, (4, 4, 6, 6, 6, 8, 8), stem_width=8, top_width=12)
    study = comparison(backbone, patience=60, max_epochs=60)
    network = study.recipe.network
    before = float(
        transfer.scored(transfer.starting_params(0, "scratch", network, data, {}), network, data, data.split.test)[1]
    )
    params, trained = study.train(0, "scratch", 3e-3, data)
    assert float(transfer.scored(params, network, data, data.split.test)[1]) > max(before, 0.8)
    assert trained.validation > 0.8
