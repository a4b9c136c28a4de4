"""Grad-CAM, and checks of its maps: overlap, sanity and faithfulness.

Pure functions of parameters and arrays. A map is computed at one of the backbone's cuts (a layer here), for any class.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.errors import UserError
from fer_jax.models.head import masked_probabilities
from fer_jax.models.layers import BATCH_STATISTICS
from fer_jax.models.network import Network

Params = Any
VARIANTS = ("guided", "plain")
LEAST_SIDE = 7  # of the paper's maps: the last ReLU of ResNet50V2 at 224 pixels


@functools.partial(jax.jit, static_argnames=("network", "layer"))
def gradients(
    params: Params, images: jax.Array, classes: jax.Array, network: Network, layer: str
) -> tuple[jax.Array, jax.Array]:
    """Computes a layer's activations, and the gradient by them of each image's logit of its class.

    Args:
      images: f32[B, H, W, 3] in [0, 1].
      classes: i32[B], any class that the head has.
      layer: one of `map_layers`.

    Returns:
      activations and gradients, both f32[B, h, w, D].
    """
    as_map, activations = network.backbone.as_map, network.trunk(params, images, layer)

    def total(activations: jax.Array) -> jax.Array:
        logits, _ = network.tail(params, activations, layer)
        # Images do not see each other, so the gradient of the sum has each one's own.
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    return as_map(activations), as_map(jax.grad(total)(activations))


def channel_weights(activations: jax.Array, gradients: jax.Array, variant: str = "guided") -> jax.Array:
    """Computes the weight of each channel for the class, f32[B, D], from two f32[B, h, w, D].

    plain: the gradient's mean (Selvaraju et al., ICCV 2017, equation 1). guided: its mean where it and the activation
    are positive, 0 counted elsewhere, as the published code of arXiv 2308.06197 has it.

    Raises:
      ValueError: no such variant.

    >>> activations, gradients = jnp.array([[[[1.0], [2.0]]]]), jnp.array([[[[4.0], [-2.0]]]])
    >>> [channel_weights(activations, gradients, variant).tolist() for variant in VARIANTS]
    [[[2.0]], [[1.0]]]
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; it may be one of {', '.join(VARIANTS)}")
    if variant == "guided":
        gradients = jnp.where((activations > 0) & (gradients > 0), gradients, 0.0)
    return gradients.mean((1, 2))


def class_map(activations: jax.Array, gradients: jax.Array, variant: str = "guided") -> jax.Array:
    """Sums activations by `channel_weights`, f32[B, h, w]; the plain variant clips them at 0 (equation 2).

    Raises:
      ValueError: no such variant.
    """
    weights = channel_weights(activations, gradients, variant)
    maps = jnp.einsum("bhwd,bd->bhw", activations, weights)
    return jax.nn.relu(maps) if variant == "plain" else maps


def heat_map(maps: jax.Array, size: int) -> jax.Array:
    """Scales maps f32[B, h, w] bilinearly to f32[B, size, size], each stretched to [0, 1]; a constant map becomes 0.

    >>> heat_map(jnp.array([[[2.0, 4.0], [2.0, 4.0]]]), 2).tolist()
    [[[0.0, 1.0], [0.0, 1.0]]]
    """
    scaled = jax.image.resize(maps, (maps.shape[0], size, size), "bilinear")
    low, high = scaled.min((1, 2), keepdims=True), scaled.max((1, 2), keepdims=True)
    return jnp.where(high > low, (scaled - low) / jnp.where(high > low, high - low, 1.0), 0.0)


@functools.partial(jax.jit, static_argnames=("network", "layer", "variant"))
def grad_cam(
    params: Params, images: jax.Array, classes: jax.Array, network: Network, layer: str, variant: str = "guided"
) -> jax.Array:
    """Computes heat maps f32[B, H, W] in [0, 1] of images f32[B, H, W, 3] in [0, 1] for classes i32[B].

    Args:
      layer: one of `map_layers`; `default_layer` chooses.
      variant: "guided" (the paper's) or "plain"; see `channel_weights`.

    Raises:
      ValueError: no such layer or variant.
    """
    if layer not in map_layers(network):
        raise ValueError(f"layer is {layer!r}; it may be one of {', '.join(map_layers(network))}")
    return heat_map(class_map(*gradients(params, images, classes, network, layer), variant), images.shape[1])


