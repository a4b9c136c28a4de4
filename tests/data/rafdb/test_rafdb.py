"""RAF-DB: labels and official split from its list, people unknown and said so."""

import logging
import pathlib

import ml_collections
import numpy as np
import pytest
from PIL import Image

from fer_jax import protocol
from fer_jax.data import load as loading
from fer_jax.data.images import read_image
from fer_jax.data.load import load
from fer_jax.data.rafdb import scan
from fer_jax.errors import UserError

BASICS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger")
N_TRAIN, N_TEST = 10, 3  # pictures of each class


def write_part(root: pathlib.Path, part: str, n_classes: int, seed: int) -> pathlib.Path:
    """A part of the release in noise, sorted by class, as an unlucky list might be; returns its list."""
    generator = np.random.default_rng(seed)
    (root / part / "EmoLabel").mkdir(parents=True)
    (root / part / "Image" / "aligned").mkdir(parents=True)
    lines = []
    for split, count in (("train", N_TRAIN), ("test", N_TEST)):
        labels = np.repeat(np.arange(1, n_classes + 1), count)
        for i, label in enumerate(labels, 1):
            picture = generator.integers(0, 256, (32, 32, 3), np.uint8)
            picture[:4, :4] = label * 10  # so that a picture tells its label
            name = f"{split}_{i:05}"
            path = root / part / "Image" / "aligned" / f"{name}_aligned.jpg"
            Image.fromarray(picture).save(path, format="PNG")
            lines.append(f"{name}.jpg {label}")
    path = root / part / "EmoLabel" / "list_patition_label.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "raf"
    write_part(folder, "basic", 7, 0)
    write_part(folder, "compound", 11, 1)
    return folder


def config(root, prepared, **changes):
    plain = {"name": "rafdb", "dir": str(prepared), "manual_dir": str(root), "image_size": 32, "on_bad_image": "error",
             "base_classes": BASICS, "n_base": 6, "exclude": ("neutral",), "part": "both"}  # fmt: skip
    return ml_collections.ConfigDict({**plain, **changes})


