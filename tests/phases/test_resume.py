"""A search and few-shot draws go on inside: a signal or a kill at any epoch changes nothing of what they find."""

import dataclasses

import jax
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.errors import Interrupted
from fer_jax.phases import base as base_task
from fer_jax.phases import continual, few_shot
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.interruption import Interruption
from studies.chaos import arrays, without_times
from tests.support.digits import fold_of
from tests.support.epochs import Cut, counted

SEARCH = {"protocol.name": "held_out", "search.learning_rates": (1e-3, 1e-2), "search.increments": 2}
SHOTS = {"few_shot.shots": (1, 0), "few_shot.draws": 2, "few_shot.max_epochs": 3, "few_shot.patience": 3,
         "few_shot.batch_size": 4, "few_shot.exemplars": 2, "few_shot.selection": "seen", "data.n_base": 8}  # fmt: skip


def searched(given, base):
    return continual.search(given, base, methods.METHODS["er"], 0, np.arange(6))


def shot(given, base):
    return [{**row, "seconds": 0} for row in few_shot.run(given, base)]


def timeless(found):
    """Without seconds; what a search finds is a tuple."""
    return without_times(list(found) if isinstance(found, tuple) else found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By phase its function, changes of the config, base model, findings, arrays and number of epochs."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, phase, changes in (("search", searched, SEARCH), ("few_shot", shot, SHOTS)):
            folder = tmp_path_factory.mktemp(name)
            base = base_task.run(fold_of(folder / "base", **changes))[0]
            epochs = counted(patch)
            given = fold_of(folder / "checkpoints", **changes)
            found[name] = phase, changes, base, phase(given, base), arrays(folder), len(epochs)
            patch.undo()
    return found


@pytest.mark.parametrize("name", ["search", "few_shot"])
@pytest.mark.parametrize(("how", "place"), [("signal", 0.4), ("kill", 0.7)])
def test_a_phase_ended_inside_goes_on_there(whole, tmp_path, monkeypatch, name, how, place):
    phase, changes, base, expected, kept, n_epochs = whole[name]
    at, interruption = round(place * n_epochs), Interruption()

    def cut():
        if how == "kill":
            raise Cut
        interruption._handle(15, None)

    # A signal alone is reason enough to save; before a kill every epoch was.
    saving = Saving(3600.0 if how == "signal" else 0.0, interruption)
    given = dataclasses.replace(fold_of(tmp_path / "checkpoints", **changes), saving=saving)
    with monkeypatch.context() as patch:
        before = counted(patch, at, cut)
        with interruption.deferred(), pytest.raises((Interrupted, Cut)) as ended:
            phase(given, base)
    if how == "signal":
        assert "everything is saved" in str(ended.value)
    # The epoch at hand is the last one.
    assert len(before) == at + (how == "signal")
    with monkeypatch.context() as patch:
        after = counted(patch)
        assert timeless(phase(fold_of(tmp_path / "checkpoints", **changes), base)) == timeless(expected)
    assert len(before) + len(after) == n_epochs
    jax.tree.map(np.testing.assert_array_equal, arrays(tmp_path), kept)
