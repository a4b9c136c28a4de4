"""The remaining time on a simulated clock, and on the recorded times of a quickstart run."""

import json
import pathlib
import random

import pytest

from fer_jax.runs.remaining import Remaining, Work, replay, spoken
from studies import progress as study

RECORDED = pathlib.Path(__file__).parents[2] / "docs" / "results" / "progress.json"
MOST = 0.25


class Clock:
    """A run on a simulated clock: what it does takes as long as it is told."""

    def __init__(self, plan: dict[str, Work], noise: float = 0.05):
        self.now, self.noise, self.random = 0.0, noise, random.Random(0)
        self.rows = [{"event": "plan", "seconds": 0.0, "plan": plan}]

    def wait(self, seconds: float) -> None:
        self.now += seconds * self.random.uniform(1 - self.noise, 1 + self.noise)

    def note(self, event: str, **more) -> None:
        self.rows.append({"event": event, "seconds": self.now, **more})

    def fits(self, kind: str, number: int, epochs: int, images: int, ran: int | None = None, **takes) -> None:
        """Runs fits of so many epochs at most, of which `ran` are run. takes: `image`, `between`, and `start` once."""
        for i in range(number):
            self.wait(takes.get("start", 0.0) if i == 0 else takes.get("between", 0.0) / 2)
            self.note("begin", kind=kind, fits=1, epochs=epochs, images=images, done=0)
            for epoch in range(ran or epochs):
                self.wait(images * takes.get("image", 0.0))
                self.note("epoch", done=epoch + 1)
            self.wait(takes.get("between", 0.0) / 2)
            self.note("end")

    def worst(self) -> float:
        return study.worst(study.curve(self.rows))


def test_one_kind_is_known_after_two_epochs_by_hand():
    left = Remaining({"a": Work(2, 400)})
    left.begin(1.0, "a", 1, 2, 100)
    assert left.seconds(1.0) is None
    left.epoch(4.0, 1)  # 3 seconds, with what is compiled
    assert left.seconds(4.0) is None
    left.epoch(6.0, 2)  # 2 seconds of 100 images
    assert left.seconds(6.0) == pytest.approx(4.0)  # a fit of 200 images
    left.end(6.5)
    left.begin(7.5, "a", 1, 2, 100)  # 1 second between the fits
    left.epoch(9.5, 1)
    assert left.seconds(9.5) == pytest.approx(3.0)  # an epoch, and what is beside
    assert left.seconds(10.0) == pytest.approx(2.5)  # time goes on without news
    left.epoch(11.5, 2)
    left.end(11.5)
    assert left.seconds(11.5) == 0.0
    assert left.left == {"a": (0, 0)}


def test_a_kind_that_has_not_begun_costs_what_was_planned_on_the_scale_of_the_others():
    left = Remaining({"a": Work(1, 200, 2.0, 0.0, "x"), "b": Work(3, 300, 1.0, 10.0, "y"), "c": Work(1, 100, 4.0)})
    left.begin(0.0, "a", 1, 2, 100)
    left.epoch(5.0, 1)
    left.epoch(7.0, 2)
    left.end(7.0)
    # 0.01 s a forward pass: 300 images, 3 fits of 10, and 100 images of 4; a family that compiles as long as the first.
    assert left.seconds(7.0) == pytest.approx(3.0 + 0.3 + 4.0 + 3.0)


def test_a_start_that_compiles_says_little_of_the_rest():
    clock = Clock({"basic": Work(1, 28 * 1000, 3.0, 0.0, "b"), "continual": Work(45, 45 * 4 * 800, 3.0, 900, "c")})
    clock.fits("basic", 1, 28, 1000, image=4e-4, start=12.0)
    clock.fits("continual", 45, 4, 800, image=4.5e-4, between=0.25, start=9.0)
    assert clock.worst() < MOST


