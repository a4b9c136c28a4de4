"""Augmentation against Keras' layers, and as a pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import augment as a


@pytest.fixture(scope="module")
def given(reference):
    return reference("e_augment")


def test_each_transform_equals_keras(given):
    images = given["images"]
    np.testing.assert_allclose(a.rotate(images, given["angles"]), given["rot_out"], atol=1e-4)
    np.testing.assert_allclose(a.rotate(images, given["angles_big"]), given["rot_big_out"], atol=1e-4)
    # Keras has (width, height) there, ours is (height, width) like the image.
    zoomed = a.zoom(images, given["zooms_wh"][:, ::-1])
    np.testing.assert_allclose(zoomed, given["zoom_wh_out"], atol=1e-4)
    moved = a.translate(images, given["translations_xy_px"][:, ::-1])
    np.testing.assert_allclose(moved, given["translate_xy_out"], atol=1e-4)


def test_the_chain_equals_keras(given):
    images = a.rotate(given["images"], given["angles"])
    images = a.zoom(images, given["zooms_wh"][:, ::-1])
    images = a.translate(images, given["translations_xy_px"][:, ::-1])
    np.testing.assert_allclose(images, given["rot_zoom_translate_chain_out"], atol=1e-4)


def test_a_flip_comes_before_the_rest():
    images = jax.random.uniform(jax.random.key(0), (6, 20, 16, 3))
    changes = {"rotation": 0.1, "zoom": 0.2, "translation": 0.1}
    flipped = a.augment(jax.random.key(1), images, flip=1.0, **changes)
    by_hand = a.augment(jax.random.key(1), images[:, :, ::-1], flip=0.0, **changes)
    np.testing.assert_allclose(flipped, by_hand, atol=1e-4)


def test_augment_is_the_chain_with_its_own_draws():
    images = jax.random.uniform(jax.random.key(0), (64, 20, 16, 3))
    same = a.augment(jax.random.key(1), images, flip=0.0, rotation=0.0, zoom=0.0, translation=0.0)
    np.testing.assert_allclose(same, images, atol=1e-6)
    flipped = a.augment(jax.random.key(1), images, flip=1.0, rotation=0.0, zoom=0.0, translation=0.0)
    np.testing.assert_allclose(flipped, images[:, :, ::-1], atol=1e-6)
    half = a.augment(jax.random.key(1), images, flip=0.5, rotation=0.0, zoom=0.0, translation=0.0)
    share = np.mean([np.allclose(x, y[:, ::-1], atol=1e-6) for x, y in zip(half, images, strict=True)])
    assert 0.3 < share < 0.7
    all_of_it = a.augment(jax.random.key(1), images)
    assert all_of_it.min() >= 0
    assert all_of_it.max() <= 1
    assert float(jnp.abs(all_of_it - images).mean()) > 0.01


def test_an_images_draw_does_not_depend_on_its_batch():
    images = jax.random.uniform(jax.random.key(0), (6, 16, 16, 3))
    whole = a.augment(jax.random.key(3), images)
    part = a.augment(jax.random.key(3), images[:2])
    np.testing.assert_allclose(whole[:2], part, atol=1e-6)


def test_occlusion_covers_a_rectangle_by_the_mean():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 10, 12, 3)), jnp.float32)
    changed = np.asarray(a.occlude(jax.random.key(0), images, 0.5))
    covered = (changed != np.asarray(images)).any(-1)
    assert covered.any((1, 2)).mean() > 0.8
    heights, widths = covered.any(2).sum(1), covered.any(1).sum(1)
    assert (heights.max(), widths.max()) == (5, 6), "at most half of a side, rounded to the pixels' middles"
    for image, before, where, height, width in zip(changed, np.asarray(images), covered, heights, widths, strict=True):
        assert where.sum() == height * width, "a rectangle"
        np.testing.assert_allclose(image[where], np.broadcast_to(before.mean((0, 1)), (where.sum(), 3)), rtol=1e-5)
    part = a.occlude(jax.random.key(0), images[3:5], 0.5, jnp.array([3, 4]))
    np.testing.assert_allclose(part, changed[3:5], rtol=1e-6)


def test_lower_resolutions_are_there_and_back_and_a_side_that_is_small_enough_stays():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 32, 32, 3)), jnp.float32)
    changed = np.asarray(a.lower_resolution(jax.random.key(0), images, 1.0))
    sides = []
    for before, after in zip(images, changed, strict=True):
        candidates = {side: jax.image.resize(jax.image.resize(before, (side, side, 3), "bilinear"), before.shape,
                                             "bilinear") for side in (8, 16, 32)}  # fmt: skip
        sides += [side for side, expected in candidates.items() if np.allclose(after, expected, atol=1e-5)]
    assert len(sides) == len(images)
    # Three of five draws are of 32 pixels and more.
    assert 0.4 < np.mean(np.array(sides) == 32) < 0.8
    assert {8, 16} < set(sides)
    np.testing.assert_array_equal(a.lower_resolution(jax.random.key(0), images, 0.0), images)


def test_an_augmentation_draws_the_same_with_and_without_occlusion():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 32, 32, 3)), jnp.float32)
    plain = np.asarray(a.Augmentation()(jax.random.key(1), images))
    occluded = np.asarray(a.Augmentation(occlusion=0.3)(jax.random.key(1), images))
    same = (plain == occluded).all(-1)
    assert 0.5 < same.mean() < 1
