"""Signals: the first is answered where everything can be saved, the second at once."""

import os
import signal

import pytest

from fer_jax.errors import Interrupted
from fer_jax.runs.interruption import SIGNALS, Interruption


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_the_first_signal_waits_and_the_second_does_not(number, code):
    with Interruption().listening() as interruption, interruption.deferred():
        assert not interruption.requested()
        os.kill(os.getpid(), number)
        assert interruption.requested()
        with pytest.raises(Interrupted, match=f"{number.name}; everything is saved") as ended:
            interruption.end()
        assert ended.value.exit_code == code
        with pytest.raises(Interrupted, match="from the last save"):
            os.kill(os.getpid(), number)


def test_outside_training_the_first_signal_ends_at_once():
    with Interruption().listening(), pytest.raises(Interrupted, match="from the last save"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption().listening():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
