"""The study's data sets have the imbalance that it says, and its test people are whole."""

import numpy as np

from fer_jax.data.arrays import FaceArrays
from fer_jax.objectives import BALANCES
from studies import imbalance
from studies.documents import results

NAMES = tuple(f"class {number}" for number in range(21))
PEOPLE = 250


def faces() -> FaceArrays:
    """One image of every person and class; its first pixel tells which."""
    label, subject = (np.ravel(one).astype(np.int32) for one in np.meshgrid(np.arange(21), np.arange(PEOPLE)))
    image = np.zeros((len(label), 1, 1, 3), np.uint8)
    image[:, 0, 0, 0], image[:, 0, 0, 1] = label, subject
    return FaceArrays(image, label, subject, NAMES, targets={"number": np.arange(len(label), dtype=np.int32)})


def test_the_rarest_class_has_a_twentieth_and_test_people_are_whole():
    data = imbalance.thinned(faces(), 20, seed=0)
    np.testing.assert_array_equal(data.image[:, 0, 0, :2], np.stack([data.label, data.subject], 1))
    np.testing.assert_array_equal(data.targets["number"], data.subject * 21 + data.label)
    assert set(data.subject[data.official_test]) == set(range(200, 250))
    assert np.bincount(data.label[data.official_test]).tolist() == [50] * 21
    counts = np.bincount(data.label[~data.official_test])
    for group in (counts[: imbalance.N_BASE], counts[imbalance.N_BASE :]):
        assert (group.max(), group.min()) == (200, 10)
        assert len(set(group)) == len(group)


def test_the_seed_decides_which_classes_are_rare():
    counts = [np.bincount(imbalance.thinned(faces(), 20, seed).label) for seed in range(3)]
    assert len({tuple(one) for one in counts}) == 3
    assert len({tuple(sorted(one[: imbalance.N_BASE])) for one in counts}) == 1


def test_each_way_is_compared_with_none_on_the_same_seed(monkeypatch, tmp_path):
    gain = {"none": 0.0, "weights": 0.1, "sampler": -0.2}
    monkeypatch.setattr(imbalance, "run", lambda seed, balance, *_: {"base, macro-F1": seed / 10 + gain[balance]})
    found = imbalance.compare(range(3), 60, tmp_path)
    assert set(found["rows"]) == set(BALANCES)
    for balance in ("weights", "sampler"):
        one = found["differences"][balance]["base, macro-F1"]
        np.testing.assert_allclose([one["mean"], one["low"], one["high"]], gain[balance], atol=1e-9)
        assert one["n"] == 3
    table = results.imbalance(found | {"settings": {"ratio": 20, "n_subjects": 60}})
    assert "| %, mean [95 % interval] | none | `weights` | less none | `sampler` | less none |" in table
    assert "| base, macro-F1 | 10.0 [" in table


def test_the_words_say_which_intervals_leave_out_0():
    def one(low, high):
        return {"mean": (low + high) / 2, "low": low, "high": high, "n": 5}

    differences = {"weights": {"base, macro-F1": one(-0.1, 0.2), "er, macro_f1_final": one(-0.3, -0.1)}}
    assert results._benefit(differences) == (
        "Of 2 differences from no balancing, the intervals of 1 include 0, 0 are above 0 and 1 below; they are not "
        "corrected for their number. Below: `weights`, experience replay, class-balanced, macro-F1 after the last "
        "increment, -20.0 [-30.0, -10.0]."
    )
    differences["sampler"] = {"base, macro-F1": one(0.1, 0.3)}
    said = results._benefit(differences)
    assert said.startswith("Of 3 differences from no balancing, the intervals of 1 include 0, 1 are above 0 and 1 ")
    assert "Above: `sampler`, base, macro-F1, 20.0 [10.0, 30.0]. Below: `weights`" in said
