"""What generator and critic are told, by hand, codes and pictures in order, and a tiny run."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.training.batch import Batch
from studies.related import comp_gan, learning
from studies.related.common import Work
from studies.related.learning import Examples
from tests.support import related

GENERATOR, CRITIC = comp_gan.Generator(4), comp_gan.Critic(4, 3, 2)


def fresh():
    images, code = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 3))
    generator = GENERATOR.init(jax.random.key(0), images, code)["params"]
    return {"generator": generator, "critic": CRITIC.init(jax.random.key(1), images, code)["params"]}


def test_losses_of_networks_that_know_nothing():
    params = jax.tree.map(jnp.zeros_like, fresh())
    images = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3))
    batch = Batch(jnp.zeros(4, jnp.int32), jnp.arange(4) % 2, {"code": jnp.full((4, 3), 0.5)}, images=images)
    critic, generator = (jax.jit(loss) for _, loss in comp_gan.players(GENERATOR, CRITIC))
    told = comp_gan.CODE * 0.25 + comp_gan.PERSON * np.log(2)
    # Both sides of the hinge are 1; the generator makes every pixel half grey, twice on the way there and back.
    assert float(critic(params, batch, jax.random.key(0), 10.0)) == pytest.approx(2 + told, rel=1e-5)
    lost = 0.75 * float(jnp.abs(images - 0.5).mean())
    assert float(generator(params, batch, jax.random.key(0), 10.0)) == pytest.approx(told + 10 * lost, rel=1e-5)


def test_a_critic_is_told_of_made_pictures_and_of_wrong_codes():
    params = jax.tree.map(jnp.zeros_like, fresh())
    fits = params["critic"]["fits"]
    params["critic"]["fits"] = fits | {"bias": fits["bias"].at[0].set(3.0)}
    images, code = jnp.zeros((2, 16, 16, 3)), jnp.eye(3)[:2]
    score = CRITIC.apply({"params": params["critic"]}, images, code)[0]
    np.testing.assert_allclose(score.mean((1, 2, 3)), [3, -3])
    # With one code for all, a real picture, a made one and one with another one's code all have the score 3.
    batch = Batch(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32), {"code": code[jnp.zeros(2, int)]}, images=images)
    critic, _ = (jax.jit(loss) for _, loss in comp_gan.players(GENERATOR, CRITIC))
    told = comp_gan.CODE / 3 + comp_gan.PERSON * np.log(2)
    assert float(critic(params, batch, jax.random.key(0), 1.0)) == pytest.approx((4 + 4) / 2 + told, rel=1e-5)


def test_a_steep_critic_pays(monkeypatch):
    images, code = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3)), jnp.full((4, 3), 0.5)
    batch = Batch(jnp.zeros(4, jnp.int32), jnp.arange(4) % 2, {"code": code}, images=images)
    (_, critic), _ = comp_gan.players(GENERATOR, CRITIC)
    params, values = fresh(), []
    for weight in (0.0, 1.0):
        monkeypatch.setattr(comp_gan, "SLOPE", weight)
        values.append(float(jax.jit(lambda *given: critic(*given))(params, batch, jax.random.key(0), 1.0)))
    assert values[1] > values[0]


def test_the_way_back_is_paid_by_its_weight():
    params = fresh()
    images = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3))
    codes = jax.random.uniform(jax.random.key(2), (4, 3))
    batch = Batch(jnp.zeros(4, jnp.int32), jnp.arange(4) % 2, {"code": codes}, images=images)
    critic, generator = (jax.jit(loss) for _, loss in comp_gan.players(GENERATOR, CRITIC))
    values = [float(generator(params, batch, jax.random.key(0), weight)) for weight in (0.0, 1.0, 2.0)]
    assert values[1] > values[0]
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-3)
    assert critic(params, batch, jax.random.key(0), 0.0) == critic(params, batch, jax.random.key(0), 5.0)


def test_players_take_turns_and_learn(tmp_path):
    settings = types.SimpleNamespace(play=2, batch=4, rate=1e-3)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    codes = np.random.default_rng(1).uniform(size=(8, 3)).astype(np.float32)
    facts = Batch(jnp.zeros(8, jnp.int32), jnp.arange(8) % 2, {"code": jnp.asarray(codes)})
    start, pair = fresh(), comp_gan.players(GENERATOR, CRITIC)
    work = Work(0, settings, tmp_path)
    ended = learning.play(work, "game", pair, start, Examples(pictures, facts, 1), np.arange(8), 10.0)
    for name in ("generator", "critic"):
        moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (start[name], ended[name])), strict=True)]
        assert max(moved) < 0.01
        assert np.median(moved) > 1e-4
    again = learning.play(work, "game", (), start, Examples(pictures, facts, 1), np.arange(8))
    jax.tree.map(np.testing.assert_array_equal, ended, again)  # what was finished is read


def test_a_tiny_run(tmp_path):
    row = related.row(
        comp_gan.STUDY, tmp_path, people=2, pictures=1, support=4, sources=2, unseen=2, draws=1, channels=4, play=1,
        batch=4, fit=1,
    )  # fmt: skip
    assert set(row) == {f"{arm}: {shots}" for arm in comp_gan.ARMS for shots in ("1", "3", "all")}
