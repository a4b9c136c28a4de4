"""A whole phase from its slices: by hand, with fewer subjects, and with an interval that scatter widens."""

import numpy as np
import pytest

from fer_jax.bench import extrapolation
from fer_jax.bench.extrapolation import Once, Plan, Sizes, Slice

FULL = Sizes(images=200, base=40, new=20, validation=30, test=10, steps=(10, 20))
HALF = Sizes(images=100, base=20, new=10, validation=15, test=5, steps=(5, 10))
A_STEP, AN_ANSWER, AN_EPOCH, A_REST = 0.25, 0.125, 0.0625, 2.0
PLAN = Plan(orders=4, at_once=1, epochs=3)


def seconds(sizes: Sizes, plan: Plan, slices: int = 4) -> tuple[list[Slice], Once]:
    """Slices and what is done once of a machine on which everything takes exactly its time."""
    answer = AN_ANSWER * plan.at_once
    made = [
        Slice(i % 2, sizes.steps[i % 2], 2,
              2 * (AN_EPOCH + answer * sizes.validation + A_STEP * sizes.steps[i % 2]),
              A_REST + answer * (sizes.new + sizes.test))
        for i in range(slices)
    ]  # fmt: skip
    once = Once(AN_ANSWER, 0.5 * sizes.images, 0.75 * sizes.images, 1.0 + AN_ANSWER * (sizes.base + sizes.test), 9.0)
    return made, once


def whole(plan: Plan, views: int) -> float:
    """The seconds of the whole phase on that machine."""
    answer = AN_ANSWER * plan.at_once
    increments = [
        A_REST + answer * (FULL.new + FULL.test)
        + plan.epochs * (AN_EPOCH + answer * FULL.validation + A_STEP * steps)
        for steps in FULL.steps
    ]  # fmt: skip
    begun = plan.orders * (1.0 + AN_ANSWER * (FULL.base + FULL.test))
    return 9.0 + FULL.images * (0.5 + 0.75 * views) + begun + plan.orders / plan.at_once * sum(increments)


@pytest.mark.parametrize("here", [FULL, HALF])
@pytest.mark.parametrize("plan", [PLAN, PLAN._replace(at_once=2)])
@pytest.mark.parametrize("views", [0, 8])
def test_slices_without_scatter_give_the_whole_phase(here, plan, views):
    found = extrapolation.total(*seconds(here, plan), here, FULL, plan, views)
    assert found.estimate == pytest.approx(whole(plan, views))
    assert (found.low, found.high) == pytest.approx((found.estimate, found.estimate))
    assert found.step == pytest.approx(A_STEP)
    assert sum(found.parts.values()) == pytest.approx(found.estimate)


def test_the_interval_holds_what_scatters():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        slices, once = seconds(FULL, PLAN, 8)
        slices = [
            one._replace(training=one.training * rng.normal(1, 0.1), rest=one.rest * rng.normal(1, 0.1))
            for one in slices
        ]
        found = extrapolation.total(slices, once, FULL, FULL, PLAN)
        held += found.low <= whole(PLAN, 0) <= found.high
    assert 180 <= held <= 199, "of 200 intervals of 95 %"


def test_epochs_of_one_length_are_no_line_but_a_mean():
    slices, once = seconds(FULL._replace(steps=(10, 10)), PLAN)
    found = extrapolation.total(slices, once, FULL, FULL._replace(steps=(10, 10)), PLAN)
    epochs = found.parts["steps"] + found.parts["epochs beside their steps"]
    assert epochs == pytest.approx(4 * 3 * 2 * (AN_EPOCH + AN_ANSWER * 30 + A_STEP * 10))


def test_few_slices_say_nothing():
    slices, once = seconds(FULL, PLAN, extrapolation.LEAST_SLICES - 1)
    assert extrapolation.total(slices, once, FULL, FULL, PLAN) is None


def test_work_by_hand():
    assert extrapolation.image_steps(FULL, PLAN, 16) == 4 * 3 * 30 * 16
    # Steps; the base classes and the test images before, and what every increment answers; the trunk, and two views.
    steps, tails = 4 * 3 * 30 * 1000, 4 * (40 + 10 + 2 * (20 + 10 + 3 * 30)) * 7
    assert extrapolation.multiply_adds(FULL, PLAN, 1000, (50, 7)) == steps + tails + 200 * 50
    assert extrapolation.multiply_adds(FULL, PLAN, 1000, (50, 7), 2) == steps + tails + 200 * (50 + 2 * 57)
