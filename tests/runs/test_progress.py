"""What a run tells: lines elsewhere, a live line on a terminal, work that adds up to the plan."""

import io

import pytest
import rich.console

from fer_jax import experiment
from fer_jax.runs import progress
from tests.support.events import scalar_tags


@pytest.fixture
def row():
    return {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.6, "val_accuracy": 0.625}


def test_lines_where_there_is_no_terminal(tmp_path, row):
    stream = io.StringIO()
    assert progress.start_logging(stream) is None
    with progress.Progress(every=0.0) as p:
        p.plan(400)
        p.skip(100)
        p.begin("basic fold 0, body", epochs=2, images=50)
        p.epoch(0, row)
        p.finish("epoch 1, validation accuracy 0.625")
    first, second = stream.getvalue().splitlines()
    assert "basic fold 0, body: epoch 1/2 loss 0.500 accuracy 0.750 validation 0.625 (38 % of the run)" in first
    assert second.endswith("basic fold 0, body: epoch 1, validation accuracy 0.625")


def test_a_live_line_on_a_terminal(tmp_path, row):
    screen = rich.console.Console(file=io.StringIO(), force_terminal=True, width=160)
    with progress.Progress(None, screen) as p:
        p.plan(100)
        p.begin("few-shot", epochs=1, images=60)
        p.epoch(0, row)
        p.finish()
    shown = screen.file.getvalue()
    assert "few-shot epoch 1/1 loss 0.500" in shown
    assert "60%" in shown


@pytest.mark.slow
def test_all_work_of_a_run_is_planned(tiny_config, tiny_data, tmp_path, monkeypatch):
    """At the end of a run exactly what was planned is done, from nothing and again from checkpoints."""
    ends = []
    close = progress.Progress.__exit__

    def spy(self, *exception):
        ends.append((self._done, self._total))
        close(self, *exception)

    monkeypatch.setattr(progress.Progress, "__exit__", spy)
    for _ in range(2):
        experiment.train(tiny_config, tmp_path / "run")
    assert len(ends) == 2
    assert all(done == total > 0 for done, total in ends)
    tags = scalar_tags(tmp_path / "run" / "tensorboard")
    assert {"basic/fold0/body/loss", "kd_psmr/fold0/order0/test_accuracy"} <= tags


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
