"""Encodes images into the trunk's output, and that into logits and features, in batches and without training.

Images on the host are streamed through the device. The result returns to the host where it is as large as the input.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.data import residency
from fer_jax.models.network import Network
from fer_jax.objectives import Augmentation

Params = Any
Array = np.ndarray | jax.Array
BATCH = 64
assert residency.CHUNK % BATCH == 0


def encode(params: Params, images: Array, index: Array, network: Network, cut: str, mirrored: bool = False) -> Array:
    """Returns the trunk's output for images[index], not augmented, [len(index), ...]; where the images are.

    mirrored: left and right of the images change places.
    """
    if not residency.on_host(images):
        return _encode(params, images, index, network, cut, mirrored)

    def one(chunk, rows):
        return _encode(params, chunk, jnp.arange(len(rows)), network, cut, mirrored)

    return residency.in_chunks(one, images, np.asarray(index))


def encode_view(
    params: Params,
    images: Array,
    key: jax.Array,
    network: Network,
    cut: str,
    augmentation: Augmentation,
) -> Array:
    """Returns the trunk's output for an augmented view of every image u8[N, H, W, 3]; it is where the images are."""
    every = np.arange(len(images))
    if not residency.on_host(images):
        return _encode_view(params, images, every, every, key, network, cut, augmentation)

    def one(chunk, rows):
        return _encode_view(params, chunk, np.arange(len(rows)), rows, key, network, cut, augmentation)

    return residency.in_chunks(one, images, every)


def logits_from(params: Params, activations: Array, network: Network, cut: str) -> jax.Array:
    """Returns logits f32[N, C] of the trunk's output, without dropout."""
    return _through_tail(params, activations, network, cut, (0,))[0]


def features_from(params: Params, activations: Array, network: Network, cut: str) -> jax.Array:
    """Returns pooled backbone features f32[N, D] of the trunk's output."""
    return _through_tail(params, activations, network, cut, (1,))[0]


def logits_and_features(params: Params, activations: Array, network: Network, cut: str) -> tuple[jax.Array, jax.Array]:
    """Returns both of the trunk's output, through the tail once."""
    return _through_tail(params, activations, network, cut, (0, 1))


@functools.partial(jax.jit, static_argnames="network")
def head_logits(params: Params, features: jax.Array, network: Network) -> jax.Array:
    """Returns logits f32[N, C] of pooled features f32[N, D]."""
    return network.head_logits(params["head"], features)


def _through_tail(params: Params, activations: Array, network: Network, cut: str, which: tuple[int, ...]):
    if not residency.on_host(activations):
        return _tail(params, activations, network, cut, which)

    def one(chunk, _):
        return _tail(params, chunk, network, cut, which)

    found = residency.in_chunks(one, activations, np.arange(len(activations)))
    return jax.tree.map(jnp.asarray, found)


@functools.partial(jax.jit, static_argnames=("network", "cut", "mirrored"))
def _encode(params, images, index, network, cut, mirrored):
    def encode_batch(batch):
        pictures = images[batch].astype(jnp.float32) / 255.0
        return network.trunk(params, pictures[:, :, ::-1] if mirrored else pictures, cut)

    return _in_batches(encode_batch, index)


@functools.partial(jax.jit, static_argnames=("network", "cut", "augmentation"))
def _encode_view(params, images, index, positions, key, network, cut, augmentation):
    def encode_batch(batch):
        pictures = images[batch[:, 0]].astype(jnp.float32) / 255.0
        return network.trunk(params, augmentation(key, pictures, batch[:, 1]), cut)

    return _in_batches(encode_batch, jnp.stack([index, positions], 1))


@functools.partial(jax.jit, static_argnames=("network", "cut", "which"))
def _tail(params, activations, network, cut, which):
    def tail(batch):
        found = network.tail(params, batch, cut)
        return tuple(found[i] for i in which)

    return _in_batches(tail, activations)


def _in_batches(function: Callable, rows: jax.Array) -> jax.Array:
    n = rows.shape[0]
    batch_size = min(BATCH, n)
    padding = -n % batch_size
    padded = jnp.pad(rows, [(0, padding)] + [(0, 0)] * (rows.ndim - 1))
    batches = padded.reshape(-1, batch_size, *rows.shape[1:])
    out = jax.lax.map(function, batches)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], out)
