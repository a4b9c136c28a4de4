"""A step by hand: views and mixed images, loss and gradient, and the same on any number of devices."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fer_jax import losses, objectives
from fer_jax.training import devices
from fer_jax.training import step as steps
from fer_jax.training.batch import Batch

N = 12


def seen(mixup: float, views: int = 1, n: int = N):
    """The views of images that are of one grey each, ten times their label; as steps make them."""
    labels = np.arange(n)
    images = np.broadcast_to((labels * 10 % 256).astype(np.uint8)[:, None, None, None], (n, 2, 2, 3))
    objective = objectives.OBJECTIVES["cross_entropy"].replace(mixup=mixup, views=views)
    recipe = steps.Recipe(None, "input", objective, n, 1e-3, n_devices=1)
    share = steps._Share(jnp.arange(n), n, recipe)
    return steps._seen(Batch(jnp.asarray(labels), images=jnp.asarray(images)), jax.random.key(0), share)


@pytest.mark.parametrize("views", [1, 2])
def test_a_mixed_image_is_its_share_of_its_own_and_the_rest_of_its_partner(views):
    batch, images, mixed = seen(0.3, views)
    labels, shares, partners = (np.asarray(one) for one in (batch.labels, *mixed))
    np.testing.assert_array_equal(labels, np.tile(np.arange(N), views))
    grey = (shares * labels + (1 - shares) * partners) * 10 / 255
    np.testing.assert_allclose(images, np.broadcast_to(grey[:, None, None, None], images.shape), rtol=1e-5)
    assert (shares >= 0.5).all()
    assert len(np.unique(shares)) == len(shares)
    for view in partners.reshape(views, N):
        np.testing.assert_array_equal(np.sort(view), np.arange(N))
    assert views == 1 or (partners[:N] != partners[N:]).any()


def test_shares_are_those_of_a_beta_distribution():
    """Beta(1, 1) is uniform, so that the larger share is on average three quarters."""
    shares = np.asarray(seen(1.0, n=4000)[2].shares)
    assert shares.mean() == pytest.approx(0.75, abs=0.01)
    assert (np.asarray(seen(0.1, n=4000)[2].shares) > 0.99).mean() > 0.5


def test_images_that_are_not_mixed_stay_as_they_are():
    batch, images, mixed = seen(0.0)
    np.testing.assert_allclose(images[:, 0, 0, 0], batch.labels * 10 / 255, rtol=1e-6)
    assert mixed == (None, None)


@pytest.mark.parametrize("views", [1, 2])
def test_twins_stand_for_a_share_of_the_views_after_the_first(views):
    n = 1000
    images, twins = (np.full((n, 2, 2, 3), grey, np.uint8) for grey in (51, 102))
    objective = objectives.OBJECTIVES["cross_entropy"].replace(twins=("twin", 0.8), views=views)
    assert objective.targets == ("twin",)
    facts = Batch(
        jnp.arange(n), images=jnp.asarray(images), targets={"twin": jnp.asarray(twins), "other": jnp.arange(n)}
    )
    share = steps._Share(jnp.arange(n), n, steps.Recipe(None, "input", objective, n, 1e-3, n_devices=1))
    key = jax.random.key(0)
    batch, seen, _ = steps._seen(facts, key, share)
    greys = np.asarray(seen).reshape(views, n, -1)
    # By a key that neither an image's augmentation nor mixing uses: those are numbered from 0 to n.
    own = jax.random.fold_in(jax.random.fold_in(key, 1) if views == 2 else key, n + 1)
    np.testing.assert_array_equal(np.isclose(greys[-1, :, 0], 0.4), jax.random.uniform(own, (n,)) < 0.8)
    assert ((greys == greys[..., :1]).all(-1)).all()
    assert views == 1 or np.allclose(greys[0], 0.2)
    assert np.mean(np.isclose(greys[-1, :, 0], 0.4)) == pytest.approx(0.8, abs=0.04)
    assert set(batch.targets) == {"other"}, "a term needs no pictures"
    with pytest.raises(ValueError, match=r"twins has the share 1\.5; it may be a number from 0 to 1"):
        objective.replace(twins=("twin", 1.5))


PIXELS, CLASSES = 2 * 2 * 3, 4
KNOWN = jnp.asarray([True, True, True, False])


class Linear:
    """Features are an image's pixels, and logits are linear in them; dropout keys shift the logits."""

    backbone = types.SimpleNamespace(feature_width=PIXELS)

    def trunk(self, params, images, cut):
        return images.reshape(len(images), -1)

    def tail(self, params, activations, cut, dropout_keys=None):
        logits = activations @ params["head"]["w"]
        if dropout_keys is not None:
            logits += jax.vmap(lambda key: jax.random.normal(key, (CLASSES,)))(dropout_keys)
        return logits, activations

    def split(self, params, cut):
        return params, {"backbone": {}}


