"""Images on the host: the same batches, and bit for bit the same results as on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.data import residency
from fer_jax.phases import base as base_task
from fer_jax.phases import continual, trunk_cache
from fer_jax.training import encoding
from studies.chaos import arrays
from tests.support.digits import fold_of
from tests.support.worlds import PATIENT, RUNS, World, epoch, equal

ORDERS = {0: np.arange(6), 3: np.arange(6)[::-1]}
CONVOLUTIONS = {
    "model.name": "convnet", "model.widths": (4, 6), "continual.cut": "conv1", "joint.cut": "input",
    "gdumb.cut": "conv1", "continual.augment": True, "augment.flip": 0.5, "augment.rotation": 0.01,
}  # fmt: skip


def test_auto_is_the_device_where_a_share_of_its_memory_is_enough(monkeypatch):
    monkeypatch.setattr(residency, "_device_memory", lambda: 1000)
    fits = int(1000 * residency.SHARE)
    assert [residency.stays_on_host("auto", n) for n in (fits, fits + 1)] == [False, True]
    assert [residency.stays_on_host(choice, 10**9) for choice in ("device", "host")] == [False, True]


def test_the_memory_of_a_device_is_known():
    assert residency._device_memory() > 2**28


def test_batches_come_in_order_whatever_the_threads():
    array = np.arange(1000)[:, None] * np.ones((1, 3), np.int64)
    rows = np.random.default_rng(0).integers(0, 1000, (200, 2, 4))
    found = list(residency.stream(array, rows))
    assert len(found) == 200
    for batch, wanted in zip(found, rows, strict=True):
        np.testing.assert_array_equal(batch, array[wanted])


@pytest.mark.parametrize("n", [1, residency.CHUNK, 2 * residency.CHUNK + 3])
def test_chunks_are_put_together_in_order(n):
    array, sizes = np.arange(2000, dtype=np.float32), []

    def function(chunk, rows):
        np.testing.assert_array_equal(chunk, rows)
        sizes.append(len(chunk))
        return jnp.stack([chunk, rows], 1)

    rows = np.random.default_rng(0).permutation(2000)[:n]
    found = residency.in_chunks(function, array, rows)
    assert residency.on_host(found)
    np.testing.assert_array_equal(found, np.stack([rows, rows], 1))
    assert set(sizes) == {min(n, residency.CHUNK)}


@pytest.mark.parametrize("n", [40, 1100])
def test_encoding_passes_stream(n):
    world = World()
    images = np.random.default_rng(1).integers(0, 256, (1200, 8, 8, 3)).astype(np.uint8)
    index = np.random.default_rng(2).permutation(1200)[:n]
    found = []
    for there in (jnp.asarray(images), images):
        clean = encoding.encode(world.base, there, index, world.network, "conv1")
        view = encoding.encode_view(
            world.base, there[:n], jax.random.key(0), world.network, "conv1", world.recipe.augmentation
        )
        assert residency.on_host(clean) == residency.on_host(view) == residency.on_host(there)
        tails = [f(world.base, clean, world.network, "conv1") for f in (encoding.logits_from, encoding.features_from)]
        assert all(isinstance(one, jax.Array) for one in tails)
        found.append((np.asarray(clean), np.asarray(view), *tails))
    equal(*found)


@pytest.mark.parametrize("loop", ["host", "device"])
def test_an_epoch_reads_the_same_batches(loop):
    world = World()
    equal(epoch(world, world.images, loop), epoch(world, np.asarray(world.images), loop))


def test_runs_side_by_side_stream_as_threads():
    world = World()
    alone = [world.alone(run, PATIENT, 3) for run in range(RUNS)]
    world.images, world.validation = np.asarray(world.images), np.asarray(world.validation)
    equal([one.state for one in alone], [one.state for one in world.together(PATIENT, 3)])
    with pytest.raises(ValueError, match="streamed a run at a time: by is 'vmap'; it may be 'threads'"):
        world.together(PATIENT, 1, by="vmap")


# Compiled quickly, EWC's importance on the host and on the device differs in the last digit.
AS_USERS = (pytest.mark.slow, pytest.mark.alone)


@pytest.mark.parametrize(
    ("views", "at_once", "names"),
    [
        pytest.param(0, 1, ("derpp", "icarl", "ewc"), marks=AS_USERS),
        pytest.param(2, 2, ("icarl", "ewc", "kd_psmr"), marks=AS_USERS),
        pytest.param(2, 2, ("derpp",), marks=pytest.mark.slow),
    ],
)
def test_phases_end_with_the_same_models_memories_and_answers(views, at_once, names, tmp_path, monkeypatch):
    """Base task, increments with a replay memory and logits of it, exemplars chosen by features, evaluation."""
    found, sent, stream = [], set(), residency.stream

    def watched(array, rows):
        for batch in stream(array, rows):
            sent.add(batch.shape)
            yield batch

    monkeypatch.setattr(residency, "stream", watched)
    for where in ("device", "host"):
        changes = CONVOLUTIONS | {"feature_cache.views": views, "continual.side_by_side": at_once}
        given = fold_of(tmp_path / where / "checkpoints", **changes)
        if where == "host":
            given = dataclasses.replace(given, images=np.asarray(given.images))
        base, measured = base_task.run(given)
        measured.pop("seconds")
        steps = []
        for name in names:
            orders = continual.run_all(given, base, methods.METHODS[name], ORDERS)
            steps.append([{**step, "seconds": 0} for number in ORDERS for step in orders[number]])
        assert residency.on_host(trunk_cache.clean(given, base, given.config.continual.cut)) == (where == "host")
        assert any("views" in what for what in given.cache._made) == (views > 0)
        found.append((base, measured, steps, arrays(tmp_path / where)))
    if views:
        size, shape = (
            given.config.continual.batch_size,
            trunk_cache.views(given, base, given.config.continual.cut).shape[2:],
        )
        assert (size, 1, *shape) in sent, "the view that is drawn"
        assert (size, views, *shape) not in sent
    (base, *told, kept), (other_base, *other_told, other_kept) = found
    equal(base, other_base)
    assert told == other_told
    assert kept
    equal(kept, other_kept)
