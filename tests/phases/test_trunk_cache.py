"""Training on cached views: the teacher's cached answers are those that it would give."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.bench.world import Phase, fold_of, noise, recipe_of
from fer_jax.errors import UserError
from fer_jax.inference import trained
from fer_jax.phases import few_shot, increments, trunk_cache
from fer_jax.phases.part import Part
from fer_jax.phases.trunk_cache import Encoded
from fer_jax.training.batch import Batch
from fer_jax.training.epoch import Given, Totals, one_step
from fer_jax.training.source import Source
from tests.support.pictures import tiny


@pytest.fixture(scope="module")
def phase() -> Phase:
    config = tiny(**{"feature_cache.views": 3})
    return Phase(fold_of(config, noise(config)))


def test_what_is_cached_is_what_trunk_and_teacher_give(phase):
    fold, base = phase.fold, phase.base
    cut = fold.config.continual.cut
    views, taught = trunk_cache.views(fold, base, cut), trunk_cache.taught(fold, base, cut)
    assert views.shape[:2] == taught.shape[:2] == (len(fold.images), 3)
    logits, _ = fold.network.tail(base, views[5], "conv1")
    np.testing.assert_allclose(taught[5], logits, atol=1e-5)
    # Views differ from each other, and from the image as it is.
    clean = trunk_cache.clean(fold, base, fold.config.continual.cut)
    assert len({np.asarray(v).tobytes() for v in (*views[5], clean[5])}) == 4


def test_a_step_with_the_teachers_cached_answers_is_the_step_with_the_teacher(phase):
    fold, base, recipe = phase.fold, phase.base, recipe_of(phase.fold)
    views = trunk_cache.views(fold, base, fold.config.continual.cut)[:8]
    # A teacher that says something else of every view.
    base = {**base, "head": jax.tree.map(lambda leaf: 10 * leaf, base["head"])}
    taught = jax.vmap(lambda view: fold.network.tail(base, view, "conv1")[0], 1, 1)(views)
    facts, order = Batch(fold.labels[:8], stored=jnp.zeros(8, bool)), jnp.arange(8)

    def step(taught):
        state, frozen = recipe.init(base)
        context = phase.context._replace(frozen=frozen, teacher=base)
        given = Given(Source(facts, None, taught, cached=True), order, order, context, jax.random.key(0))
        return jax.jit(one_step, static_argnums=4)((state, Totals.zero()), views, given, 0, recipe)

    cached, computed = step(taught), step(None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cached, computed)
    # And they are looked at, each view's own.
    for wrong in (taught[..., ::-1], taught[:, ::-1]):
        _, other = step(wrong)
        assert float(other.loss) != pytest.approx(float(cached[1].loss), rel=1e-6)


@pytest.mark.parametrize(("views", "told"), [(3, "4 views"), (0, "1 views")])
def test_more_than_the_budget_is_refused_before_anything_is_computed(views, told, monkeypatch):
    config = tiny(**{"feature_cache.views": views, "feature_cache.max_gb": 1e-5})
    fold = fold_of(config, noise(config))
    monkeypatch.setattr(trunk_cache.encoding, "encode", None)
    may = "config.feature_cache.views or config.data.image_size" if views else "config.data.image_size"
    said = rf"{told} of .* at conv1, and 36 held-out ones once more, take .* GB: allow them, or lower {may}"
    with pytest.raises(UserError, match=f"^config.feature_cache.max_gb is 1e-05; {said}$"):
        trunk_cache.views(fold, fold.network.init(jax.random.key(0), config.data.image_size), config.continual.cut)


def test_only_a_teacher_that_stays_the_same_is_cached(phase):
    for name, method in methods.METHODS.items():
        if method.trains and method.reads != "all":
            part = Part(phase.fold, phase.base, method, 0, np.arange(phase.fold.n_classes - phase.fold.n_base))
            source = increments._source(part, part.blank())
            # One that trains the whole network has no trunk.
            assert source.cached == (method.settings != "deep"), name
            assert (source.taught is not None) == (method.teacher == "base"), name


def test_few_shots_read_the_base_models_answers(phase):
    source = few_shot.FewShot(phase.fold, phase.base).source
    assert source.cached
    assert source.taught is trunk_cache.taught(phase.fold, phase.base, phase.fold.config.continual.cut)


def test_another_trunk_is_another_entry(phase):
    """The cache is asked for by what the parameters are, not by where they came from."""
    fold, base = phase.fold, phase.base
    first = trunk_cache.clean(fold, base, fold.config.continual.cut)
    assert trunk_cache.clean(fold, jax.tree.map(jnp.copy, base), fold.config.continual.cut) is first
    other = trunk_cache.clean(fold, jax.tree.map(lambda leaf: leaf + 0.5, base), fold.config.continual.cut)
    assert not np.array_equal(other, first)


def test_held_out_images_are_there_once_for_all_orders(phase):
    again = Phase(phase.fold).part
    assert again.test is phase.part.test
    assert again.validation is phase.part.validation
    clean = trunk_cache.clean(phase.fold, phase.base, phase.fold.config.continual.cut)
    np.testing.assert_array_equal(again.test.activations, clean[phase.fold.split.test])


@pytest.mark.parametrize("cut", ["input", "conv1"])
def test_with_mirrors_features_are_the_means_over_both_sides_and_logits_those_of_the_means(phase, cut):
    fold, base, rows = phase.fold, phase.base, np.asarray([7, 2, 2])
    logits, features = Encoded.cached(fold, base, rows, cut, mirrored=True).logits_and_features(fold, base, cut)
    images = jnp.asarray(fold.images)[rows] / 255.0
    each = [
        fold.network.tail(base, fold.network.trunk(base, side, "head"), "head") for side in (images, images[:, :, ::-1])
    ]
    np.testing.assert_allclose(features, (each[0][1] + each[1][1]) / 2, atol=1e-5)
    # As a model that is restored answers.
    mirrored = dataclasses.replace(fold.network, mirrored=True)
    np.testing.assert_allclose(logits, trained.logits(base, fold.data.image[rows], mirrored), atol=1e-5)
    np.testing.assert_array_equal(logits, Encoded.cached(fold, base, rows, cut, mirrored=True).logits(fold, base, cut))
    assert not np.allclose(each[0][1], each[1][1], atol=1e-3)
    plain = Encoded.cached(fold, base, rows, cut).features(fold, base, cut)
    np.testing.assert_allclose(plain, each[0][1], atol=1e-5)
