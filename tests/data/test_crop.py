"""Where the square around a face lies, and that a face is found where it is."""

import builtins

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import cbook
from PIL import Image

from fer_jax.data import crop
from fer_jax.data.crop import Face, Square
from fer_jax.errors import UserError


@pytest.mark.parametrize(
    ("face", "margin", "square"),
    [
        (Face(40, 30, 20, 20, 1.0), 0.25, Square(35, 25, 30)),  # half as wide again
        (Face(40, 30, 20, 10, 1.0), 0.0, Square(40, 25, 20)),  # the longer side counts, the centre stays
        (Face(0, 0, 20, 20, 1.0), 0.25, Square(0, 0, 30)),  # moved inside
        (Face(85, 62, 20, 20, 1.0), 0.25, Square(70, 50, 30)),
        (Face(-30, -10, 60, 60, 1.0), 1.0, Square(0, 0, 80)),  # larger than the picture
    ],
)
def test_squares_worked_out_by_hand(face, margin, square):
    assert crop.square_around(face, 80, 100, margin) == square


@given(
    st.tuples(*[st.floats(-500, 1500)] * 2, *[st.floats(0.1, 2000)] * 2, st.floats(0, 3)),
    st.integers(8, 1000),
    st.integers(8, 1000),
    st.floats(0, 2),
)
def test_a_square_is_inside_the_picture_and_holds_the_face_where_it_can(values, height, width, margin):
    face = Face(*values)
    left, top, side = crop.square_around(face, height, width, margin)
    assert 0 <= left <= left + side <= width
    assert 0 <= top <= top + side <= height
    assert side >= 1
    inside = face.left >= 0 and face.top >= 0 and face.left + face.width <= width and face.top + face.height <= height
    if inside and max(face.width, face.height) <= min(height, width):
        # Rounding to whole pixels may cost one on each side.
        assert left <= face.left + 1
        assert top <= face.top + 1
        assert left + side >= face.left + face.width - 1
        assert top + side >= face.top + face.height - 1


def test_the_centre_square_and_what_is_cut():
    assert crop.centre_square(60, 100) == Square(20, 0, 60)
    assert crop.centre_square(101, 60) == Square(0, 20, 60)
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(crop.crop(image, Square(3, 1, 4), 4), image[1:5, 3:7])
    assert crop.crop(image, Square(3, 1, 4), 2).shape == (2, 2, 3)


def test_the_search_size_is_between_its_bounds():
    assert crop.search_scale(100, 80) == pytest.approx(4.8)
    assert crop.search_scale(400, 500) == 1.0
    assert crop.search_scale(3000, 4000) == pytest.approx(0.16)


def test_a_face_is_found_where_it_is_at_every_size():
    find = crop.FaceDetector()
    astronaut = skimage.data.astronaut()
    for side in (160, 512, 1500):
        image = np.asarray(Image.fromarray(astronaut).resize((side, side)))
        (face,) = find(image)
        centre = np.array([face.left + face.width / 2, face.top + face.height / 2]) / side
        np.testing.assert_allclose(centre, [0.436, 0.235], atol=0.03)
        assert face.width / side == pytest.approx(0.18, abs=0.04)
    assert find(skimage.data.coffee()) == []


def test_the_largest_face_comes_first_then_the_most_central():
    find = crop.FaceDetector()
    astronaut = Image.fromarray(skimage.data.astronaut()).crop((100, 20, 360, 280))
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as file:
        hopper = file.convert("RGB").crop((60, 60, 460, 460))
    both = Image.new("RGB", (640, 400), "white")
    both.paste(astronaut.resize((240, 240)), (0, 80))
    both.paste(hopper, (240, 0))
    faces = find(np.asarray(both))
    assert len(faces) == 2
    assert faces[0].left > 240
    assert faces[0].width > faces[1].width
    assert faces[1].left < 240
    equal = [Face(0, 40, 20, 20, 1.0), Face(40, 40, 20, 20, 0.1), Face(0, 0, 30, 30, 0.1)]
    ranked = sorted(equal, key=lambda face: crop._rank(face, 100, 100))
    assert ranked == [equal[2], equal[1], equal[0]]


def test_without_dlib_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "dlib":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    crop._dlib.cache_clear()
    with pytest.raises(UserError, match=r"finding faces needs dlib; install it with pip install -e '\.\[faces\]'"):
        crop.FaceDetector()


def test_several_faces_are_cut_largest_first_and_none_of_a_picture_without():
    image = np.arange(80 * 100 * 3, dtype=np.uint32).reshape(80, 100, 3).astype(np.uint8)
    faces = [Face(10, 10, 40, 40, 2.0), Face(60, 20, 20, 20, 1.0), Face(0, 0, 9, 9, 0.1)]
    found = crop.cut_faces(image, lambda _: faces, 0.25, 16, most=2)
    assert [outcome["score"] for outcome, _ in found] == [2.0, 1.0]
    assert all(outcome["faces"] == 3 for outcome, _ in found)
    outcome, cut = crop.cut_face(image, lambda _: faces, 0.25, 16)
    assert found[0][0] == outcome
    np.testing.assert_array_equal(found[0][1], cut)
    np.testing.assert_array_equal(found[1][1], crop.crop(image, Square(55, 15, 30), 16))
    assert crop.cut_faces(image, lambda _: [], 0.25, 16, most=2) == []
