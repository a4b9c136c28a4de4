"""Links work once; of too many browsers the one that asked longest ago is forgotten; a browser collects 50 faces."""

import threading

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


def test_of_too_many_browsers_the_one_that_asked_longest_ago_is_forgotten(visitors, links):
    keys = [visitors.enter(links[i]) for i in range(2)]
    visitors.of(keys[0])
    keys.append(visitors.enter(links[2]))
    assert refused(visitors.of, keys[1]) == 401
    assert visitors.of(keys[0]) is not visitors.of(keys[2])
    assert visitors.enter(links[3], keys[0]) == keys[0]  # a link, too, is asking
    visitors.enter(links[4])
    assert refused(visitors.of, keys[2]) == 401


def test_a_browser_that_opens_another_link_stays_the_same(visitors, links):
    key = visitors.enter(links[0])
    visitor = visitors.of(key)
    assert visitors.enter(links[1], key) == key
    assert visitors.of(key) is visitor
    assert refused(visitors.enter, links[1], key) == 403  # it was used all the same
    assert visitors.enter(links[2], "another") not in (key, "another")


def test_a_link_that_is_only_looked_at_is_not_used(visitors, links):
    visitors.check(links[0])
    assert refused(visitors.check, "x") == 403
    visitors.enter(links[0])
    assert refused(visitors.check, links[0]) == 403


def test_a_browser_is_known_and_a_link_works_before_it_is_told():
    told, known = [], []

    def tell(token):
        if told:
            known.append(len(visitors._by_digest))
        told.append(token)
        visitors.check(token)

    visitors = Visitors(Limits(), tell)
    visitors.invite()
    visitors.enter(told[0])
    assert (len(told), known) == (2, [1])


def test_fifty_faces_and_no_more(visitors, links):
    visitor = visitors.of(visitors.enter(links[0]))
    faces = [Picture(str(i), np.full((1, 1, 3), i, np.uint8)) for i in range(51)]
    keys = [visitor.collect(one) for one in faces[:50]]
    assert len(set(keys)) == 50
    assert refused(visitor.collect, faces[50]) == 409
    assert visitor.remove(keys[0], "none") == 1
    visitor.collect(faces[50])
    assert [one.digest for one in visitor.pictures().values()] == list(map(str, range(1, 51)))


def test_pictures_are_read_while_another_thread_collects(visitors, links):
    visitor, errors = visitors.of(visitors.enter(links[0])), []
    face = Picture("0", np.zeros((1, 1, 3), np.uint8))

    def change():
        try:
            for _ in range(300):
                visitor.remove(visitor.collect(face))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert all(one is face for one in visitor.pictures().values())
    assert errors == []
    assert visitor.pictures() == {}