def quantise(maps: jax.Array) -> np.ndarray:
    """Converts heat maps in [0, 1] to bytes, rounded down as the published code does; u8, same shape.

    >>> quantise(jnp.array([0.0, 0.5, 1.0])).tolist()
    [0, 127, 255]
    """
    return np.asarray(255 * maps).astype(np.uint8)


def map_layers(network: Network) -> tuple[str, ...]:
    """Returns the layers that Grad-CAM can use, cuts of the backbone."""
    return network.backbone.map_cuts


def shapes(network: Network, image_size: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of an image's map at each of `map_layers`, (h, w, D); of another length where it is no map."""

    def of(params: Params, image: jax.Array) -> dict[str, jax.Array]:
        layers = map_layers(network)
        return {layer: network.backbone.as_map(network.trunk(params, image, layer)) for layer in layers}

    params = jax.eval_shape(lambda: network.init(jax.random.key(0), image_size))
    found = jax.eval_shape(of, params, jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32))
    return {layer: found[layer].shape[1:] for layer in map_layers(network)}


@functools.cache
def default_layer(network: Network, image_size: int) -> str:
    """Returns the last layer whose map has at least LEAST_SIDE rows; if none has, the last with the most.

    At 224 pixels ResNet50V2's is the paper's own, the last ReLU. A small network on small images ends in 2 × 2, which
    tells left from right and no more.

    Raises:
      UserError: no layer has a map of the image, as in a perceptron.
    """
    _, *below = shapes(network, image_size).items()
    sides = {layer: min(shape[:2]) for layer, shape in below if len(shape) == 3}
    if not sides:
        raise UserError("the network keeps no map of the image, so Grad-CAM cannot look at it")
    enough = min(LEAST_SIDE, max(sides.values()))
    return [layer for layer, side in sides.items() if side >= enough][-1]


def overlap(a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes the overlap of two maps f32[..., H, W], f32[...]: the intersection of both as distributions.

    `sum min(a / sum a, b / sum b)` (Swain and Ballard, IJCV 1991): 1 for the same map, 0 for maps that are nowhere
    positive together; it does not change with the scale of either.

    >>> float(overlap(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 3.0]])))
    0.75
    """
    a, b = (x / jnp.maximum(x.sum((-2, -1), keepdims=True), 1e-12) for x in (a, b))
    return jnp.minimum(a, b).sum((-2, -1))


def softmax_at(logits: jax.Array, class_mask: jax.Array, temperatures: tuple[float, ...] = (1, 2, 5, 10)) -> jax.Array:
    """Computes probabilities over the known classes bool[C] of logits f32[B, C] / T, f32[len(temperatures), B, C].

    >>> softmax_at(jnp.array([[0.0, 0.0, 9.0]]), jnp.array([True, True, False]), (1,)).tolist()
    [[[0.5, 0.5, 0.0]]]
    """
    return jnp.stack([masked_probabilities(logits / t, class_mask) for t in temperatures])


def cascade(params: Params, network: Network, seed: int = 0) -> Iterator[tuple[str, Params]]:
    """Yields parameters with more and more layers randomised, from the head down to the input.

    The check of Adebayo et al. (NeurIPS 2018): a map that stays as it was does not depend on what was learned. A layer
    is randomised by shuffling each of its arrays: learned structure goes, the scale of activations stays.
    Batch statistics, which the method does not learn, are left.

    Yields:
      the part that was randomised last ("head", then cuts), and the parameters from there up randomised.
    """
    generator = np.random.default_rng(seed)

    def shuffled(leaves: Params) -> Params:
        return jax.tree.map(lambda leaf: jnp.asarray(_permuted(generator, np.asarray(leaf))), leaves)

    backbone, head = dict(params["backbone"]), shuffled(params["head"])
    yield "head", {"backbone": dict(backbone), "head": head}
    learned = {layer: leaves for layer, leaves in backbone.items() if set(leaves) != set(BATCH_STATISTICS)}
    for cut in reversed(network.backbone.cuts):
        layers = [layer for layer in learned if network.backbone.layer_cut(layer) == cut]
        for layer in layers:
            backbone[layer] = shuffled(backbone[layer])
        if layers:
            yield cut, {"backbone": dict(backbone), "head": head}


def _permuted(generator: np.random.Generator, array: np.ndarray) -> np.ndarray:
    return generator.permutation(array.ravel()).reshape(array.shape)


def sanity(
    params: Params, images: jax.Array, classes: jax.Array, network: Network, layer: str, variant: str, shuffles: int = 8
) -> np.ndarray:
    """Measures how far maps stay as they are when the head is randomised, by the first step of `cascade`.

    Args:
      images: f32[B, H, W, 3] in [0, 1].
      classes: i32[B].
      shuffles: of how many randomised heads the mean is taken.

    Returns:
      the rank correlation with the map as it is, f64[B]: 0 is right, and near 1 the map does not show what was learned
      of the class. NaN where all of the compared maps are constant.
    """

    def of(params: Params) -> np.ndarray:
        return np.asarray(class_map(*gradients(params, images, classes, network, layer), variant))

    own = of(params)
    found = [rank_correlation(own, of(next(cascade(params, network, seed))[1])) for seed in range(shuffles)]
    there = ~np.isnan(found)
    total = np.where(there, found, 0).sum(0)
    return np.divide(total, there.sum(0), out=np.full(len(own), np.nan), where=there.any(0))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes Spearman's correlation of maps f[B, h, w] with maps f[B, h, w], f64[B]; NaN if either is constant.

    A constant map has no ranks: neither does it stay as the other is, nor does it change.

    >>> rank_correlation(np.array([[[1, 2, 3]], [[1, 2, 3]]]), np.array([[[9, 5, 1]], [[0, 0, 0]]])).tolist()
    [-1.0, nan]
    """
    from scipy import stats  # half a second

    ranks = [stats.rankdata(np.asarray(x).reshape(len(x), -1), axis=1) for x in (a, b)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), scale, out=np.full(len(a), np.nan), where=scale > 0)


