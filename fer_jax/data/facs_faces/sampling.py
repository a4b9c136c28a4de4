"""Draws which subject shows which units how strongly in which picture, all from seed, subject, category and image.

A unit that only some people show in an expression is drawn once for each subject and category, so that a subject is sad
in one way. Its intensity and the circumstances are drawn anew for each picture.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.parameters import sample_identity, sample_nuisance

TWINS = ("none", "swapped", "mixed")


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
    person, habit, of_image = _keys(seed, subject, category, image)
    strength, around = jax.random.split(of_image)
    share = jnp.asarray(categories.presence_probability(), jnp.float32)[category]
    present = jax.random.uniform(jax.random.fold_in(habit, 0), share.shape) < share
    drawn = jax.random.uniform(strength, share.shape, minval=intensity[0], maxval=intensity[1])
    return Picture(
        sample_identity(jax.random.fold_in(person, 0)),
        jnp.where(present, drawn, 0.0),
        sample_nuisance(around),
    )


def _keys(seed, subject, category, image) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the keys of a person, of the person's habit in a category, and of one picture."""
    person = jax.random.fold_in(jax.random.key(seed), subject)
    habit = jax.random.fold_in(jax.random.fold_in(person, 1), category)
    return person, habit, jax.random.fold_in(jax.random.fold_in(habit, 1), image)


def sample_twin(seed, subject, category, image, kind: str, intensity: tuple[float, float] = (0.5, 1.0)) -> Picture:
    """Draws a picture of the action units of `sample_picture` in another person, who is no subject, in other
    circumstances.

    kind: "swapped", the other person; "mixed", a person between this one and the other, by a share from U(0, 1)
      (as arXiv 2108.07960 mixes identities).
    """
    picture = sample_picture(seed, subject, category, image, intensity)
    *_, of_image = _keys(seed, subject, category, image)
    person, share, around = jax.random.split(jax.random.fold_in(of_image, 2), 3)
    identity = sample_identity(person)
    if kind == "mixed":
        identity = identity + jax.random.uniform(share) * (picture.identity - identity)
    return Picture(identity, picture.action_units, sample_nuisance(around))
