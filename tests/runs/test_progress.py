"""What a run tells: lines elsewhere, a live line on a terminal, work that adds up to the plan."""

import io

import pytest
import rich.console

from fer_jax import experiment
from fer_jax.runs import progress
from fer_jax.runs.remaining import Work, replay
from studies import progress as study
from tests.support.events import scalar_tags


@pytest.fixture
def row():
    return {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.6, "val_accuracy": 0.625}


def test_lines_where_there_is_no_terminal(row):
    stream = io.StringIO()
    assert progress.start_logging(stream) is None
    with progress.Progress(every=0.0) as p:
        p.plan({"basic": Work(2, 200)})
        p.skip("basic", 1, 100)
        p.begin("basic fold 0, body", "basic", 1, epochs=2, images=50)
        p.epoch(0, row)
        p.epoch(1, row)
        p.finish("epoch 1, validation accuracy 0.625")
    first, second, third = stream.getvalue().splitlines()
    figures = "accuracy 0.750, validation 0.625, loss 0.500"
    assert first.endswith(f"basic fold 0, body: epoch 1/2, {figures}")  # nothing is known of the time yet
    assert second.endswith(f"basic fold 0, body: epoch 2/2, {figures} (about 10 s left)")
    assert third.endswith("basic fold 0, body: epoch 1, validation accuracy 0.625")


def test_a_live_line_on_a_terminal(row):
    screen = rich.console.Console(file=io.StringIO(), force_terminal=True, width=160)
    with progress.Progress(None, screen) as p:
        p.plan({"few-shot": Work(1, 120)})
        p.begin("few-shot fold 0, awed, 3 shots, draw 1", "few-shot", 1, epochs=2, images=60)
        p.epoch(0, row)
        p.epoch(1, row)
        p.finish()
    shown = screen.file.getvalue()
    assert "few-shot fold 0, awed, 3 shots, draw 1: epoch 2/2, accuracy 0.750" in shown
    assert "10 s left" in shown


def test_what_happens_is_written_line_by_line_and_nothing_where_nothing_is_left(tmp_path, row):
    path = tmp_path / "progress.jsonl"
    with progress.Progress(file=path) as p:
        p.plan({"basic": Work(2, 200)})
        p.skip("basic", 2, 200)
    assert not path.exists()
    for _ in range(2):
        with progress.Progress(file=path) as p:
            p.plan({"basic": Work(2, 200)})
            p.skip("basic", 1, 100)
            p.begin("basic fold 0, body", "basic", 1, epochs=2, images=50, done=1)
            p.epoch(1, row)
            p.finish()
    first, second = study.starts(path)
    assert [one["event"] for one in first] == [one["event"] for one in second]
    assert [one["event"] for one in first] == ["plan", "skip", "begin", "epoch", "end"]
    assert first[0]["plan"] == {"basic": [2, 200, 1.0, 0.0, "", 1]}


@pytest.mark.slow
def test_all_work_of_a_run_is_planned(tiny_config, tiny_data, tmp_path, monkeypatch):
    """At the end of a run exactly what was planned is done, from nothing and again from checkpoints."""
    ends = []
    close = progress.Progress.__exit__

    def spy(self, *exception):
        ends.append(self.left)
        close(self, *exception)

    monkeypatch.setattr(progress.Progress, "__exit__", spy)
    for _ in range(2):
        experiment.train(tiny_config, tmp_path / "run")
    assert ends[0] == ends[1]
    assert set(ends[0].values()) == {(0, 0)}
    assert {f"continual {name}" for name in tiny_config.methods} | {"few-shot"} < set(ends[0])
    tags = scalar_tags(tmp_path / "run" / "tensorboard")
    assert {"basic/fold0/body/loss", "kd_psmr/fold0/order0/test_accuracy"} <= tags
    # The file has one start, of the first time, and what was shown is what a replay gives.
    (rows,) = study.starts(tmp_path / "run" / "progress.jsonl")
    shown = [one["left"] for one in rows if "left" in one and one["left"] is not None]
    assert shown == pytest.approx([left for _, left in replay(rows) if left is not None], abs=0.1)


def test_a_bar_on_a_terminal_and_lines_elsewhere():
    screen = rich.console.Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress.Bar("preparing", 4, screen) as bar:
        bar.advance(1)
        bar.advance(2)
    assert "preparing" in screen.file.getvalue()
    assert "3/4" in screen.file.getvalue()
    stream = io.StringIO()
    progress.start_logging(stream)
    with progress.Bar("preparing", 4, every=0.0) as bar:
        bar.advance(1)
        bar.advance(2)
    assert [line[9:] for line in stream.getvalue().splitlines()] == ["preparing: 1 of 4", "preparing: 3 of 4"]
    with progress.Bar("preparing", 4, every=60.0) as bar:
        bar.advance(4)
    assert len(stream.getvalue().splitlines()) == 2
