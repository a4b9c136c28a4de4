"""A method takes what the config has in the place of its own."""

import pathlib
import runpy

import pytest

from fer_jax import config as configs
from fer_jax import methods
from fer_jax.errors import UserError
from fer_jax.phases import base, part

QUICKSTART = pathlib.Path(__file__).parents[2] / "configs" / "quickstart.py"


@pytest.fixture
def config():
    return configs.complete(runpy.run_path(str(QUICKSTART))["get_config"]())


@pytest.mark.parametrize(
    ("balance", "weighted", "batches"),
    [("none", False, "shuffled"), ("weights", True, "shuffled"), ("sampler", False, "balanced")],
)
def test_balance_is_that_of_each_phase(config, balance, weighted, batches):
    config.continual.balance = balance
    found = part.effective(config, methods.METHODS["er"]).objective
    assert (found.weighted, found.batches) == (weighted, batches)
    assert base.objective_of(config) == base.objective_of(config).balanced("none")
    config.basic.balance = balance
    found = base.objective_of(config)
    assert (found.weighted, found.batches, set(found.penalties)) == (weighted, batches, {"l2"})
    configs.check(config)


def test_a_sampler_does_not_go_with_batches_of_another_kind(config):
    config.continual.balance = "sampler"
    with pytest.raises(UserError, match="half of each batch of er_paired is new images; with it it may be 'none' or"):
        part.effective(config, methods.METHODS["er_paired"])
    config.basic.update(balance="sampler", objective="subject_contrastive")
    with pytest.raises(UserError, match=r"config\.basic\.balance: 'sampler' does not go with the objective"):
        configs.check(config)