def test_a_long_search_after_the_base_task():
    """What used to be told in shares of images: 1 % after the base task, whatever the images cost."""
    clock = Clock({"basic": Work(1, 40 * 1000, 3.0, 0.0, "b"), "continual er": Work(195, 195 * 15 * 600, 0.3, 800, "c"),
                   "continual slda": Work(30, 0, 1.0, 900)})  # fmt: skip
    clock.fits("basic", 1, 40, 1000, image=1e-3, start=8.0)
    clock.fits("continual er", 195, 15, 600, image=1.3e-4, between=0.35, start=6.0)
    clock.fits("continual slda", 30, 0, 0, between=0.3)
    assert clock.worst() < MOST


def test_fits_that_end_early():
    clock = Clock(
        {"basic": Work(10, 10 * 100 * 500, 3.0, 0.0, "b"), "continual": Work(150, 150 * 30 * 400, 1.0, 500, "c")}
    )
    clock.fits("basic", 10, 100, 500, ran=60, image=4e-4, start=5.0, between=1.0)
    clock.fits("continual", 150, 30, 400, ran=16, image=1.2e-4, start=5.0, between=0.2)
    assert clock.worst() < MOST


def test_a_resumed_run_and_a_resumed_fit():
    clock = Clock({"a": Work(10, 10 * 10 * 100)})
    clock.note("skip", kind="a", fits=5, images=5000)
    clock.note("begin", kind="a", fits=1, epochs=10, images=100, done=7)
    for epoch in (7, 8, 9):
        clock.wait(1.0)
        clock.note("epoch", done=epoch + 1)
    clock.note("end")
    clock.fits("a", 4, 10, 100, image=1e-2)
    assert clock.worst() < MOST


def test_runs_side_by_side_count_as_that_many():
    left = Remaining({"a": Work(6, 6 * 200)})
    for now in (0.0, 10.0):
        left.begin(now, "a", 3, 2, 300)
        left.epoch(now + 4.0, 1)
        left.epoch(now + 8.0, 2)
        left.end(now + 9.0)
    assert left.left == {"a": (0, 0)}


def test_a_fit_that_was_not_planned_is_no_error():
    left = Remaining({})
    left.begin(0.0, "a", 1, 1, 10)
    left.epoch(1.0, 1)
    left.end(1.0)
    assert left.seconds(2.0) is None


@pytest.fixture
def recorded() -> list[dict]:
    """What a quickstart run wrote, which did not have the machine for itself: its processor time is what counts."""
    return [json.loads(line) for line in json.loads(RECORDED.read_text())["log"]]


def test_a_recorded_quickstart_is_told_within_a_quarter_after_the_first_tenth(recorded):
    points = study.curve(recorded, "cpu")
    assert study.worst(points) < MOST
    assert len(points) > 500


@pytest.mark.parametrize("changed", [{"cost": 40.0}, {"overhead": 40000.0}])
def test_the_bound_is_one_that_wrong_costs_break(recorded, changed):
    plan = {name: Work(*work) for name, work in recorded[0]["plan"].items()}
    recorded[0]["plan"] = {
        name: work if name.startswith("basic") else work._replace(**changed) for name, work in plan.items()
    }
    assert study.worst(study.curve(recorded, "cpu")) > MOST


def test_the_bound_is_one_that_a_share_of_all_images_breaks(recorded):
    """It is what was shown before, whatever an image costs."""
    total, done, images, points = sum(Work(*work).images for work in recorded[0]["plan"].values()), 0, 0, []
    for row in recorded:
        images = row.get("images", images)
        if row["event"] == "epoch":
            done += images
            points.append((row["cpu"], row["cpu"] * (total / done - 1), recorded[-1]["cpu"] - row["cpu"]))
    assert study.worst(points) > MOST


def test_the_time_is_told_as_one_would():
    assert replay([]) == []
    assert spoken(89) == "90 s"
    assert spoken(91) == "2 min"
