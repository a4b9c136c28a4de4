"""Links work once; of too many browsers the oldest is forgotten; a browser collects 50 faces."""

import numpy as np
import pytest

from fer_jax.serve.limits import Limits, Refusal
from fer_jax.serve.visitors import Picture, Visitors


@pytest.fixture
def links():
    return []


@pytest.fixture
def visitors(links):
    visitors = Visitors(Limits(browsers=2), links.append)
    visitors.invite()
    return visitors


def refused(function, *given) -> int:
    with pytest.raises(Refusal) as error:
        function(*given)
    return error.value.status


def test_a_link_works_once_and_the_next_one_is_another(visitors, links):
    key = visitors.enter(links[0])
    assert visitors.of(key) is visitors.of(key)
    assert refused(visitors.enter, links[0]) == 403
    assert len(set(links)) == len(links) == 2
    assert all(len(one) >= 32 for one in (*links, key))
    for wrong in ("", "x", links[1][:-1], links[1] + "x", "é", key):
        assert refused(visitors.enter, wrong) == 403
    for wrong in ("", links[1], key[:-1], "\ud800"):
        assert refused(visitors.of, wrong) == 401


def test_no_link_opens_before_one_is_made():
    assert refused(Visitors(Limits(), lambda token: None).enter, "") == 403


def test_of_too_many_browsers_the_oldest_is_forgotten(visitors, links):
    keys = [visitors.enter(links[i]) for i in range(3)]
    assert refused(visitors.of, keys[0]) == 401
    assert visitors.of(keys[1]) is not visitors.of(keys[2])


def test_fifty_faces_and_no_more(visitors, links):
    visitor = visitors.of(visitors.enter(links[0]))
    faces = [Picture(str(i), np.full((1, 1, 3), i, np.uint8)) for i in range(51)]
    keys = [visitor.collect(one) for one in faces[:50]]
    assert len(set(keys)) == 50
    assert refused(visitor.collect, faces[50]) == 409
    del visitor.pictures[keys[0]]
    visitor.collect(faces[50])
