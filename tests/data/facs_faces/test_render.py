"""Each action unit moves what it moves in a face, visibly, there and nowhere else, unlike any other unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.parameters import IDENTITY, NUISANCE, neutral_nuisance, sample_identity, sample_nuisance
from fer_jax.data.facs_faces.render import render

SIZE = 64
N = 12
# Rows of the picture (of 64) between which at least nine tenths of a unit's change must lie.
WHERE = {
    1: (2, 20), 2: (2, 20), 4: (10, 26), 5: (15, 28), 6: (18, 42), 7: (17, 29), 9: (12, 40), 10: (28, 50), 11: (32, 46),
    12: (28, 54), 15: (40, 58), 17: (40, 64), 20: (40, 58), 23: (38, 54), 24: (38, 54), 25: (38, 56), 26: (40, 64),
}  # fmt: skip


@pytest.fixture(scope="module")
def faces():
    """f32[18, N, 64, 64, 3]: no unit, then each alone at intensity 1, in N people without glasses or beard."""
    people = jax.vmap(sample_identity)(jax.random.split(jax.random.key(0), N))
    names = list(IDENTITY)
    people = people.at[:, names.index("glasses")].set(-1.0).at[:, names.index("beard")].set(-1.0)
    units = np.concatenate([np.zeros((1, 17)), np.eye(17)]).astype(np.float32)
    draw = jax.jit(jax.vmap(jax.vmap(lambda i, u: render(i, u, neutral_nuisance(), SIZE), (0, None)), (None, 0)))
    return np.asarray(draw(people, units))


@pytest.mark.parametrize("position", range(17), ids=[f"unit{u}" for u in categories.UNITS])
def test_a_unit_alone_is_visible_and_local(faces, position):
    change = np.abs(faces[1 + position] - faces[0]).max(-1)
    # In everybody, dark or light, 15 pixels at least change by twice what the noisiest camera adds.
    assert ((change > 2 * NUISANCE["noise"][1]).sum((1, 2)) >= 15).all()
    low, high = WHERE[categories.UNITS[position]]
    rows = change.sum((0, 2))
    assert rows[low:high].sum() / rows.sum() > 0.9


def test_units_can_be_told_apart(faces):
    """No two units change a face alike: the correlation of their changes stays well below one in everybody."""
    change = (faces[1:] - faces[0]).reshape(17, N, -1).transpose(1, 0, 2)
    for person in change:
        correlation = np.corrcoef(person) - np.eye(17)
        assert correlation.max() < 0.8


def test_a_unit_grows_with_its_intensity():
    person = sample_identity(jax.random.key(5))
    for position in range(17):
        units = jnp.zeros((3, 17)).at[:, position].set(jnp.asarray([0.0, 0.5, 1.0]))
        none, half, full = jax.vmap(lambda u: render(person, u, neutral_nuisance(), SIZE))(units)
        assert 0 < jnp.abs(half - none).sum() < jnp.abs(full - none).sum()


@pytest.mark.slow
def test_the_picture_is_in_range_at_every_size():
    person, seen = sample_identity(jax.random.key(1)), sample_nuisance(jax.random.key(2))
    units = jnp.full(17, 0.5)
    for size in (32, 96):
        picture = render(person, units, seen, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == jnp.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


@pytest.mark.slow
def test_people_and_circumstances_vary():
    people = jax.vmap(sample_identity)(jax.random.split(jax.random.key(3), 8))
    seen = jax.vmap(sample_nuisance)(jax.random.split(jax.random.key(4), 8))
    blank = jnp.zeros(17)
    by_person = jax.vmap(lambda i: render(i, blank, seen[0], 32))(people)
    by_circumstance = jax.vmap(lambda n: render(people[0], blank, n, 32))(seen)
    for pictures in (by_person, by_circumstance):
        assert np.asarray(pictures).std(0).mean() > 0.05
