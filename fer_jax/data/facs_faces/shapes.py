"""Soft 2-D shapes as coverage masks f32[H, W] over a grid of points, with edges of a given softness."""

import jax
import jax.numpy as jnp


def inside(distance: jax.Array, softness: jax.Array | float) -> jax.Array:
    """Computes the coverage of a shape from its signed distance, negative inside."""
    return jnp.clip(0.5 - distance / softness, 0.0, 1.0)


def ellipse_distance(x, y, cx, cy, rx, ry) -> jax.Array:
    """Computes roughly the signed distance to an axis-parallel ellipse."""
    radius = jnp.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + 1e-9)
    return (radius - 1) * jnp.minimum(rx, ry)


def ellipse(x, y, cx, cy, rx, ry, softness) -> jax.Array:
    """Draws a filled ellipse."""
    return inside(ellipse_distance(x, y, cx, cy, rx, ry), softness)


def blob(x, y, cx, cy, rx, ry) -> jax.Array:
    """Draws a Gaussian spot, 1 at its centre."""
    return jnp.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def stroke(x, y, start, end, bow, thickness, softness, taper=(0.4, 0.4)) -> jax.Array:
    """Draws a brush stroke from start to end.

    Args:
      start, end: (x, y).
      bow: how far the middle is pushed off the chord, to the right of the way from start to end (so up, for a
        stroke drawn from the picture's right to its left).
      thickness: half the width in the middle.
      taper: width at start and end, as a share of that in the middle.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = jnp.sqrt(dx * dx + dy * dy + 1e-9)
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / length**2
    t = jnp.clip(along, 0.0, 1.0)
    across = ((y - start[1]) * dx - (x - start[0]) * dy) / length
    hill = 4 * t * (1 - t)
    distance = jnp.sqrt((across - bow * hill) ** 2 + ((along - t) * length) ** 2 + 1e-9)
    ends = taper[0] * (1 - t) + taper[1] * t
    half = thickness * (ends + (1 - ends) * hill)
    return inside(distance - half, softness)


def paint(image: jax.Array, colour: jax.Array, mask: jax.Array) -> jax.Array:
    """Paints a colour f32[3] or f32[H, W, 3] over an image where the mask covers it."""
    return image + (colour - image) * mask[..., None]


def shade(image: jax.Array, amount: jax.Array) -> jax.Array:
    """Darkens where the amount is positive and lightens where it is negative; ±1 is black or white."""
    amount = amount[..., None]
    return jnp.where(amount > 0, image * (1 - amount), image + (1 - image) * -amount)
