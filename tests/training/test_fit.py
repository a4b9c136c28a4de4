"""Early stopping against Keras' callback, and a fit that goes on from any of its points."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import pytest

from fer_jax.objectives import Context
from fer_jax.training import fit as fitting


def counting(monkeypatch, stopping, figures, epochs):
    """A job whose state counts its epochs and whose figures are given by a function of that count."""

    def run_epoch(state, source, pool, context, key, recipe, validate):
        return state + 1, {"loss": float(state), "accuracy": 0.0, **figures(int(state))}

    monkeypatch.setattr(fitting.epochs, "run_epoch", run_epoch)
    monkeypatch.setattr(fitting.together, "usual_form", lambda source: "threads")
    run = fitting.Run(jnp.zeros(()), None, None, lambda epoch: (None, None), None)
    return fitting.Job((run,), None, stopping, epochs)


def replay_sequence(monkeypatch, values, stopping):
    """Runs `fit` on a fixed sequence of validation values: last epoch, epoch of the weights, whether stopped."""

    def figures(epoch):
        other = "val_accuracy" if stopping.mode == "min" else "val_loss"
        return {stopping.watched: float(values[epoch]), other: 0.0}

    (fitted,) = fitting.fit(counting(monkeypatch, stopping, figures, len(values)))
    assert int(fitted.state) - 1 == fitted.epoch
    return [len(fitted.history) - 1, fitted.epoch, int(fitted.stopped)]


@pytest.mark.parametrize(
    ("sequence", "case", "mode", "patience", "min_delta"),
    [
        ("val_loss", "val_loss_patience5_mindelta001", "min", 5, 0.01),
        ("val_loss", "val_loss_patience100_mindelta001", "min", 100, 0.01),
        ("val_acc", "val_acc_patience7", "max", 7, 0.0),
        ("val_acc_flat", "val_acc_flat_patience3", "max", 3, 0.0),
        ("val_acc_rise", "val_acc_rise_patience3", "max", 3, 0.0),
    ],
)
def test_early_stopping_equals_keras(monkeypatch, reference, sequence, case, mode, patience, min_delta):
    r = reference("g_earlystop")
    last, best, final, stopped = r[case].tolist()
    keras = fitting.EarlyStopping(mode, patience, min_delta, restore="on_stop")
    assert replay_sequence(monkeypatch, r[sequence], keras) == [last, final, stopped]
    ours = fitting.EarlyStopping(mode, patience, min_delta, restore="always")
    assert replay_sequence(monkeypatch, r[sequence], ours) == [last, best, stopped]


@pytest.mark.parametrize("restore", ["always", "on_stop"])
@pytest.mark.parametrize(("sequence", "mode", "patience"), [("val_loss", "min", 5), ("val_acc", "max", 7)])
def test_a_fit_goes_on_from_any_epoch_as_if_it_had_not_stopped(
    monkeypatch, reference, sequence, mode, patience, restore
):
    values = reference("g_earlystop")[sequence]
    stopping = fitting.EarlyStopping(mode, patience, restore=restore)
    points = []

    def figures(epoch):
        return {"val_loss": float(values[epoch]), "val_accuracy": float(values[epoch])}

    job = counting(monkeypatch, stopping, figures, len(values))
    (whole,) = fitting.fit(job, save=points.append)
    assert len(points) in (len(whole.history) - 1, len(whole.history))
    for point in points:
        (again,) = fitting.fit(job, jax.tree.map(lambda leaf: leaf, point))
        assert float(again.state) == float(whole.state)
        assert again[1:] == whole[1:]


def test_a_loss_that_is_not_a_number_ends_the_fit_and_names_the_epoch(monkeypatch):
    job = counting(
        monkeypatch, fitting.EarlyStopping("max", 3), lambda epoch: {"val_loss": float("nan"), "val_accuracy": 0.0}, 5
    )
    with pytest.raises(FloatingPointError, match="epoch 1: the validation loss is nan"):
        fitting.fit(job)


@pytest.mark.parametrize(("own", "rates"), [(None, [0.4, 0.3, 0.2, 0.1]), (jnp.float32(0.8), [0.8, 0.6, 0.4, 0.2])])
def test_the_learning_rate_falls_by_the_same_amount_an_epoch(monkeypatch, own, rates):
    job, seen = counting(monkeypatch, fitting.NEVER, lambda epoch: {"val_loss": 1.0, "val_accuracy": 0.5}, 4), []
    counted = fitting.epochs.run_epoch

    def noted(state, source, pool, context, *rest):
        seen.append(context.learning_rate)
        return counted(state, source, pool, context, *rest)

    monkeypatch.setattr(fitting.epochs, "run_epoch", noted)
    context = Context(*(None,) * len(Context._fields))._replace(learning_rate=own)
    job = dataclasses.replace(
        job, recipe=types.SimpleNamespace(learning_rate=0.4), runs=(job.runs[0]._replace(context=context),)
    )
    fitting.fit(job)
    assert seen == [own] * 4
    seen.clear()
    fitting.fit(dataclasses.replace(job, falling=True))
    assert seen == pytest.approx(rates)
    assert {one.dtype for one in seen} == {jnp.dtype("float32")}