def world(objective, n_devices: int = 1, n: int = 5, **settings):
    """State, batch, context and recipe of n examples, which do not divide into two or three."""
    keys = jax.random.split(jax.random.key(1), 3)
    images = jax.random.randint(keys[0], (n, 2, 2, 3), 0, 256).astype(jnp.uint8)
    batch = Batch(jnp.arange(n) % 3, jnp.arange(n) % 2, {"twin": images[::-1]}, images=images)
    recipe = steps.Recipe(Linear(), "input", objective, n, 0.5, n_devices=1, **settings)
    params = {"backbone": {}, "head": {"w": jax.random.normal(keys[1], (PIXELS, CLASSES))}}
    state, frozen = recipe.init(params, keys[2])
    teacher = {"head": {"w": -params["head"]["w"]}}
    context = objectives.Context.of_base(KNOWN)._replace(
        frozen=frozen, teacher=teacher, teacher_mask=jnp.asarray([True, True, False, False])
    )
    return state, batch, context, dataclasses.replace(recipe, n_devices=n_devices)


step = jax.jit(steps.step, static_argnums=4)


@pytest.fixture
def plain(monkeypatch):
    """Updates by the gradient, so that parameters tell it; Adam's first step is its sign."""
    monkeypatch.setattr(steps, "keras_adam", optax.sgd)


def size(trainable, context):
    return jnp.sum(jnp.square(trainable["head"]["w"])) / 8


def cross_entropy(o, c):
    return losses.cross_entropy(o.logits, o.labels, c.class_mask)


def test_loss_update_and_correct_answers_by_hand(plain):
    heads = {"units": (6, 2)}
    terms = {"ce": cross_entropy, "units": lambda o, c: o.heads["units"].sum(-1)}
    state, batch, context, recipe = world(objectives.Objective(terms, {"size": size}, heads=heads))
    key = jax.random.key(7)
    pixels = np.asarray(batch.images.reshape(5, -1) / 255.0)
    _, dropout = jax.random.split(key)
    shift = np.stack([jax.random.normal(jax.random.fold_in(dropout, i), (CLASSES,)) for i in range(5)])

    def by_hand(trainable):
        first, last = trainable["heads"]["units"]
        logits = pixels @ trainable["head"]["w"] + shift
        ce = -jax.nn.log_softmax(logits[:, :3])[jnp.arange(5), batch.labels]
        units = jax.nn.relu(pixels @ first["kernel"] + first["bias"]) @ last["kernel"] + last["bias"]
        return jnp.mean(ce + units.sum(-1)) + jnp.sum(trainable["head"]["w"] ** 2) / 8, logits

    assert not recipe.uses_teacher
    assert not recipe.paired
    assert [layer["kernel"].shape for layer in state.trainable["heads"]["units"]] == [(PIXELS, 6), (6, 2)]
    # Biases that are not 0, so that one with the wrong sign is seen.
    state = state._replace(trainable=jax.tree.map(lambda leaf: leaf + 0.1, state.trainable))
    (loss, logits), gradient = jax.value_and_grad(by_hand, has_aux=True)(state.trainable)
    for rate, given in ((0.5, None), (0.25, jnp.float32(0.25))):
        found, measured = step(state, batch, context._replace(learning_rate=given), key, recipe)
        expected = jax.tree.map(lambda leaf, g, rate=rate: leaf - rate * g, state.trainable, gradient)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found.trainable, expected)
        assert float(measured.loss) == pytest.approx(float(loss), rel=1e-5)
        assert int(measured.correct) == int((logits[:, :3].argmax(1) == batch.labels).sum())