def test_labels_and_official_split_are_the_lists(root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(loading.log, "propagate", True)
    with caplog.at_level(logging.INFO, "fer_jax"):
        data = load(config(root, tmp_path / "tfds"))
    assert data.class_names[:6] == BASICS
    assert data.class_names[6:8] == ("happily surprised", "happily disgusted")
    assert len(data.class_names) == 6 + 11
    marks = data.image[:, 1, 1, 0].astype(int)
    expected = np.where(data.label < 6, 10 * (data.label + 1), 10 * (data.label - 5))
    np.testing.assert_array_equal(marks, expected)
    np.testing.assert_array_equal(np.bincount(data.label[data.official_test]), [N_TEST] * 17)
    np.testing.assert_array_equal(np.bincount(data.label[~data.official_test]), [N_TRAIN] * 17)
    # Aloud, in the log and for results.json.
    assert "subjects are unknown: every image counts as its own subject" in caplog.text
    assert "the official split is kept" in caplog.text
    assert data.metadata["split_by"] == "image"
    assert any("subjects are unknown" in note for note in data.metadata["notes"])
    assert len(np.unique(data.subject)) == len(data.subject)


@pytest.mark.parametrize("name", ["held_out", "published"])
def test_the_official_test_images_are_the_test_set_of_every_fold(root, tmp_path, name):
    data = load(config(root, tmp_path / "tfds"))
    validated = []
    for fold in range(5):
        split = protocol.split(data.subject, fold, 5, name, data.official_test)
        np.testing.assert_array_equal(split.test, np.flatnonzero(data.official_test))
        assert not data.official_test[split.train].any()
        if name == "published":
            np.testing.assert_array_equal(split.validation, split.test)
            assert len(split.train) == N_TRAIN * 17
        else:
            assert not data.official_test[split.validation].any()
            assert not set(split.validation) & set(split.train)
            # Sorted by class on disk, spread over the folds: each fold has its part of each class.
            np.testing.assert_array_equal(np.bincount(data.label[split.validation]), [N_TRAIN // 5] * 17)
        validated.extend(split.validation.tolist())
    if name == "held_out":
        assert sorted(validated) == np.flatnonzero(~data.official_test).tolist()


def test_parts_alone(root, tmp_path):
    basic = load(config(root, tmp_path / "tfds", part="basic", n_base=3, base_classes=("Anger", "fear", "sadness")))
    assert basic.class_names == ("anger", "fear", "sadness", "surprise", "disgust", "happiness")
    picture = read_image(root / "basic" / "Image" / "aligned" / "train_00001_aligned.jpg")
    assert (basic.image[basic.label == 3] == picture).all((1, 2, 3)).sum() == 1
    compound = load(config(root, tmp_path / "tfds", part="compound", n_base=2, base_classes=(), exclude=()))
    assert compound.class_names[0] == "happily surprised"
    assert len(compound.label) == 11 * (N_TRAIN + N_TEST)
    with pytest.raises(
        UserError, match=r"config\.data\.base_classes has \['surprise'.*RAF-DB's part compound has happil"
    ):
        scan(root, "compound", BASICS, "error")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train_00001.jpg", "line 2 is 'train_00001.jpg'; it may be such as 'train_00001.jpg 5'"),
        ("valid_00001.jpg 3", "line 2 is 'valid_00001.jpg 3'"),
        ("train_00002.jpg 8", "line 2 has label 8; it may be 1 to 7"),
        ("train_00002.jpg 0", "line 2 has label 0"),
        ("train_00001.jpg 5", "line 2 lists train_00001.jpg for the second time"),
    ],
)
def test_a_line_of_another_form_is_told(root, line, said):
    path = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines))
    for on_bad_image in ("error", "skip"):  # labels are not guessed, whatever is skipped
        with pytest.raises(UserError) as error:
            scan(root, "both", BASICS, on_bad_image)
        assert f"list_patition_label.txt, {said}" in str(error.value)


def test_missing_files_are_told(root, tmp_path):
    gone = root / "compound" / "Image" / "aligned" / "test_00004_aligned.jpg"
    gone.unlink()
    with pytest.raises(
        UserError, match=r"test_00004_aligned\.jpg: list_patition_label\.txt lists it and it does not exist"
    ):
        load(config(root, tmp_path / "tfds"))
    assert not (tmp_path / "tfds").exists()
    data = load(config(root, tmp_path / "tfds", on_bad_image="skip"))
    assert len(data.label) == 17 * (N_TRAIN + N_TEST) - 1
    assert data.metadata["skipped"][0]["file"] == "compound/Image/aligned/test_00004_aligned.jpg"
    labels = root / "compound" / "EmoLabel" / "list_patition_label.txt"
    labels.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"list_patition_label\.txt is not text"):
        scan(root, "both", BASICS, "error")
    labels.unlink()
    with pytest.raises(UserError, match=r"list_patition_label\.txt cannot be read \(No such file or directory\)"):
        scan(root, "both", BASICS, "error")
    assert len(scan(root, "basic", BASICS, "error").entries) == 7 * (N_TRAIN + N_TEST)


def test_a_list_without_test_pictures_has_no_official_split(root):
    path = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if line.startswith("train")))
    notes = scan(root, "basic", BASICS, "error").metadata["notes"]
    assert "no picture is of an official test set: folds of subjects are tested on" in notes
    assert not any("official split is kept" in note for note in notes)


def test_files_that_the_list_does_not_name_are_said(root):
    folder = root / "basic" / "Image" / "aligned"
    (folder / "train_99999_aligned.jpg").write_bytes(b"x")
    found = scan(root, "basic", BASICS, "error")
    assert "1 files in basic/Image/aligned that the list does not name were left alone" in found.metadata["notes"]
