"""What the comparison of starts rests on: one choice of rate a side, on validation people, and one head."""

import jax
import numpy as np
import pytest

from fer_jax.models.efficientnet import EfficientNetLite
from studies import transfer

TINY = EfficientNetLite((1,) * 7, (2, 2, 3, 3, 3, 4, 4), stem_width=4, top_width=6)
RATES = [1e-3, 3e-3]


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
    network = transfer.recipe(1e-3, TINY).network
    given = jax.tree.map(lambda leaf: leaf + 0.5, network.init(jax.random.key(5), 32)["backbone"])
    pretrained, scratch = (transfer.starting_params(0, start, network, data, given) for start in transfer.STARTS)
    jax.tree.map(np.testing.assert_array_equal, pretrained["head"], scratch["head"])
    jax.tree.map(np.testing.assert_array_equal, pretrained["backbone"], given)
    assert float(np.abs(scratch["backbone"]["top_bn"]["mean"]).max()) > 0


@pytest.mark.parametrize("better", [0, 1])
@pytest.mark.slow
def test_the_rate_is_chosen_on_validation_and_test_is_read_once_a_side(monkeypatch, better):
    read = []

    def train(seed, fit, params, data, epochs):
        return fit.learning_rate

    def accuracy(trained, fit, data, rows):
        part = "test" if np.array_equal(rows, data.split.test) else "validation"
        assert part == "test" or np.array_equal(rows, data.split.validation)
        read.append(part)
        # Validation prefers one rate, the test people would prefer the other.
        prefers = RATES[better if part == "validation" else 1 - better]
        return 0.9 if trained == prefers else 0.4

    monkeypatch.setattr(transfer, "train", train)
    monkeypatch.setattr(transfer, "accuracy", accuracy)
    monkeypatch.setattr(transfer, "starting_params", lambda *arguments: {})
    row = transfer.compare(0, 3, 32, 1, RATES, TINY, {})
    assert read == ["validation", "validation", "test"] * 2
    for start in transfer.STARTS:
        assert row[f"{start}_learning_rate"] == RATES[better]
        assert row[start] == 0.4
    assert row["gain"] == 0


@pytest.mark.slow
def test_a_network_learns_and_is_scored():
    data = transfer.people(0, 6, 32)
    labels = np.asarray(data.labels)
    # Brightness tells the class, so that a small network can; one of two channels learns it or not by rounding alone.
    bright = np.broadcast_to(40 * labels[:, None, None, None], data.images.shape).astype(np.uint8)
    data = transfer.People(jax.numpy.asarray(bright), data.labels, data.split)
    fit = transfer.recipe(3e-3, EfficientNetLite((1,) * 7, (4, 4, 6, 6, 6, 8, 8), stem_width=8, top_width=12))
    params = transfer.starting_params(0, "scratch", fit.network, data, {})
    before = transfer.accuracy(params, fit, data, data.split.test)
    trained = transfer.train(0, fit, params, data, 60)
    assert transfer.accuracy(trained, fit, data, data.split.test) > max(before, 0.8)