@functools.partial(jax.jit, static_argnames=("network", "steps"))
def deletion_insertion(
    params: Params,
    images: jax.Array,
    classes: jax.Array,
    maps: jax.Array,
    class_mask: jax.Array,
    network: Network,
    steps: int = 16,
) -> tuple[jax.Array, jax.Array]:
    """Measures whether the answer depends on what a map marks (RISE; Petsiuk et al., BMVC 2018).

    Deletion turns an image's pixels to its mean colour, those that the map marks most first; insertion brings them
    back into the blurred image. Both follow the probability of the class, and score the area under it.

    Args:
      images: f32[B, H, W, 3] in [0, 1].
      classes: i32[B].
      maps: f32[B, H, W], higher is more important; ties are broken by position.
      class_mask: bool[C], the known classes.
      steps: in how many equal parts pixels are changed.

    Returns:
      deletion f32[B], lower is better, and insertion f32[B], higher is better, both in [0, 1].
    """
    n, height, width, _ = images.shape
    rank = jnp.argsort(jnp.argsort(-maps.reshape(n, -1), axis=1), axis=1).reshape(n, height, width, 1)
    mean, blurred = images.mean((1, 2), keepdims=True), blur(images)

    def probability(images: jax.Array) -> jax.Array:
        logits, _ = network.tail(params, network.trunk(params, images, "head"), "head")
        return jnp.take_along_axis(masked_probabilities(logits, class_mask), classes[:, None], axis=1)[:, 0]

    def at(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        marked = rank < step * (height * width) / steps
        return probability(jnp.where(marked, mean, images)), probability(jnp.where(marked, images, blurred))

    deleted, inserted = jax.lax.map(at, jnp.arange(steps + 1))
    return tuple(jnp.trapezoid(curve, dx=1 / steps, axis=0) for curve in (deleted, inserted))


def blur(images: jax.Array) -> jax.Array:
    """Blurs images f32[B, H, W, 3] by a Gaussian of an eighth of their side, weights renormalised at the edges."""

    def kernel(size: int) -> jax.Array:
        at = jnp.arange(size)
        weights = jnp.exp(-0.5 * ((at[:, None] - at) / (size / 8)) ** 2)
        return weights / weights.sum(1, keepdims=True)

    return jnp.einsum("ih,jw,bhwc->bijc", kernel(images.shape[1]), kernel(images.shape[2]), images)
