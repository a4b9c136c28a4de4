"""Inhibition by hand, what is trained, populations with expressions of their own, and tiny runs, of files too."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.models.network import Network
from studies.related import ciao, learning
from studies.related.common import Work
from tests.support import related


@pytest.mark.parametrize(("arm", "wanted"), [(ciao.CIAO, 3 / 2.5), (ciao.ADDED, 5), (ciao.TUNED, 2)])
def test_a_last_layer_by_hand(arm, wanted):
    layer = ciao.Last(1, 1, 1, arm)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(2.0)
    params = {"own": {"kernel": kernel, "bias": jnp.zeros(1)}}
    # x = 1 is doubled by the layer's own convolution; the encoder made 3 of it.
    found = layer.apply({"params": params}, jnp.asarray([[1.0, 3.0]]))
    np.testing.assert_allclose(found, [[wanted]], rtol=1e-6)


def test_one_convolution_is_trained_and_starts_near_the_encoder():
    work = Work(0, types.SimpleNamespace(widths=(4, 4), last=5), None)
    net = ciao.encoder(work)
    base = learning.starting(work, net, np.zeros((4, 32, 32, 3), np.uint8))
    assert net.backbone.layer_cut("last_conv") == "post_relu"
    assert net.trunk(base, jnp.zeros((1, 32, 32, 3)), "excited").shape[-1] == 5
    maps = jax.random.uniform(jax.random.key(0), (2, 3, 3, 16))
    excited = net.backbone.apply({"params": base["backbone"]}, maps, start="post_relu", stop="excited")
    flat = jnp.concatenate([maps, excited], -1).reshape(2, -1)
    sizes = set()
    for arm in (ciao.CIAO, ciao.ADDED, ciao.TUNED):
        last = Network(ciao.Last(3, 16, 5, arm), net.head)
        params = ciao.beginning(work, last, base)
        trainable, frozen = last.split(params, "input")
        assert not frozen["backbone"]
        sizes.add(sum(leaf.size for leaf in jax.tree.leaves(trainable["backbone"])))
        found = last.backbone.apply({"params": params["backbone"]}, flat)
        near = excited.max((1, 2)) * (2 if arm == ciao.CIAO else 1)
        np.testing.assert_allclose(found, near, rtol=0 if arm == ciao.TUNED else 0.5, atol=0.3 * float(near.max()))
    assert len(sizes) == 1


def test_populations_have_expressions_of_their_own():
    work = Work(0, types.SimpleNamespace(), None)
    units = []
    for number in (0, *ciao.POPULATIONS):
        which, examples = ciao.population(work, number, 5, 24)
        happy = np.asarray(examples.facts.targets["action_units"])[which[:, 1] == 0] > 0
        units.append(happy.all(0))  # what all of them show
    assert not any((one == units[0]).all() for one in units[1:])
    assert (units[1] != units[2]).any()


def test_a_tiny_run(tmp_path):
    related.row(ciao.STUDY, tmp_path, people=2, adapted=2, batch=16, adapt=1, fit=1)


def test_files_take_the_place_of_rendered_faces(tmp_path):
    config = related.config_of_files(tmp_path, (0, 1, 4), people=6, pictures=1)
    row = related.row(ciao.STUDY, tmp_path / "runs", config=config, people=2, batch=8, adapt=1, fit=1)
    assert set(row) == set(ciao.ARMS)
