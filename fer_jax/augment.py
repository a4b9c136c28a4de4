"""Augmentation on the device: flip, rotation, zoom and translation of a batch, as Keras' layers do them.

Bilinear, with symmetric reflection at the borders. Zoom and translation move rows and columns apart from each other,
so together they are one small matrix product an axis; only the rotation has to gather. Occlusion and lower resolutions
are there too, off unless a config asks for them.
"""

import dataclasses

import jax
import jax.numpy as jnp

# What keys are derived by beside positions, which are smaller.
_OCCLUSION, _RESOLUTION = 2**30, 2**30 + 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The paper's augmentation as a value; calling it is `augment`, then `occlude` and `lower_resolution`.

    A user's own augmentation is a function of the same arguments.

    occlusion: the largest share of a side that is covered; 0 covers nothing.
    resolution: probability that an image is shown in a lower resolution.
    """

    flip: float = 0.5
    rotation: float = 0.01
    zoom: float = 0.05
    translation: float = 0.05
    occlusion: float = 0.0
    resolution: float = 0.0

    def __call__(self, key: jax.Array, images: jax.Array, positions: jax.Array | None = None) -> jax.Array:
        """Augments images f32[B, H, W, 3] in [0, 1] at positions i32[B] of the whole batch."""
        images = augment(key, images, self.flip, self.rotation, self.zoom, self.translation, positions)
        # Keys of their own, so that the others' draws stay as they are without them.
        if self.occlusion:
            images = occlude(jax.random.fold_in(key, _OCCLUSION), images, self.occlusion, positions)
        if self.resolution:
            images = lower_resolution(jax.random.fold_in(key, _RESOLUTION), images, self.resolution, positions)
        return images


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
    _, height, width, _ = images.shape
    uniform = _draws(key, images, 6, positions)
    signed = 2 * uniform[:, 1:] - 1
    flipped, angle = uniform[:, 0] < flip, signed[:, 0] * rotation * 2 * jnp.pi
    # A flip and then a rotation are the opposite rotation and then the flip, which the columns' matrix does freely.
    images = rotate(images, jnp.where(flipped, -angle, angle))
    scales = 1 + zoom * signed[:, 1:3]
    shifts = translation * signed[:, 3:5] * jnp.asarray([height, width])
    rows, columns = (
        translation_matrix(shifts[:, a], size) @ zoom_matrix(scales[:, a], size)
        for a, size in enumerate((height, width))
    )
    return _resample(images, rows, jnp.where(flipped[:, None, None], columns[..., ::-1], columns))


def occlude(key: jax.Array, images: jax.Array, largest: float, positions: jax.Array | None = None) -> jax.Array:
    """Covers a rectangle of every image by the image's mean colour (random erasing, arXiv 1708.04896, without noise).

    Args:
      images: f32[B, H, W, 3].
      largest: height and width are U(0, largest) of the image's; the rectangle lies anywhere within the image.
      positions: i32[B], as of `augment`.
    """
    _, height, width, _ = images.shape
    uniform = _draws(key, images, 4, positions)
    covered = []
    for axis, size in enumerate((height, width)):
        length = uniform[:, axis] * largest * size
        begin = uniform[:, 2 + axis] * (size - length)
        middle = jnp.arange(size) + 0.5
        covered.append((middle >= begin[:, None]) & (middle < (begin + length)[:, None]))
    where = covered[0][:, :, None, None] & covered[1][:, None, :, None]
    return jnp.where(where, jnp.mean(images, (1, 2), keepdims=True), images)


def lower_resolution(key: jax.Array, images: jax.Array, share: float, positions: jax.Array | None = None) -> jax.Array:
    """Converts a share of the images to a lower resolution and back, bilinear (arXiv 2103.05723).

    The side is `2^floor(3 + 5u)` pixels, u uniform: 8 to 128. A side that is not smaller than the image's changes
    nothing.

    Args:
      images: f32[B, H, W, 3].
      share: the probability of an image to be changed.
      positions: i32[B], as of `augment`.
    """
    uniform = _draws(key, images, 2, positions)
    level = jnp.where(uniform[:, 0] < share, jnp.floor(5 * uniform[:, 1]).astype(jnp.int32), 5)
    matrices = []
    for size in images.shape[1:3]:
        there_and_back = [
            _bilinear(size, 2**power) @ _bilinear(2**power, size) if 2**power < size else jnp.eye(size)
            for power in range(3, 8)
        ]
        matrices.append(jnp.stack([*there_and_back, jnp.eye(size)]))
    return _resample(images, *(one[level] for one in matrices))


def _bilinear(outputs: int, inputs: int) -> jax.Array:
    """Returns the matrix f32[outputs, inputs] that resizes a side; where it gets smaller, pixels are averaged."""
    return jax.image.resize(jnp.eye(inputs), (outputs, inputs), "bilinear")


def _draws(key: jax.Array, images: jax.Array, how_many: int, positions: jax.Array | None) -> jax.Array:
    """Draws uniform numbers f32[B, how_many] in [0, 1), those of an image by its position in the whole batch."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)) if positions is None else positions)
    return jax.vmap(lambda k: jax.random.uniform(k, (how_many,)))(keys)


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
