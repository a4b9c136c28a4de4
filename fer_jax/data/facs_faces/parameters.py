"""What makes one face differ from another, and one picture of a face from another: named numbers and their ranges.

Ranges are such that a subject's resting face looks a little like some unit at work (low brows, hanging corners of the
mouth, permanent lines), so that held-out subjects are harder than held-out pictures of known subjects.
"""

import jax
import jax.numpy as jnp

IDENTITY = {
    # Head.
    "head_width": (0.66, 0.80),
    "jaw": (0.55, 0.95),
    "chin": (-0.04, 0.05),
    "ears": (0.05, 0.12),
    # Skin and hair.
    "skin": (0.0, 1.0),
    "skin_red": (-0.01, 0.05),
    "blush": (0.0, 0.16),
    "hair_colour": (0.0, 5.999),
    "hair_light": (-0.06, 0.08),
    "hair_length": (0.0, 1.0),
    "hairline": (-0.74, -0.56),
    "parting": (-0.45, 0.45),
    "beard": (-1.2, 0.5),
    "glasses": (-3.0, 1.0),
    # Eyes and brows.
    "eye_x": (0.27, 0.33),
    "eye_y": (-0.15, -0.09),
    "eye_width": (0.145, 0.18),
    "eye_open": (-0.012, 0.014),
    "eye_tilt": (-0.02, 0.025),
    "eye_colour": (0.0, 3.999),
    "lid_crease": (0.1, 0.6),
    "brow_height": (-0.03, 0.03),
    "brow_tilt": (-0.025, 0.03),
    "brow_arch": (0.015, 0.05),
    "brow_thickness": (0.022, 0.040),
    "brow_inner": (0.12, 0.16),
    "brow_dark": (0.55, 0.95),
    # Nose and mouth.
    "nose_width": (0.095, 0.14),
    "nose_length": (0.17, 0.25),
    "nose_shade": (0.10, 0.25),
    "mouth_y": (0.46, 0.52),
    "mouth_width": (0.23, 0.29),
    "mouth_curve": (-0.025, 0.03),
    "lip_upper": (0.035, 0.058),
    "lip_lower": (0.045, 0.070),
    "lip_red": (0.0, 1.0),
    # Lines that stay.
    "line_forehead": (-0.25, 0.22),
    "line_glabella": (-0.25, 0.22),
    "line_eyes": (-0.25, 0.22),
    "line_nasolabial": (0.02, 0.28),
    "line_chin": (-0.2, 0.2),
    "freckles": (-2.0, 1.0),
    "clothes": (0.0, 1.0),
    "clothes_light": (0.15, 0.8),
}

NUISANCE = {
    "light_x": (-0.75, 0.75),
    "light_y": (-0.75, 0.15),
    "light_strength": (0.12, 0.32),
    "light_warm": (-0.05, 0.05),
    "exposure": (0.86, 1.10),
    "contrast": (0.88, 1.12),
    "roll": (-0.05, 0.05),
    "yaw": (-0.4, 0.4),
    "x": (-0.04, 0.04),
    "y": (-0.04, 0.04),
    "scale": (0.97, 1.03),
    "background": (0.0, 1.0),
    "background_light": (0.15, 0.85),
    "background_slope": (-0.15, 0.15),
    "gaze": (-0.03, 0.03),
    "softness": (0.8, 1.3),
    "noise": (0.005, 0.022),
    "noise_seed": (0.0, 1.0),
}


def _sample(key: jax.Array, ranges: dict[str, tuple[float, float]]) -> jax.Array:
    low, high = (jnp.asarray(bounds, jnp.float32) for bounds in zip(*ranges.values(), strict=True))
    return low + (high - low) * jax.random.uniform(key, low.shape)


def sample_identity(key: jax.Array) -> jax.Array:
    """Draws a subject, f32[I]: uniform in the ranges of `IDENTITY`."""
    return _sample(key, IDENTITY)


def sample_nuisance(key: jax.Array) -> jax.Array:
    """Draws the circumstances of a picture, f32[Q]: uniform in the ranges of `NUISANCE`."""
    return _sample(key, NUISANCE)


def neutral_nuisance() -> jax.Array:
    """Returns the circumstances of a frontal, evenly lit picture without noise."""
    plain = {"light_x": -0.3, "light_y": -0.4, "light_strength": 0.25, "exposure": 1.0, "contrast": 1.0,
             "scale": 1.0, "background": 0.6, "background_light": 0.7, "softness": 1.0}  # fmt: skip
    return jnp.asarray([plain.get(name, 0.0) for name in NUISANCE], jnp.float32)


def named(values: jax.Array, ranges: dict[str, tuple[float, float]]) -> dict[str, jax.Array]:
    """Returns a vector as a dict of its named numbers."""
    return {name: values[i] for i, name in enumerate(ranges)}
