"""What a folder holds: numbers for unknown people, one digest for all that matters, walks that end."""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax.data import listing
from fer_jax.errors import UserError


@pytest.fixture
def found(tmp_path):
    """Four files of two classes, two people."""
    for name in ("b1", "a1", "b2", "a2"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    return [listing.Found(tmp_path / f"{n}.jpg", n[0], n[1]) for n in ("b1", "a1", "b2", "a2")]


def make(root, found, **more):
    return listing.make(listing.Problems(root, "error"), found, ("b", "a"), **more)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 10))
@settings(deadline=None, max_examples=300)
def test_every_block_has_every_stratum_in_proportion(sizes, n_blocks):
    strata = np.repeat(np.arange(len(sizes)), sizes).tolist()
    names = [f"{s}/{i}" for i, s in enumerate(strata)]
    numbers = listing.spread(names, strata)
    assert sorted(numbers) == list(range(len(names)))
    blocks = np.array_split(np.argsort(numbers), n_blocks)
    for block in blocks:
        for stratum, size in enumerate(sizes):
            share = size * len(block) / len(names)
            count = sum(strata[i] == stratum for i in block)
            # Each end of a block cuts every stratum within half a picture, and the ends are set by all strata together.
            assert abs(count - share) <= 1 + len(sizes) * size / len(names) + 1e-9
    assert listing.spread(names, strata) == numbers


def test_paths_are_put_in_order_and_people_numbered(tmp_path, found):
    made = make(tmp_path, found)
    assert [e.relative for e in made.entries] == ["a1.jpg", "a2.jpg", "b1.jpg", "b2.jpg"]
    assert [e.label for e in made.entries] == [1, 1, 0, 0]
    assert [e.subject for e in made.entries] == [0, 1, 0, 1]
    assert make(tmp_path, found[::-1]) == made


def test_class_names_are_single_spaced_text_that_can_be_written():
    assert listing.class_name(" Happily\n\u00a0Surprised\t") == "happily surprised"
    assert listing.class_name("hap\u200bpy\u200e\u200d") == "happy"
    assert listing.class_name("a\x07b\udcff") == r"a\x07b\xff"


def test_the_digest_changes_with_all_that_matters_and_nothing_else(tmp_path, found):
    made = make(tmp_path, found)
    digests = [made.digest(64, "error")]
    assert made.digest(64, "error") == digests[0]
    assert dataclasses.replace(made, root=tmp_path / "moved").digest(64, "error") == digests[0]
    digests += [made.digest(65, "error"), made.digest(64, "skip")]
    digests.append(dataclasses.replace(made, class_names=("a", "b")).digest(64, "error"))
    digests.append(make(tmp_path, found[1:]).digest(64, "error"))
    digests.append(make(tmp_path, [found[0]._replace(class_name="a"), *found[1:]]).digest(64, "error"))
    digests.append(make(tmp_path, [found[0]._replace(subject="2"), *found[1:]]).digest(64, "error"))
    digests.append(make(tmp_path, found, sources=[tmp_path / "a1.jpg"]).digest(64, "error"))
    digests.append(make(tmp_path, [f._replace(official_test=False) for f in found]).digest(64, "error"))
    os.utime(tmp_path / "b1.jpg", ns=(5, 5))
    digests.append(make(tmp_path, found).digest(64, "error"))
    (tmp_path / "b1.jpg").write_bytes(b"longer")
    os.utime(tmp_path / "b1.jpg", ns=(5, 5))
    digests.append(make(tmp_path, found).digest(64, "error"))
    assert len(set(digests)) == len(digests) == 11


def test_some_known_and_some_unknown_is_told(tmp_path, found):
    with pytest.raises(UserError, match=r"b1\.jpg has no subject, and a1\.jpg has one; give all or none"):
        make(tmp_path, [found[0]._replace(subject=None), *found[1:]])


def test_a_listing_holds_for_the_files_it_was_made_of(tmp_path, found):
    made = make(tmp_path, found, sources=[tmp_path / "b2.jpg"])
    made.check_unchanged(tmp_path)
    (tmp_path / "a2.jpg").write_bytes(b"other")
    with pytest.raises(UserError, match=r"a2\.jpg has changed since the files were listed"):
        made.check_unchanged(tmp_path)
    (tmp_path / "a1.jpg").unlink()
    with pytest.raises(UserError, match=r"a1\.jpg cannot be read \(No such file or directory\)"):
        made.check_unchanged(tmp_path)


def test_a_walk_follows_links_and_ends(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.jpg").write_bytes(b"x")
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there")
    (tmp_path / "here" / ".hidden").write_bytes(b"x")
    (tmp_path / "here" / "deep" / "up").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "self").symlink_to(tmp_path / "here" / "self")
    problems = listing.Problems(tmp_path, "skip")
    walked = [p.relative_to(tmp_path).as_posix() for p in listing.files_below(tmp_path / "here", problems)]
    assert walked == ["here/link/x.jpg", "here/self"]
    assert problems.skipped == [{"file": "here/deep/up", "problem": "it is a link to a folder above itself"}]


def test_base_classes_come_first():
    names = listing.order_classes(["a", "b", "c", "d"], ("D", " b"), "the table")
    assert names == ("d", "b", "a", "c")
    with pytest.raises(UserError, match=r"config\.data\.base_classes has \['x'\]; the table has a, b"):
        listing.order_classes(["a", "b"], ("x", "a"), "the table")
    with pytest.raises(UserError, match="each may be named once"):
        listing.order_classes(["a", "b"], ("A", "a"), "the table")
