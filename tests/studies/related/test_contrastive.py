"""What pairs have in common, views, and tiny runs, of files too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from studies.related import contrastive, learning
from tests.support import related


def test_pairs_share_what_their_names_say():
    which = learning.cells(range(3), (0, 4, 9))
    shown = learning.sampled(0, which)
    made = contrastive.others(0, which, shown)
    for name, one in made.items():
        assert (one.identity == shown.identity).all() == (name == contrastive.LATER)
        assert (one.nuisance != shown.nuisance).any(1).all()
        same = ((one.action_units > 0) == (shown.action_units > 0)).all()
        assert same == (name != contrastive.REDRAWN)
    assert np.abs(made[contrastive.LATER].action_units - shown.action_units).max() <= contrastive.JITTER
    # Other people's units are drawn anew among those that occur.
    np.testing.assert_allclose(
        np.sort(made[contrastive.REDRAWN].action_units, 0), np.sort(made[contrastive.SWAPPED].action_units, 0)
    )


def test_four_in_five_second_views_are_swapped():
    plain, made = np.zeros((500, 1, 1, 3)), {arm: np.full((500, 1, 1, 3), n) for n, arm in enumerate(
        (contrastive.LATER, contrastive.SWAPPED, contrastive.REDRAWN), 1)}  # fmt: skip
    second = contrastive.partners(0, plain, made)
    assert set(np.unique(second[contrastive.SWAPPED])) == {0, 2}
    assert set(np.unique(second[contrastive.EVERY])) == {1, 2}
    assert np.mean(second[contrastive.REDRAWN] == 3) == pytest.approx(0.8, abs=0.05)


def test_views_differ_in_colour_and_place_and_do_not_hang_on_the_batch():
    images = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3))
    whole = contrastive.view(jax.random.key(1), images, jnp.arange(4))
    part = contrastive.view(jax.random.key(1), images[2:], jnp.arange(2, 4))
    np.testing.assert_allclose(whole[2:], part, atol=1e-6)
    assert float(jnp.abs(whole - contrastive.CROPS(jax.random.key(1), images)).mean((1, 2, 3)).min()) > 0.01


def test_a_tiny_run(tmp_path):
    row = related.row(contrastive.STUDY, tmp_path, people=3, batch=8, fit=1)
    assert set(row) == {f"{arm}: {what}" for arm in (contrastive.UNTRAINED, *contrastive.ARMS)
                        for what in ("expressions", "people")}  # fmt: skip


def test_files_take_the_place_of_rendered_faces(tmp_path):
    config = related.config_of_files(tmp_path, (0, 1, 4), people=6, pictures=2)
    row = related.row(contrastive.STUDY, tmp_path / "runs", config=config, batch=8, fit=1)
    assert {name.split(":")[0] for name in row} == {contrastive.UNTRAINED, contrastive.SIMCLR, contrastive.HARD}
