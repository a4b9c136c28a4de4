"""Early stopping against Keras' callback, and a fit that goes on from any of its points."""

import jax.numpy as jnp
import pytest

from fer_jax.training import fit as fitting


class Counted(float):
    """A state that is its own trainable part: how many epochs were run."""

    @property
    def trainable(self):
        return self


def replay_sequence(values, stopping):
    """Runs `fit` on a fixed sequence of validation values: last epoch, epoch of the weights, whether stopped."""

    def train_epoch(state, epoch):
        value = values[int(state)]
        return Counted(state + 1), 0.0, 0.0, *((value, 0.0) if stopping.mode == "min" else (0.0, value))

    fitted = fitting.fit(jnp.zeros(()), train_epoch, stopping, len(values))
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
def test_early_stopping_equals_keras(reference, sequence, case, mode, patience, min_delta):
    r = reference("g_earlystop")
    last, best, final, stopped = r[case].tolist()
    keras = fitting.EarlyStopping(mode, patience, min_delta, restore="on_stop")
    assert replay_sequence(r[sequence], keras) == [last, final, stopped]
    ours = fitting.EarlyStopping(mode, patience, min_delta, restore="always")
    assert replay_sequence(r[sequence], ours) == [last, best, stopped]


@pytest.mark.parametrize("restore", ["always", "on_stop"])
@pytest.mark.parametrize(("sequence", "mode", "patience"), [("val_loss", "min", 5), ("val_acc", "max", 7)])
def test_a_fit_goes_on_from_any_epoch_as_if_it_had_not_stopped(reference, sequence, mode, patience, restore):
    values = reference("g_earlystop")[sequence]
    stopping = fitting.EarlyStopping(mode, patience, restore=restore)
    points = []

    def run(resume=None, keep=lambda point: None):
        return fitting.fit(
            Counted(0),
            lambda state, epoch: (Counted(state + 1), float(epoch), 0.0, values[int(state)], values[int(state)]),
            stopping,
            len(values),
            resume=resume,
            keep=keep,
        )

    whole = run(keep=points.append)
    assert len(points) in (len(whole.history) - 1, len(whole.history))
    for point in points:
        # Counted copies as an array; what comes back from a checkpoint is one of these.
        again = run(resume=point._replace(state=Counted(point.state), best=Counted(point.best)))
        assert float(again.state) == float(whole.state)
        assert again[1:] == whole[1:]


def test_a_loss_that_is_not_a_number_ends_the_fit_and_names_the_epoch():
    with pytest.raises(FloatingPointError, match="epoch 1: the validation loss is nan"):
        fitting.fit(
            jnp.zeros(()),
            lambda state, epoch: (Counted(state + 1), 0.0, 0.0, float("nan"), 0.0),
            fitting.EarlyStopping("max", 3),
            5,
        )