def test_the_teacher_answers_the_same_views_and_lacks_its_unknown_classes(plain):
    seen = []

    def told(o, c):
        seen.append(o.teacher_logits)
        return jnp.zeros(len(o.labels))

    state, batch, context, recipe = world(told, uses_teacher=True)
    steps.step(state, batch, context, jax.random.key(0), recipe)
    pixels = batch.images.reshape(5, -1) / 255.0
    answers = jnp.where(context.teacher_mask, pixels @ context.teacher["head"]["w"], 0.0)
    recorded = batch._replace(teacher_logits=jnp.full((5, CLASSES), 7.0))
    steps.step(state, recorded, context, jax.random.key(0), recipe)
    steps.step(state, batch, context, jax.random.key(0), dataclasses.replace(recipe, uses_teacher=False))
    np.testing.assert_allclose(seen[0], answers, rtol=1e-5)
    np.testing.assert_array_equal(seen[1], [[7.0, 7.0, 0.0, 0.0]] * 5)
    np.testing.assert_array_equal(seen[2], np.zeros((5, CLASSES)))


def test_views_are_made_by_keys_of_their_own_and_count_alike(plain):
    asked = []

    def doubled(key, images, positions):
        asked.append(key)
        return 2 * images

    brightness = objectives.Objective({"sum": lambda o, c: o.features.sum(-1)}, views=2)
    state, batch, context, recipe = world(brightness, augmentation=doubled)
    key = jax.random.key(4)
    mean = float((batch.images / 255.0).sum((1, 2, 3)).mean())
    assert float(steps.step(state, batch, context, key, recipe)[1].loss) == pytest.approx(2 * mean, rel=1e-5)
    own, _ = jax.random.split(key)
    assert asked == [own, jax.random.fold_in(own, 1)]
    # The objective's own augmentation takes the place of the config's.
    recipe = dataclasses.replace(recipe, objective=brightness.replace(augmentation=lambda key, x, _: 3 * x))
    assert float(steps.step(state, batch, context, key, recipe)[1].loss) == pytest.approx(3 * mean, rel=1e-5)
    assert len(asked) == 2


def contrast(o, c):
    return losses.supervised_contrastive(o.features, o.labels, o.subjects, 1.0) * (1.0 + o.examples)


def noise(key, images, positions):
    own = jax.vmap(jax.random.fold_in, (None, 0))(key, positions)
    return images + jax.vmap(lambda one: jax.random.uniform(one, images.shape[1:]))(own)


@pytest.mark.parametrize(("n_devices", "views", "mixup", "twins"), [(2, 2, 0.3, 0.5), (3, 1, 0.0, 0.0)])
def test_a_step_is_the_same_on_any_number_of_devices(plain, n_devices, views, mixup, twins):
    """Here an axis of vmap stands for the devices."""
    terms = {"ce": cross_entropy, "contrast": objectives.Term(contrast, whole_batch=True)}
    objective = objectives.Objective(terms, {"size": size}, views=views, mixup=mixup, twins=("twin", twins))
    state, batch, context, recipe = world(objective, n_devices, augmentation=noise, uses_teacher=True)
    key, one = jax.random.key(2), dataclasses.replace(recipe, n_devices=1)
    alone, measured = step(state, batch, context, key, one)
    spread = jax.vmap(lambda _: step(state, batch, context, key, recipe), axis_name=devices.AXIS, axis_size=n_devices)
    together, among = spread(jnp.arange(n_devices))
    for device in range(n_devices):
        mine = jax.tree.map(lambda leaf, device=device: leaf[device], (together.trainable, among))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mine, (alone.trainable, measured)
        )
    assert measured.loss != step(state, batch, context, jax.random.key(3), one)[1].loss
