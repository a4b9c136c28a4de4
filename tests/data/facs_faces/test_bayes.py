"""The Bayes accuracy, by hand and by counting patterns."""

import collections

import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.data.facs_faces import bayes, categories


def index(*names: str) -> np.ndarray:
    return np.asarray([categories.NAMES.index(name) for name in names])


def test_by_hand():
    # Happy and neutral share no pattern at all.
    assert bayes.bayes_accuracy(index("happy", "neutral")) == 1.0
    assert bayes.bayes_accuracy(index("sad")) == 1.0
    # Only appalled has unit 6 (.25) and only hatred 7 (.57); the shares of 9, 17 and 24 differ.
    total = 0.0  # over all patterns of these three, present or not in appalled and in hatred
    for p9 in ((0.56, 0.27), (0.44, 0.73)):
        for p17 in ((0.67, 0.63), (0.33, 0.37)):
            for p24 in ((0.36, 0.37), (0.64, 0.63)):
                shared = [p9[k] * p17[k] * p24[k] for k in (0, 1)]
                # With 6 it is appalled, with 7 hatred, with neither the likelier of the two.
                total += shared[0] * 0.25 + shared[1] * 0.57 + max(shared[0] * 0.75, shared[1] * 0.43)
    assert bayes.bayes_accuracy(index("appalled", "hatred")) == pytest.approx(total / 2, abs=1e-12)


def test_flips_by_hand():
    # Of happy (12, 25, and 6 in .51) and neutral, each unit seen wrongly one time in ten.
    total = 0.0
    for own, seen in ((0.9, 0.1), (0.1, 0.9)):
        for own_25, seen_25 in ((0.9, 0.1), (0.1, 0.9)):
            for sometimes, never in ((0.508, 0.1), (0.492, 0.9)):
                total += max(own * own_25 * sometimes, seen * seen_25 * never)
    assert bayes.bayes_accuracy(index("happy", "neutral"), 0.1) == pytest.approx(total / 2, abs=1e-12)
    # A unit that is seen wrongly half of the time says nothing.
    assert bayes.bayes_accuracy(np.arange(21), 0.5) == pytest.approx(1 / 21, abs=1e-9)
    orders = protocol.class_orders(15, 2)
    falling = [bayes.bayes_table(orders, flips)[:, -1] for flips in (0.0, 0.05, 0.1)]
    np.testing.assert_allclose(falling[1], bayes.bayes_accuracy(np.arange(21), 0.05), atol=1e-12)
    assert (falling[0] > falling[1]).all()
    assert (falling[1] > falling[2]).all()


@pytest.mark.parametrize("flips", [0.0, 0.2])
def test_patterns_are_a_distribution(flips):
    p = bayes.pattern_probability(flips)
    assert p.shape == (22, 2**17)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)


def test_by_counting_drawn_patterns():
    """A table of counts, learned on half of a big draw, answers the other half nearly as well as Bayes."""
    rng = np.random.default_rng(0)
    classes = index("sad", "sadly angry", "appalled", "hatred", "angrily disgusted")
    share = categories.presence_probability()[classes]
    n = 40_000
    drawn = rng.random((2, len(classes), n, share.shape[1])) < share[:, None]
    codes = drawn @ (1 << np.arange(share.shape[1]))
    counts = [collections.Counter(row.tolist()) for row in codes[0]]
    correct = 0
    for truth, row in enumerate(codes[1]):
        for code, times in collections.Counter(row.tolist()).items():
            correct += times * (int(np.argmax([c[code] for c in counts])) == truth)
    assert correct / codes[1].size == pytest.approx(bayes.bayes_accuracy(classes), abs=5e-3)


def test_the_table_of_orders_ends_where_all_classes_are_known():
    orders = protocol.class_orders(n_orders=2)
    table = bayes.bayes_table(orders)
    assert table.shape == (2, 16)
    np.testing.assert_allclose(table[:, 0], bayes.bayes_accuracy(np.arange(6)))
    np.testing.assert_allclose(table[:, -1], bayes.bayes_accuracy(np.arange(21)))
    third = [*range(6), *(6 + orders[1, :3])]
    assert table[1, 3] == pytest.approx(bayes.bayes_accuracy(np.asarray(third)))
    with pytest.raises(ValueError, match="at least one category"):
        bayes.bayes_accuracy(np.asarray([], int))


def test_hidden_units_leave_the_bayes_accuracy_of_those_that_are_seen():
    upper = (1, 2, 4, 5, 6, 7)
    six, all21 = np.arange(6), np.arange(21)
    for classes, seen, right in ((six, upper, 0.858), (all21, upper, 0.333), (six, (*upper, 9), 0.973),
                                 (all21, (*upper, 9), 0.419)):  # fmt: skip
        assert bayes.bayes_accuracy(classes, seen=seen) == pytest.approx(right, abs=5e-4)
    assert bayes.bayes_accuracy(six, seen=()) == pytest.approx(1 / 6)
    assert bayes.bayes_accuracy(all21) == bayes.bayes_accuracy(all21, seen=categories.UNITS)
