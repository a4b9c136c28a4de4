"""Augmentation on the device: flip, rotation, zoom and translation of a batch, as Keras' layers do them.

Bilinear, with symmetric reflection at the borders. Zoom and translation move rows and columns apart from each other,
so together they are one small matrix product an axis; only the rotation has to gather.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The paper's augmentation as a value; calling it is `augment`.

    A user's own augmentation is a function of the same arguments.
    """

    flip: float = 0.5
    rotation: float = 0.01
    zoom: float = 0.05
    translation: float = 0.05

    def __call__(self, key: jax.Array, images: jax.Array, positions: jax.Array | None = None) -> jax.Array:
        """Augments images f32[B, H, W, 3] in [0, 1] at positions i32[B] of the whole batch."""
        return augment(key, images, self.flip, self.rotation, self.zoom, self.translation, positions)


def augment(
    key: jax.Array,
    images: jax.Array,
    flip: float = 0.5,
    rotation: float = 0.01,
    zoom: float = 0.05,
    translation: float = 0.05,
    positions: jax.Array | None = None,
) -> jax.Array:
    """Flips, rotates, zooms and translates every image by its own random draws, in this order (arXiv 2308.06197).

    Args:
      key: a PRNG key; the draws of the image at position b of the batch come from `fold_in(key, b)`, so they do not
        change with the batch size.
      images: f32[B, H, W, 3].
      flip: probability of a horizontal flip.
      rotation: the angle is U(-rotation, rotation) turns.
      zoom: height and width are scaled apart from each other, output to input, by U(1 - zoom, 1 + zoom).
      translation: shifts are U(-translation, translation) of height and width.
      positions: i32[B], where in the whole batch the images stand; counted from 0 unless given.

    Returns:
      f32[B, H, W, 3].
    """
    n, height, width, _ = images.shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n) if positions is None else positions)
    uniform = jax.vmap(lambda k: jax.random.uniform(k, (6,)))(keys)
    signed = 2 * uniform[:, 1:] - 1
    images = flip_horizontally(images, uniform[:, 0] < flip)
    images = rotate(images, signed[:, 0] * rotation * 2 * jnp.pi)
    scales = 1 + zoom * signed[:, 1:3]
    shifts = translation * signed[:, 3:5] * jnp.asarray([height, width])
    rows, columns = (
        translation_matrix(shifts[:, a], size) @ zoom_matrix(scales[:, a], size)
        for a, size in enumerate((height, width))
    )
    return _resample(images, rows, columns)


def flip_horizontally(images: jax.Array, where: jax.Array) -> jax.Array:
    """Flips the images of f32[B, H, W, 3] that bool[B] marks."""
    return jnp.where(where[:, None, None, None], images[:, :, ::-1], images)


def zoom(images: jax.Array, scale: jax.Array) -> jax.Array:
    """Zooms f32[B, H, W, 3] about the centre by scale f32[B, 2] (height, width), output to input: > 1 zooms out."""
    return _resample(images, zoom_matrix(scale[:, 0], images.shape[1]), zoom_matrix(scale[:, 1], images.shape[2]))


def translate(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Moves f32[B, H, W, 3] by shift f32[B, 2] pixels (down, right)."""
    return _resample(
        images,
        translation_matrix(shift[:, 0], images.shape[1]),
        translation_matrix(shift[:, 1], images.shape[2]),
    )


def rotate(images: jax.Array, angle: jax.Array) -> jax.Array:
    """Rotates f32[B, H, W, 3] about the centre by angle f32[B] radians."""
    _, height, width, channels = images.shape
    y, x = jnp.meshgrid(jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij")
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    source_y = _reflect(sin * x + cos * y + (height - 1) / 2, height)
    source_x = _reflect(cos * x - sin * y + (width - 1) / 2, width)
    top = jnp.minimum(jnp.floor(source_y).astype(jnp.int32), height - 2)
    left = jnp.minimum(jnp.floor(source_x).astype(jnp.int32), width - 2)
    down, right = (source_y - top)[..., None], (source_x - left)[..., None]
    flat = images.reshape(images.shape[0], -1, channels)
    corner = (top * width + left).reshape(images.shape[0], -1, 1)

    def tap(offset: int) -> jax.Array:
        return jnp.take_along_axis(flat, corner + offset, axis=1, mode="clip").reshape(images.shape)

    above = tap(0) * (1 - right) + tap(1) * right
    below = tap(width) * (1 - right) + tap(width + 1) * right
    return above * (1 - down) + below * down


def zoom_matrix(scale: jax.Array, size: int) -> jax.Array:
    """Computes the interpolation f32[B, size, size], output by input, of a zoom about the centre by f32[B]."""
    centre = (size - 1) / 2
    return _interpolation(scale[:, None] * (jnp.arange(size) - centre) + centre, size)


def translation_matrix(shift: jax.Array, size: int) -> jax.Array:
    """Computes the interpolation f32[B, size, size] of a shift by f32[B] pixels."""
    return _interpolation(jnp.arange(size) - shift[:, None], size)


def _interpolation(source: jax.Array, size: int) -> jax.Array:
    distance = jnp.abs(_reflect(source, size)[..., None] - jnp.arange(size))
    return jnp.maximum(0.0, 1.0 - distance)


def _reflect(position: jax.Array, size: int) -> jax.Array:
    """Positions beyond the edge mirrored about it, the edge pixel repeated: d c b a | a b c d | d c b a."""
    folded = jnp.mod(position + 0.5, 2 * size)
    return jnp.clip(jnp.minimum(folded, 2 * size - folded) - 0.5, 0, size - 1)


def _resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum("bij,bjwc->biwc", rows, images, precision=highest)
    return jnp.einsum("bij,bhjc->bhic", columns, images, precision=highest)
