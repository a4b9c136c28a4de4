"""The one form of every data set: checked when made, renumbered when a class is left out."""

import dataclasses

import numpy as np
import pytest

from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError


@pytest.fixture
def faces():
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    label, subject = np.asarray([0, 1, 2, 0, 1, 2], np.int32), np.asarray([5, 5, 5, 9, 9, 9], np.int32)
    return FaceArrays(image, label, subject, ("happy", "neutral", "awed"), {"made": "here"})


def test_leaving_a_class_out_renumbers_the_others(faces):
    left = faces.without(("neutral",))
    np.testing.assert_array_equal(left.label, [0, 1, 0, 1])
    np.testing.assert_array_equal(left.subject, [5, 5, 9, 9])
    np.testing.assert_array_equal(left.image, faces.image[[0, 2, 3, 5]])
    assert left.class_names == ("happy", "awed")
    assert left.metadata == {"made": "here"}
    with pytest.raises(UserError, match=r"\['bored'\]; classes are happy, neutral, awed"):
        faces.without(("bored",))


def test_the_checksum_is_of_what_is_in_it(faces):
    copy = dataclasses.replace(faces, image=faces.image.copy(), metadata={})
    assert copy.checksum() == faces.checksum()
    other = faces.image.copy()
    other[0, 0, 0, 0] ^= 1
    changes = [
        {"image": other},
        {"label": faces.label[::-1].copy()},
        {"class_names": ("happy", "awed", "neutral")},
    ]
    sums = {dataclasses.replace(faces, **change).checksum() for change in changes}
    assert len(sums | {faces.checksum()}) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": np.zeros((6, 4, 4, 3), np.float32)}, "float32"),
        ({"image": np.zeros((6, 4, 4), np.uint8)}, r"uint8\(6, 4, 4\)"),
        ({"label": np.zeros(5, np.int32)}, r"must both be \[6\]"),
        ({"label": np.full(6, 3, np.int32)}, "labels run to 3, with 3 class names"),
    ],
)
def test_what_does_not_fit_together_is_told(faces, change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(faces, **change)


def test_the_official_split_is_carried_and_counts():
    image = np.zeros((4, 8, 8, 3), np.uint8)
    label, subject, names = np.asarray([0, 1, 2, 1], np.int32), np.arange(4, dtype=np.int32), ("a", "b", "c")
    official = np.asarray([True, False, False, True])
    data = FaceArrays(image, label, subject, names, {}, official)
    np.testing.assert_array_equal(data.without(("a",)).official_test, [False, False, True])
    plain = FaceArrays(image, label, subject, names)
    assert plain.without(("a",)).official_test is None
    assert (
        len({data.checksum(), plain.checksum(), FaceArrays(image, label, subject, names, {}, ~official).checksum()})
        == 3
    )
    with pytest.raises(ValueError, match=r"official_test is int64\(4,\); it must be bool\[4\]"):
        FaceArrays(image, label, subject, names, {}, np.zeros(4, int))


@pytest.fixture
def with_targets(faces):
    """Units of an image, those of a class, and where a face lies."""
    units = np.asarray([[0.5, 0], [0, 0], [0, 0.8], [1, 0], [0, 0], [0.2, 1]], np.float32)
    of_class = np.asarray([[1, 0], [0, 0], [0.3, 1]], np.float32)
    boxes = np.arange(24).reshape(6, 2, 2)
    return dataclasses.replace(
        faces, targets={"units": units, "box": boxes}, class_targets={"units": of_class, "mood": np.asarray([1, 0, 2])}
    )


def test_targets_follow_their_images_and_classes(with_targets):
    left = with_targets.without(("neutral",))
    np.testing.assert_array_equal(left.targets["units"], np.float32([[0.5, 0], [0, 0.8], [1, 0], [0.2, 1]]))
    np.testing.assert_array_equal(left.targets["box"], with_targets.targets["box"][[0, 2, 3, 5]])
    np.testing.assert_array_equal(left.class_targets["units"], np.float32([[1, 0], [0.3, 1]]))
    np.testing.assert_array_equal(left.class_targets["mood"], [1, 2])


def test_a_class_target_becomes_one_of_every_image(with_targets):
    each = with_targets.with_class_targets()
    np.testing.assert_array_equal(each.targets["mood"], [1, 0, 2, 1, 0, 2])
    # What an image itself shows is better than what its class mostly does.
    np.testing.assert_array_equal(each.targets["units"], with_targets.targets["units"])
    plain = dataclasses.replace(with_targets, targets={}).without(("neutral",)).with_class_targets()
    np.testing.assert_array_equal(plain.targets["units"], np.float32([[1, 0], [0.3, 1], [1, 0], [0.3, 1]]))


def test_targets_count_in_the_checksum_where_they_are_read(faces, with_targets):
    assert with_targets.checksum() == faces.checksum()
    other = dataclasses.replace(with_targets, targets={**with_targets.targets, "units": np.zeros((6, 2), np.float32)})
    assert other.checksum() == faces.checksum()
    assert other.checksum(["box"]) == with_targets.checksum(["box"]) != faces.checksum()
    assert other.checksum(["units"]) != with_targets.checksum(["units"])
    assert with_targets.checksum(["units", "box"]) == with_targets.checksum(["box", "units"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"targets": {"units": np.zeros((5, 2), np.float32)}},
            r"targets\['units'\] is \[5, 2\]; it must be \[6, \.\.\.\]",
        ),
        ({"targets": {"units": np.zeros((6, 2))}}, r"targets\['units'\] is float64; it must be float32 or whole"),
        ({"targets": {"units": [0] * 6}}, r"targets\['units'\] is a list; it must be a NumPy array"),
        (
            {"class_targets": {"units": np.zeros((6, 2), np.float32)}},
            r"is \[6, 2\]; it must be \[3, \.\.\.\], a row for a class",
        ),
        (
            {"class_targets": {"mood": np.asarray(["a", "b", "c"])}},
            r"class_targets\['mood'\] is <U1; it must be float32",
        ),
    ],
)
def test_targets_that_do_not_fit_are_told(faces, change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(faces, **change)
