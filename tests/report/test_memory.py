"""What memory held: by hand."""

import base64
import io

import numpy as np
from PIL import Image

from fer_jax.report import memory

RUN = {"learned_at": [0, 1], "class_order": [1]}
# Class 0 loses image 7 after step 1 and takes image 9 in at step 2; image 4 is gone for one step.
KEPT = {1: np.asarray([[5, 7, 4], [-1, -1, -1]]), 2: np.asarray([[5, 9, -1], [2, -1, -1]]),
        3: np.asarray([[5, 9, 4], [2, -1, -1]])}  # fmt: skip


def test_counts_by_class_and_step():
    found = memory.counts_table(KEPT, RUN, ["a", "b"])
    assert found["columns"] == ["1", "2", "3"]
    assert found["rows"] == [("a", [(1.0, "3"), (2 / 3, "2"), (1.0, "3")]), ("b", [None, (1 / 3, "1"), (1 / 3, "1")])]
    assert memory.counts_table({1: np.full((2, 3), -1)}, RUN, ["a", "b"]) is None


def test_images_by_the_steps_that_stored_them():
    assert memory.spans(KEPT, 0) == [((1, 2, 3), [5]), ((1, 3), [4]), ((2, 3), [9]), ((1,), [7])]


def test_pictures_are_those_of_the_indices():
    images = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    images[2] = (250, 0, 0)
    found = memory.classes(KEPT, RUN, ["a", "b"], images)
    assert [one["name"] for one in found] == ["a", "b"]
    assert [group["caption"] for group in found[0]["groups"]] == [
        "stored after steps 1 to 3: 1 image", "stored after steps 1 to 3, with gaps (2 of them): 1 image",
        "stored after steps 2 to 3: 1 image", "stored after step 1 alone: 1 image",
    ]  # fmt: skip
    picture = found[1]["groups"][0]["picture"]
    assert picture.alt.startswith("b, stored after steps 2 to 3")
    with Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))) as image:
        assert image.size == (64, 64) == (picture.width, picture.height)
        np.testing.assert_allclose(np.asarray(image.convert("RGB"))[20, 20], (250, 0, 0), atol=8)
