"""Resolutions by hand, noise of equal energy, and tiny runs."""

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.augment import lower_resolution
from studies.related import resolutions
from tests.support import related


def test_a_lower_resolution_is_the_augmentations():
    images = jax.random.uniform(jax.random.key(0), (64, 32, 32, 3))
    drawn = lower_resolution(jax.random.key(1), images, 1.0)
    fits = {
        side: np.isclose(drawn, resolutions.resized(images, side), atol=1e-4).all((1, 2, 3)) for side in (8, 16, 32)
    }
    assert sum(one.sum() for one in fits.values()) == 64
    assert all(one.any() for one in fits.values())


def test_noise_has_the_energy_that_resolution_takes_away():
    images = 0.5 + 0.1 * jax.random.normal(jax.random.key(0), (200, 32, 32, 3))
    positions = jnp.arange(200)
    plain = resolutions.USUAL(jax.random.key(1), images, positions)
    noise = resolutions.noisy(jax.random.key(1), images, positions) - plain
    key = jax.random.fold_in(jax.random.key(1), resolutions.LOST)
    lost = lower_resolution(key, plain, 1.0, positions) - plain
    np.testing.assert_allclose((noise**2).mean((1, 2, 3)), (lost**2).mean((1, 2, 3)), rtol=0.1, atol=1e-6)
    # It is noise: it does not go with what was lost.
    assert abs(float(jnp.mean(noise * lost) / jnp.mean(lost**2))) < 0.02


def test_a_tiny_run(tmp_path):
    row = related.row(resolutions.STUDY, tmp_path, people=4, pictures=1, size=64)
    assert {name for name in row if name.endswith(": 4")} == {f"{arm}: 4" for arm in (
        resolutions.FULL, resolutions.MANY, resolutions.NOISE, "specialist of 8", "specialist of 16"
    )}  # fmt: skip


def test_files_take_the_place_of_rendered_faces(tmp_path):
    config = related.config_of_files(tmp_path, (0, 1, 4), people=6, pictures=1)
    row = related.row(resolutions.STUDY, tmp_path / "runs", config=config)
    assert "many resolutions: 32" in row
    assert "many resolutions: 64" not in row  # the files' pictures are of 32
