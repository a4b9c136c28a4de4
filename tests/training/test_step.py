"""What a step makes of a batch before the network sees it: views and mixed images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import objectives
from fer_jax.training import step as steps
from fer_jax.training.batch import Batch

N = 12


def seen(mixup: float, views: int = 1, n: int = N):
    """The views of images that are of one grey each, ten times their label; as steps make them."""
    labels = np.arange(n)
    images = np.broadcast_to((labels * 10 % 256).astype(np.uint8)[:, None, None, None], (n, 2, 2, 3))
    objective = objectives.OBJECTIVES["cross_entropy"].replace(mixup=mixup, views=views)
    recipe = steps.Recipe(None, "input", objective, n, 1e-3, n_devices=1)
    share = steps._Share(jnp.arange(n), n, recipe)
    return steps._seen(Batch(jnp.asarray(labels), images=jnp.asarray(images)), jax.random.key(0), share)


@pytest.mark.parametrize("views", [1, 2])
def test_a_mixed_image_is_its_share_of_its_own_and_the_rest_of_its_partner(views):
    batch, images, mixed = seen(0.3, views)
    labels, shares, partners = (np.asarray(one) for one in (batch.labels, *mixed))
    np.testing.assert_array_equal(labels, np.tile(np.arange(N), views))
    grey = (shares * labels + (1 - shares) * partners) * 10 / 255
    np.testing.assert_allclose(images, np.broadcast_to(grey[:, None, None, None], images.shape), rtol=1e-5)
    assert (shares >= 0.5).all()
    assert len(np.unique(shares)) == len(shares)
    for view in partners.reshape(views, N):
        np.testing.assert_array_equal(np.sort(view), np.arange(N))
    assert views == 1 or (partners[:N] != partners[N:]).any()


def test_shares_are_those_of_a_beta_distribution():
    """Beta(1, 1) is uniform, so that the larger share is on average three quarters."""
    shares = np.asarray(seen(1.0, n=4000)[2].shares)
    assert shares.mean() == pytest.approx(0.75, abs=0.01)
    assert (np.asarray(seen(0.1, n=4000)[2].shares) > 0.99).mean() > 0.5


def test_images_that_are_not_mixed_stay_as_they_are():
    batch, images, mixed = seen(0.0)
    np.testing.assert_allclose(images[:, 0, 0, 0], batch.labels * 10 / 255, rtol=1e-6)
    assert mixed == (None, None)
