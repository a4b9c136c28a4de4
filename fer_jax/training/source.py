"""Reads the batches of a fit: images or cached views, on the device or streamed from the host.

A step receives a `Batch`, and does not know where it came from.
"""

import functools
from collections.abc import Iterator

import flax
import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.data import residency
from fer_jax.training import devices
from fer_jax.training.batch import Batch, take

Array = np.ndarray | jax.Array


@flax.struct.dataclass
class Source:
    """The data from which batches are made.

    facts: of all N images; they are small and on the device.
    pictures: u8[N, H, W, 3], or with `cached` the frozen trunk's output for V augmented views of each image,
      f32[N, V, ...]. A NumPy array stays on the host and is streamed.
    taught: f32[N, V, C], the teacher's logits of these views; None where the step computes them.
    """

    facts: Batch
    pictures: Array | None
    taught: jax.Array | None = None
    cached: bool = flax.struct.field(pytree_node=False, default=False)

    @property
    def streamed(self) -> bool:
        """True if the images are on the host."""
        return residency.on_host(self.pictures)


def read(source: Source, rows: jax.Array, places: jax.Array, key: jax.Array) -> Batch:
    """Returns the batch of a step.

    Args:
      rows: i32[B], its images among all.
      places: i32[B], where in the source's pictures they are: the same, unless these are streamed.
      key: of the step; it draws the view that is read of each image.
    """
    batch = take(source.facts, rows)
    if not source.cached:
        return batch._replace(images=source.pictures[places])
    n_views = (source.pictures if source.taught is None else source.taught).shape[1]
    drawn = drawn_views(key, len(rows), n_views)
    # Of streamed views only the one that is drawn has come.
    batch = batch._replace(activations=source.pictures[places, jnp.minimum(drawn, source.pictures.shape[1] - 1)])
    if source.taught is None:
        return batch
    return batch._replace(teacher_logits=source.taught[rows][jnp.arange(len(rows)), drawn])


def drawn_views(key: jax.Array, batch_size: int, n_views: int) -> jax.Array:
    """Draws a cached view of each image of a batch, i32[B]; `key` is the step's."""
    augment_key, _ = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, jnp.arange(batch_size))
    return jax.vmap(lambda k: jax.random.randint(k, (), 0, n_views))(keys)


@functools.partial(jax.jit, static_argnames=("n_steps", "batch_size", "n_views"))
def _views_of_epoch(key: jax.Array, n_steps: int, batch_size: int, n_views: int) -> jax.Array:
    """Returns the cached-view indices of every step, i32[n_steps, B]."""
    return jax.vmap(lambda step: drawn_views(jax.random.fold_in(key, step), batch_size, n_views))(jnp.arange(n_steps))


def stream(
    source: Source, order: jax.Array, n_steps: int, batch_size: int, key: jax.Array, n_devices: int
) -> tuple[Iterator[np.ndarray], jax.Array]:
    """Streams what the steps of an epoch read, gathered ahead by threads.

    Args:
      order: i32[L], of the epoch; `key` is its steps'.

    Returns:
      the pictures of one step after another, [B, ...], or [D, S, ...] with a share for each device of this
      process; and their places i32[L], as `read` takes them.
    """
    pictures = source.pictures
    batches = np.asarray(order)[: n_steps * batch_size].reshape(n_steps, batch_size)
    if source.cached:
        n_views, longest = pictures.shape[1], len(order) // batch_size
        views = _views_of_epoch(key, longest, batch_size, n_views)
        batches = batches * n_views + np.asarray(views)[:n_steps]
        pictures = pictures.reshape(-1, 1, *pictures.shape[2:])
    mine = devices.local_shares(batch_size, n_devices)
    places = np.resize(np.arange(batch_size, dtype=np.int32) % mine.shape[-1], order.shape)
    return residency.stream(pictures, batches[:, mine]), jnp.asarray(places)
