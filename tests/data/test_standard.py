"""Sets that other libraries are compared on, and what is said of files that are not what they should be."""

import gzip
import pathlib
import shutil
import struct
import sys

import ml_collections
import numpy as np
import pytest

from fer_jax import protocol
from fer_jax.data import load, standard
from fer_jax.errors import UserError


def config(name, **keys):
    return ml_collections.ConfigDict({"name": name, "dir": "", "exclude": (), "n_base": 2, **keys})


def test_digits():
    data = load.load(config("digits", image_size=8))
    assert data.image.shape == (1797, 8, 8, 3)
    assert (data.image.max(), len(data.class_names), len(np.unique(data.subject))) == (255, 10, 1797)
    split = protocol.split(data.subject, 1, 5, "stratified", label=data.label)
    counts = np.bincount(data.label)
    held = np.bincount(data.label[split.test])
    # A fifth of every class, never of the whole only.
    assert (np.abs(held - counts / 5) < 1).all()
    assert set(split.train) | set(split.test) == set(range(1797))
    assert not set(split.train) & set(split.test)
    assert set(split.validation) < set(split.train)


@pytest.fixture
def folder(tmp_path):
    """Six training and three test pictures of 4 × 4."""
    rng = np.random.default_rng(0)
    for (part, what), name in standard.IDX_FILES.items():
        n = 6 if part == "train" else 3
        values = rng.integers(0, 256, (n, 4, 4)) if what == "images" else np.arange(n) % 3
        raw = idx_header(*values.shape) + values.astype(np.uint8).tobytes()
        if part == "train":
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(raw))
        else:
            (tmp_path / name).write_bytes(raw)
    return tmp_path


def test_idx_files_plain_and_gzipped(folder):
    data = load.load(config("idx", image_size=4, manual_dir=str(folder), class_names=("a", "b", "c")))
    assert data.image.shape == (9, 4, 4, 3)
    assert data.label.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert data.official_test.tolist() == [False] * 6 + [True] * 3
    split = protocol.split(data.subject, 0, 2, "stratified", data.official_test, data.label)
    assert split.test.tolist() == [6, 7, 8]
    assert split.train.tolist() == list(range(6))
    with pytest.raises(UserError, match="image_size is 28; the pictures of idx are 4 × 4"):
        load.load(config("idx", image_size=28, manual_dir=str(folder), class_names=()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.unlink(), "has no t10k-images-idx3-ubyte and no t10k-images-idx3-ubyte.gz"),
        (lambda p: p.write_bytes(b"GIF89a"), "is no IDX file of unsigned bytes"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "is cut short or too long"),
        (lambda p: p.with_name(p.name + ".gz").write_bytes(b"no gzip"), "cannot be read"),
        (lambda p: p.with_name(p.name + ".gz").write_bytes(damaged(p.read_bytes())), "cannot be read"),
        (lambda p: p.write_bytes(idx_header(2**31, 2**31, 2**31)), "is cut short or too long"),
        (lambda p: p.write_bytes(idx_header(*[0] * 255)), "is no IDX file of unsigned bytes in 1 or 3 dimensions"),
    ],
)
def test_a_bad_idx_file_is_named(folder, damage, said):
    damage(folder / "t10k-images-idx3-ubyte")
    with pytest.raises(UserError) as error:
        standard.idx(folder)
    assert said in str(error.value)
    assert "t10k-images" in str(error.value)


def idx_header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def damaged(content: bytes) -> bytes:
    packed = gzip.compress(content)
    return packed[:12] + bytes(b ^ 255 for b in packed[12:20]) + packed[20:]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((0, 4, 4), "the test files have no pictures; each part may have one or more"),
        ((3, 0, 4), "the test files have no pictures; each part may have one or more"),
        ((3, 5, 6), "train pictures are 4 × 4 and test pictures 5 × 6; all may have one size"),
    ],
)
def test_idx_parts_that_do_not_go_together_are_told(folder, shape, said):
    for (part, what), name in standard.IDX_FILES.items():
        if part == "test":
            own = shape if what == "images" else shape[:1]
            (folder / name).write_bytes(idx_header(*own) + bytes(int(np.prod(own))))
    with pytest.raises(UserError) as error:
        standard.idx(folder)
    assert str(error.value) == f"{folder}: {said}"


@pytest.mark.parametrize("names", [("a", "b", "A "), ("", "a", "b"), ("a", "b", "\u200b")])
def test_names_of_classes_are_there_once_and_not_empty(folder, names):
    with pytest.raises(UserError, match=r"config\.data\.class_names is \(.*\); none may be empty, and each may be"):
        standard.idx(folder, names)


def test_a_tfds_set_by_its_name(tiny_config, tiny_data):
    """Any prepared set: here the rendered faces themselves."""
    name = next(p.name for p in pathlib.Path(tiny_config.data.dir, "facs_faces").iterdir())
    data = standard.tfds_set(f"facs_faces/{name}", tiny_config.data.dir, 32)
    assert data.image.shape[1:] == (32, 32, 3)
    assert "happy" in data.class_names
    with pytest.raises(UserError, match="'tfds:no_such_set', which cannot be read"):
        standard.tfds_set("no_such_set", tiny_config.data.dir, 32)


def test_a_damaged_tfds_set_is_told_with_its_folder(tiny_config, tiny_data, tmp_path):
    shutil.copytree(pathlib.Path(tiny_config.data.dir, "facs_faces"), tmp_path / "facs_faces")
    (records,) = tmp_path.rglob("*.array_record*")
    records.write_bytes(b"")
    with pytest.raises(UserError) as error:
        standard.tfds_set(f"facs_faces/{records.parents[1].name}", str(tmp_path), 32)
    assert f"the prepared data set in {records.parent} cannot be read (" in str(error.value)


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError) as error:
        standard.digits()
    said = "config.data.name 'digits' needs scikit-learn; install it with pip install -e '.[digits]'"
    assert str(error.value) == said
