"""An epoch's properties on a network small enough to check."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import objectives
from fer_jax.augment import Augmentation
from fer_jax.models.backbone import calibrate_batch_norm
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.training import epoch as epochs
from fer_jax.training.batch import Batch, ordered
from fer_jax.training.epoch import run_epoch, usual_loop
from fer_jax.training.scores import confusion, score
from fer_jax.training.source import Source
from fer_jax.training.step import Recipe

N, C = 40, 5


@pytest.fixture(scope="module")
def world():
    """A tiny network, images, a context of four known classes, and a recipe that trains from the middle."""
    network = Network(ResNetV2((1, 1, 1, 1), (2, 2, 3, 3), 4, 5), ExpressionHead((6,), C, 0.1))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (N, 32, 32, 3)).astype(np.uint8))
    labels = jnp.asarray((np.arange(N) % 4).astype(np.int32))
    params = network.init(jax.random.key(0), 32)
    backbone = calibrate_batch_norm(network.backbone, params["backbone"], images / 255.0)
    params = {**params, "backbone": backbone}
    known, teacher = jnp.arange(C) < 4, jnp.arange(C) < 3
    context = objectives.Context(known, teacher, teacher, jnp.float32(0.1), jnp.float32(3.0))
    recipe = Recipe(
        network, "conv4_block1", objectives.distilled_cross_entropy, 8, 1e-2, True, Augmentation(0.5, 0.01, 0.05, 0.05)
    )
    return params, Source(Batch(labels), images), context, recipe


def begun(world, recipe=None, context=None, source=None):
    """What an epoch begins with: its state, source and context."""
    params, given, usual, default = world
    state, frozen = (recipe or default).init(params)
    return state, source or given, (context or usual)._replace(frozen=frozen, teacher=params)


def epoch(world, pool, key=0, loop="auto", context=None, recipe=None):
    recipe = dataclasses.replace(recipe or world[3], loop=loop)
    state, source, context = begun(world, recipe, context)
    state, row = run_epoch(state, source, jnp.asarray(pool), context, jax.random.key(key), recipe)
    return merge(state.trainable, context.frozen), row


def equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_an_epoch_is_a_function_of_its_key(world):
    pool = np.arange(24, dtype=np.int32)
    first, again, other = epoch(world, pool), epoch(world, pool), epoch(world, pool, key=1)
    assert equal(first, again)
    assert not equal(first[0], other[0])


def test_the_device_loop_does_what_the_host_loop_does(world):
    pool = np.asarray([*range(20), *[-1] * 12], np.int32)
    host, device = (epoch(world, pool, loop=loop) for loop in ("host", "device"))
    np.testing.assert_allclose(*(list(one[1].values()) for one in (host, device)), rtol=1e-4)
    for a, b in zip(jax.tree.leaves(host[0]), jax.tree.leaves(device[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loop", ["host", "device"])
def test_a_loss_that_is_not_finite_names_its_step_and_images(world, loop):
    source, recipe = world[1], dataclasses.replace(world[3], loop=loop)
    # The loss of images of class 4, unknown to this context, is infinite.
    labels = source.facts.labels.at[17].set(4)
    pool = jnp.arange(24, dtype=jnp.int32)
    order, _ = ordered(jax.random.fold_in(jax.random.key(0), 0), pool, recipe.batch_size)
    at = int(np.flatnonzero(np.asarray(order) == 17)[0]) // recipe.batch_size
    batch = np.asarray(order)[at * recipe.batch_size :][: recipe.batch_size].tolist()
    state, source, context = begun(world, source=source.replace(facts=Batch(labels)))
    with pytest.raises(FloatingPointError, match=f"not finite at step {at} of 3, on images \\{batch}"):
        run_epoch(state, source, pool, context._replace(class_mask=jnp.arange(C) < 4), jax.random.key(0), recipe)


@pytest.mark.parametrize("paired", [False, True])
def test_the_host_waits_once_an_epoch(world, monkeypatch, paired):
    """For the figures at the end, those of validation among them; nothing on the way is read by the host."""
    recipe, pool = dataclasses.replace(world[3], paired=paired, loop="device"), jnp.arange(24, dtype=jnp.int32)
    pool, key = (pool, pool) if paired else pool, jax.random.key(0)
    facts = Batch(world[1].facts.labels, stored=jnp.zeros(N, bool) if paired else None)
    state, source, context = begun(world, recipe, source=world[1].replace(facts=facts))

    def validate(trainable):
        logits, _ = recipe.network.tail(merge(trainable, context.frozen), source.pictures / 255.0, "input")
        loss, accuracy = score(logits, facts.labels, jnp.ones(N, bool), context.class_mask)
        return {"val_loss": loss, "val_accuracy": accuracy}

    def one(state):
        return run_epoch(state, source, pool, context, key, recipe, validate)

    state, first = one(state)
    array, fetched, waits = type(key._base_array), jax.device_get, []
    value = array._value

    def read(self):
        waits.append("read")
        return value.fget(self)

    def counted(function):
        def call(*arguments, **named):
            if any(isinstance(leaf, array) for leaf in jax.tree.leaves(arguments)):
                waits.append(function.__name__)
            return function(*arguments, **named)

        return call

    def fetch(tree):
        with monkeypatch.context() as inside:
            inside.setattr(array, "_value", value)
            inside.setattr(np, "asarray", whole)
            waits.append("fetched")
            return fetched(tree)

    whole = np.asarray
    monkeypatch.setattr(array, "_value", property(read))
    for module, name in ((np, "asarray"), (np, "array"), (jax, "block_until_ready")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    monkeypatch.setattr(jax, "device_get", fetch)
    two = jnp.float32(1) + 1
    for ask in (float, int, bool, np.asarray, np.array, jax.block_until_ready):
        waits.clear()
        ask(two)
        assert waits, f"{ask.__name__} is seen"
    waits.clear()
    state, second = one(state)
    assert waits == ["fetched"]
    assert len(first) == len(second) == 4


def test_the_trunk_batch_norm_and_unknown_classes_do_not_change(world):
    params = world[0]
    trained, _ = epoch(world, np.arange(24, dtype=np.int32))
    network = world[3].network
    for layer, leaves in params["backbone"].items():
        frozen = equal(leaves, trained["backbone"][layer])
        assert frozen == (layer not in network.split(params, "conv4_block1")[0]["backbone"])
    before, after = params["head"]["logits"], trained["head"]["logits"]
    np.testing.assert_array_equal(before["kernel"][:, 4], after["kernel"][:, 4])
    assert before["bias"][4] == after["bias"][4]
    assert not np.array_equal(before["kernel"][:, 3], after["kernel"][:, 3])


def test_a_step_reads_its_pool_and_nothing_else(world):
    """What is not in the pool may be anything: the epoch comes out the same bit for bit."""
    params, source, context, recipe = world
    images, labels = source.pictures, source.facts.labels
    pool = np.asarray([3, 5, 8, 13, 21, 34, 1, 2, -1, -1], np.int32)
    outside = np.setdiff1d(np.arange(N), pool)
    spoilt = Source(Batch(labels.at[outside].set(4)), images.at[outside].set(255))
    assert equal(epoch(world, pool), epoch((params, spoilt, context, recipe), pool))


def test_the_last_partial_batch_is_dropped_and_a_small_pool_is_filled_up(world):
    for filled, steps in ((24, 3), (31, 3), (8, 1), (3, 1)):
        state, source, context = begun(world)
        pool = np.full(40, -1, np.int32)
        pool[:filled] = np.arange(filled)
        state, _ = run_epoch(state, source, jnp.asarray(pool), context, jax.random.key(0), world[3])
        assert int(state.opt_state.count) == steps
    # Three images fill a batch of eight in turn, each at least twice.
    order, n_steps = ordered(jax.random.key(0), jnp.asarray([4, 9, 2], jnp.int32), 8)
    assert int(n_steps) == 1
    assert sorted(np.bincount(np.asarray(order[:8]))[[2, 4, 9]]) == [2, 3, 3]


def test_a_batch_of_pairs_is_half_new_and_half_memory():
    new, memory = np.arange(10, 21), np.arange(100, 107)
    slots = [jnp.asarray([-1, *rows, -1, -1], jnp.int32) for rows in (new, memory)]
    order, n_steps = ordered(jax.random.key(0), tuple(slots), 8)
    assert int(n_steps) == 2  # eleven new images are two halves of four and a rest
    batches = np.asarray(order)[:16].reshape(2, 8)
    fresh, replayed = batches[:, :4].ravel(), batches[:, 4:].ravel()
    assert len(set(fresh)) == 8
    assert set(fresh) <= set(new)
    assert set(replayed[:7]) == set(memory), "all of the memory before any of it again"
    assert replayed[7] == replayed[0]
    assert not np.array_equal(order, ordered(jax.random.key(1), tuple(slots), 8)[0])

    # Three new images fill the half of one batch; without memory a batch is new, and nothing new is no epoch.
    def first(new, memory, size=8):
        pool = tuple(jnp.asarray([*rows, -1], jnp.int32) for rows in (new, memory))
        order, n_steps = ordered(jax.random.key(0), pool, size)
        return np.asarray(order)[: int(n_steps) * size].tolist()

    few = first([1, 2, 3], [7])
    assert (set(few[:4]), few[4:]) == ({1, 2, 3}, [7, 7, 7, 7])
    assert sorted(first(range(17), [])[:16]) == sorted(set(first(range(17), [])))
    assert len(first(range(17), [])) == 16
    assert first([], [7, 8]) == []
    odd = first([1, 2, 3, 4, 5, 6], [7, 8, 9], 5)
    assert (set(odd[:2] + odd[5:7] + odd[10:12]), set(odd[2:5])) == ({1, 2, 3, 4, 5, 6}, {7, 8, 9})


def test_a_new_image_is_new_though_the_memory_has_it(world):
    """Whether an example counts as stored goes by where it was read."""

    def loss(outputs, _):
        return jnp.where(outputs.stored, 1.0, 0.0) + 0 * outputs.logits.sum(-1)

    recipe = dataclasses.replace(world[3], paired=True, objective=objectives.Objective.of(loss), uses_teacher=False)
    facts = Batch(world[1].facts.labels, stored=jnp.arange(N) < 8)
    state, source, context = begun(world, recipe, source=world[1].replace(facts=facts))
    pool = (jnp.arange(4, 12, dtype=jnp.int32), jnp.arange(8, dtype=jnp.int32))
    _, row = run_epoch(state, source, pool, context, jax.random.key(0), recipe)
    mean = row["loss"]
    assert mean == 0.5


def test_increments_share_one_compilation(world):
    """Masks, weights, pools and their filling change; the program does not."""
    context = world[2]
    assert usual_loop(world[3], world[0], world[1]) == "device"
    epochs._looped_steps.clear_cache()
    for known in (3, 4, 5):
        mask = jnp.arange(C) < known
        changed = context._replace(class_mask=mask, gamma=jnp.float32(0.1 / known), distill_mask=mask)
        pool = np.full(40, -1, np.int32)
        pool[: 8 * known - 3] = np.resize(np.flatnonzero(np.asarray(world[1].facts.labels) < known), 8 * known - 3)
        epoch(world, pool, context=changed)
    assert epochs._looped_steps._cache_size() == 1


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere steps are always in a loop")
def test_what_trains_a_convolution_of_the_library_is_driven_from_the_host():
    network = Network(ResNetV2((1, 1, 1, 1), (8, 8, 8, 8), 8, 5), ExpressionHead((6,), C, 0.1))
    params = network.init(jax.random.key(0), 64)
    recipe = Recipe(network, "", objectives.cross_entropy, 8, 1e-2)
    cuts = ("input", "conv3_block1", "conv5_block1", "head")
    images = Source(Batch(jnp.zeros(1)), jnp.zeros((1, 64, 64, 3)))
    loops = [usual_loop(dataclasses.replace(recipe, cut=cut), params, images) for cut in cuts]
    assert loops == ["host", "host", "device", "device"]
    # Of cached views the shape is that of the cut's own tensor, behind their number.
    one = jax.eval_shape(lambda p, x: network.trunk(p, x, "conv5_block1"), params, images.pictures).shape[1:]
    cached, views = dataclasses.replace(recipe, cut="conv5_block1"), Source(None, jnp.zeros((1, 7, *one)), cached=True)
    assert usual_loop(cached, params, views) == "device"
    library = dataclasses.replace(network, backbone=network.backbone.clone(form="library"))
    assert usual_loop(dataclasses.replace(cached, network=library), params, views) == "host"


def test_the_state_is_donated_and_what_the_caller_holds_lives(world):
    params = world[0]
    before = jax.tree.map(np.asarray, params)
    epoch(world, np.arange(16, dtype=np.int32))
    assert equal(before, params)


def test_scores_and_confusion_by_hand():
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25, 9.0], [0.1, 0.8, 0.1, 9.0], [0.6, 0.3, 0.1, 9.0]]))
    labels, known = jnp.asarray([0, 1, 1]), jnp.asarray([True, True, True, False])
    include = jnp.asarray([True, True, False])
    loss, accuracy = score(logits, labels, include, known)
    np.testing.assert_allclose(loss, -(np.log(0.5) + np.log(0.8)) / 2, rtol=1e-5)
    assert float(accuracy) == 1.0
    counts = confusion(logits, labels, known)
    np.testing.assert_array_equal(counts, [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    # Images of classes that are not known yet are not counted.
    counts = confusion(logits, labels, jnp.asarray([True, False, True, False]))
    np.testing.assert_array_equal(counts.sum(), 1)
