"""Training on cached views: the teacher's cached answers are those that it would give."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.bench.world import Phase, noise, recipe_of
from fer_jax.errors import UserError
from fer_jax.phases import few_shot
from fer_jax.phases import trunk_cache as feature_cache
from fer_jax.phases.part import recipe_for
from fer_jax.training import epoch as training
from tests.support.pictures import tiny


@pytest.fixture(scope="module")
def phase() -> Phase:
    config = tiny(**{"feature_cache.views": 3})
    return Phase(setup_of(config, noise(config)))


def test_what_is_cached_is_what_trunk_and_teacher_give(phase):
    setup, base = phase.setup, phase.base
    views, taught = feature_cache.views(setup, base), feature_cache.taught(setup, base)
    assert views.shape[:2] == taught.shape[:2] == (len(setup.images), 3)
    logits, _ = setup.network.tail(base, views[5], "conv1")
    np.testing.assert_allclose(taught[5], logits, atol=1e-5)
    # Views differ from each other, and from the image as it is.
    clean = feature_cache.clean(setup, base)
    assert len({np.asarray(v).tobytes() for v in (*views[5], clean[5])}) == 4


def test_a_step_with_the_teachers_cached_answers_is_the_step_with_the_teacher(phase):
    setup, base, recipe = phase.setup, phase.base, recipe_of(phase.setup)
    assert (recipe.cached, recipe.taught) == (True, True)
    views = feature_cache.views(setup, base)[:8]
    # A teacher that says something else of every view.
    base = {**base, "head": jax.tree.map(lambda leaf: 10 * leaf, base["head"])}
    taught = jax.vmap(lambda view: setup.network.tail(base, view, "conv1")[0], 1, 1)(views)
    kept, order = np.zeros(8, bool), jnp.arange(8)

    def step(own, *notes):
        state, frozen = own.init(base)
        return jax.jit(training.indexed_step, static_argnums=11)(
            state, training.Totals.zero(), frozen, base, views, (setup.labels[:8], *notes), order, order, 0,
            phase.context, jax.random.key(0), own,
        )  # fmt: skip

    found = step(recipe, kept, taught), step(dataclasses.replace(recipe, taught=False), kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)
    # And they are looked at, each view's own.
    for wrong in (taught[..., ::-1], taught[:, ::-1]):
        _, other = step(recipe, kept, wrong)
        assert float(other.loss) != pytest.approx(float(found[0][1].loss), rel=1e-6)


@pytest.mark.parametrize(("views", "told"), [(3, "4 views"), (0, "1 views")])
def test_more_than_the_budget_is_refused_before_anything_is_computed(views, told, monkeypatch):
    config = tiny(**{"feature_cache.views": views, "feature_cache.max_gb": 1e-5})
    setup = setup_of(config, noise(config))
    monkeypatch.setattr(feature_cache.encoding, "encode", None)
    may = "config.feature_cache.views or config.data.image_size" if views else "config.data.image_size"
    said = rf"{told} of .* at conv1, and 36 held-out ones once more, take .* GB: allow them, or lower {may}"
    with pytest.raises(UserError, match=f"^config.feature_cache.max_gb is 1e-05; {said}$"):
        feature_cache.views(setup, setup.network.init(jax.random.key(0), config.data.image_size))


def test_only_a_teacher_that_stays_the_same_is_cached(phase):
    taught = {name: recipe_for(phase.setup, method).taught for name, method in methods.METHODS.items()}
    assert {name for name, is_taught in taught.items() if is_taught} == {
        name for name, method in methods.METHODS.items() if method.teacher == "base"
    }


def test_few_shots_read_the_base_models_answers(phase):
    learner = few_shot.FewShot(phase.setup, phase.base)
    assert (learner.recipe.cached, learner.recipe.taught) == (True, True)
    assert learner.arrays[-1] is feature_cache.taught(phase.setup, phase.base)


def test_held_out_images_are_there_once_for_all_orders(phase):
    again = Phase(phase.setup).part
    assert again.test is phase.part.test
    assert again.validation is phase.part.validation
    clean = feature_cache.clean(phase.setup, phase.base)
    np.testing.assert_array_equal(again.test.activations, clean[phase.setup.split.test])
