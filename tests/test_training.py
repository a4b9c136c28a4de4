"""Early stopping against Keras' callback, and an epoch's properties on a network small enough to check."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods, training
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2


def replay_sequence(values, stopping):
    """Runs `fit` on a fixed sequence of validation values; the state counts its epochs."""

    def validate(state):
        value = values[int(state) - 1]
        return (value, 0.0) if stopping.mode == "min" else (0.0, value)

    fitted = training.fit(
        jnp.zeros(()),
        lambda state, epoch: (_Counted(state + 1), 0.0, 0.0),
        lambda trainable: validate(trainable),
        stopping,
        len(values),
    )
    return [len(fitted.history) - 1, int(fitted.state) - 1, int(fitted.stopped)]


class _Counted:
    """A state that stands for itself as its trainable part."""

    def __new__(cls, value):
        return _State(value)


class _State(float):
    @property
    def trainable(self):
        return self


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
    keras = training.EarlyStopping(mode, patience, min_delta, restore="on_stop")
    assert replay_sequence(r[sequence], keras) == [last, final, stopped]
    ours = training.EarlyStopping(mode, patience, min_delta, restore="always")
    assert replay_sequence(r[sequence], ours) == [last, best, stopped]
