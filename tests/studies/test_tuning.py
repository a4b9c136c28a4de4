"""Candidates are compared by validation accuracy, on one base model."""

import pathlib

import pytest

from fer_jax.errors import UserError
from fer_jax.phases import base as base_task
from studies import tuning

QUICKSTART = pathlib.Path(__file__).parents[2] / "configs" / "quickstart.py"


@pytest.mark.slow
def test_candidates_share_the_base_model_and_are_judged_on_validation_subjects(tiny_config, tmp_path, monkeypatch):
    trained = []
    train_stage = base_task._train_stage

    def spy(setup, params, stage, cell):
        trained.append(stage.name)
        return train_stage(setup, params, stage, cell)

    monkeypatch.setattr(base_task, "_train_stage", spy)
    first = tiny_config.copy_and_resolve_references()
    first.methods, first.few_shot.shots, first.protocol.n_orders = (tuning.METHOD,), (), 1
    second, other_base = first.copy_and_resolve_references(), first.copy_and_resolve_references()
    second.continual.learning_rate = 1e-6
    other_base.basic.body.max_epochs = 1
    found = tuning.compare({"a": first, "b": second}, tmp_path)
    assert trained == ["head", "body"]
    assert found["a"]["validation_accuracy"]["mean"] != found["b"]["validation_accuracy"]["mean"]
    tuning.compare({"a": first, "b": second, "c": other_base}, tmp_path)
    # Finished candidates are read; another base task is trained.
    assert trained == ["head", "body"] * 2


def test_the_judgement_is_the_mean_over_increments_then_orders():
    rows = ([0.5, 0.7], [0.2, 0.4])
    runs = [{"order": o, "fold": 0, "validation_accuracy": row} for o, row in enumerate(rows)]
    found = tuning.validation({"continual": {tuning.METHOD: {"runs": runs}}})
    assert found["runs"] == pytest.approx([0.6, 0.3])
    assert (found["mean"], found["n"]) == (pytest.approx(0.45), 2)
    # Orders of one base model: a range, no interval.
    assert (found["low"], found["lowest"], found["highest"]) == (None, pytest.approx(0.3), pytest.approx(0.6))


def test_candidates_are_read_with_the_configs_own_checks(tmp_path):
    config = tuning.candidate(QUICKSTART, ["continual.batch_size=8"])
    assert (config.continual.batch_size, config.methods, config.few_shot.shots) == (8, (tuning.METHOD,), ())
    with pytest.raises(UserError, match=r"config\.continual\.batch_sie does not exist; did you mean"):
        tuning.candidate(QUICKSTART, ["continual.batch_sie=8"])
