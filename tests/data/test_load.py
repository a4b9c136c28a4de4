"""What holds of every data set, whoever wrote it: its size, its classes, and which of them are left out."""

import ml_collections
import numpy as np
import pytest

from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.load import load
from fer_jax.errors import UserError

NAMES = ("Happy", "Sad", "Angry", "Awed")


def config(**changes) -> ml_collections.ConfigDict:
    plain = {"name": "mine.DATA_SET", "image_size": 8, "exclude": (), "n_base": 2}
    return ml_collections.ConfigDict({**plain, **changes})


def faces(labels=(0, 1, 2, 3), size: int = 8) -> FaceArrays:
    label = np.asarray(labels, np.int32)
    image = np.zeros((len(label), size, size, 3), np.uint8) + label.astype(np.uint8)[:, None, None, None]
    units = np.eye(4, dtype=np.float32)
    return FaceArrays(image, label, np.arange(len(label), dtype=np.int32), NAMES, class_targets={"units": units})


@pytest.fixture
def mine(monkeypatch):
    """Makes `mine.DATA_SET` one that loads this."""
    from fer_jax.config import dotted

    def put(data):
        monkeypatch.setitem(dotted._named, "mine.DATA_SET", DataSet({}, lambda config: data))

    return put


def test_classes_are_left_out_by_name_in_any_case(mine):
    mine(faces())
    data = load(config(exclude=("SAD",)))
    assert data.class_names == ("Happy", "Angry", "Awed")
    np.testing.assert_array_equal(data.image[:, 0, 0, 0], [0, 2, 3])
    np.testing.assert_array_equal(data.class_targets["units"], np.eye(4)[[0, 2, 3]])


@pytest.mark.parametrize(
    ("data", "changes", "said"),
    [
        (faces(), {"exclude": ("bored",)}, r"exclude has \['bored'\]; classes are Happy, Sad, Angry, Awed"),
        (faces(), {"n_base": 4}, "n_base is 4; it may be 2 to 3, one class less than the data set has"),
        (faces(), {"exclude": ("awed", "sad")}, "n_base is 2; it may be 2 to 1"),
        (faces(), {"exclude": ("sad",), "base_classes": ("sad", "awed")}, "which config.data.base_classes has too"),
        (faces((0, 1, 3)), {}, r"class Angry has no images; add some, or name it in config\.data\.exclude"),
        (faces(size=9), {}, "image_size is 8; the pictures of mine.DATA_SET are 9 × 9"),
        ({"image": []}, {}, r"config\.data\.name mine\.DATA_SET loads a dict; it may load a FaceArrays"),
    ],
)
def test_what_does_not_fit_the_config_is_told(mine, data, changes, said):
    mine(data)
    with pytest.raises(UserError, match=said):
        load(config(**changes))
