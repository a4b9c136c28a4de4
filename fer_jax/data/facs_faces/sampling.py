"""Draws which subject shows which units how strongly in which picture, all from seed, subject, category and image.

A unit that only some people show in an expression is drawn once for each subject and category, so that a subject is sad
in one way. Its intensity and the circumstances are drawn anew for each picture.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.parameters import sample_identity, sample_nuisance


class Picture(NamedTuple):
    """The arguments of `render`: identity f32[I], action_units f32[17], nuisance f32[Q]."""

    identity: jax.Array
    action_units: jax.Array
    nuisance: jax.Array


def sample_picture(
    seed: jax.Array | int,
    subject: jax.Array | int,
    category: jax.Array | int,
    image: jax.Array | int,
    intensity: tuple[float, float] = (0.5, 1.0),
) -> Picture:
    """Draws picture number `image` of a subject in a category, independently of all others.

    Args:
      seed, subject, category, image: whole numbers; may be traced, so that the function can be vmapped.
      intensity: present units have an intensity from U(low, high), absent ones 0.
    """
    person = jax.random.fold_in(jax.random.key(seed), subject)
    habit = jax.random.fold_in(jax.random.fold_in(person, 1), category)
    strength, around = jax.random.split(jax.random.fold_in(jax.random.fold_in(habit, 1), image))
    share = jnp.asarray(categories.presence_probability(), jnp.float32)[category]
    present = jax.random.uniform(jax.random.fold_in(habit, 0), share.shape) < share
    drawn = jax.random.uniform(strength, share.shape, minval=intensity[0], maxval=intensity[1])
    return Picture(
        sample_identity(jax.random.fold_in(person, 0)),
        jnp.where(present, drawn, 0.0),
        sample_nuisance(around),
    )
