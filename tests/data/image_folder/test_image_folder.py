"""Pictures of one's own: a folder a class or a table, people by a pattern, a column, or not at all."""

import logging
import pathlib

import ml_collections
import numpy as np
import pytest
from PIL import Image

from fer_jax import protocol
from fer_jax.data import load as loading
from fer_jax.data.image_folder import scan
from fer_jax.data.load import load
from fer_jax.errors import UserError

CLASSES = ("Happy", "Sad", "Awed", "Angry")
PATTERN = r"(?P<subject>s\d+)_"


@pytest.fixture
def root(tmp_path):
    """Six people, four classes: <class>/<deeper>/s<person>_….png, the class told by the red channel."""
    folder, generator = tmp_path / "faces", np.random.default_rng(0)
    for c, name in enumerate(CLASSES):
        for person in range(6):
            path = folder / name / "deeper" / f"s{person}_{c}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = generator.integers(0, 256, (32, 32, 3), np.uint8)
            picture[..., 0], picture[..., 1] = 10 * c, 10 * person
            Image.fromarray(picture).save(path)
    return folder


def config(root, prepared, **changes):
    plain = {"name": "image_folder", "dir": str(prepared), "manual_dir": str(root), "image_size": 32,
             "on_bad_image": "error", "base_classes": ("sad", "happy"), "n_base": 2, "exclude": (), "labels_csv": "",
             "subject_pattern": PATTERN}  # fmt: skip
    return ml_collections.ConfigDict({**plain, **changes})


def table(root: pathlib.Path, *lines: str, encoding: str = "utf-8") -> pathlib.Path:
    path = root / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def rows(root: pathlib.Path) -> list[str]:
    return [
        f"{p.relative_to(root).as_posix()},{p.parts[-3]},p{p.name[1]}" for p in sorted(root.rglob("*.png"))
    ]  # fmt: skip


def test_a_folder_a_class(root, tmp_path):
    data = load(config(root, tmp_path / "tfds"))
    assert data.class_names == ("sad", "happy", "angry", "awed")
    np.testing.assert_array_equal(data.image[:, 0, 0, 0], 10 * np.asarray([1, 0, 3, 2])[data.label])
    np.testing.assert_array_equal(data.image[:, 0, 0, 1], 10 * data.subject)
    assert data.metadata["split_by"] == "subject"
    assert load(config(root, tmp_path / "tfds", base_classes=())).class_names == ("angry", "awed", "happy", "sad")


def test_a_table_says_the_same(root, tmp_path):
    table(root, "file,label,subject", *rows(root), encoding="utf-8-sig")
    by_folder = load(config(root, tmp_path / "tfds"))
    by_table = load(config(root, tmp_path / "tfds", labels_csv="labels.csv", subject_pattern=""))
    assert by_table.checksum() == by_folder.checksum()
    # A row less is a picture less: the table decides.
    table(root, "file,label,subject", *rows(root)[1:])
    assert len(load(config(root, tmp_path / "tfds", labels_csv="labels.csv", subject_pattern="")).label) == 23


def test_unknown_people_are_said_and_spread(root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(loading.log, "propagate", True)
    with caplog.at_level(logging.INFO, "fer_jax"):
        data = load(config(root, tmp_path / "tfds", subject_pattern=""))
    assert "image_folder: subjects are unknown: every image counts as its own subject" in caplog.text
    assert sorted(data.subject) == list(range(24))
    for fold in range(3):
        split = protocol.split(data.subject, fold, 3)
        for part in (split.train, split.validation, split.test):
            np.testing.assert_array_equal(np.bincount(data.label[part], minlength=4), [2] * 4)


def test_a_split_of_the_tables_own(root, tmp_path):
    lines = [f"{row},{'test' if row.endswith(('p0', 'p1')) else 'train'}" for row in rows(root)]
    table(root, "file,label,subject,split", *lines)
    data = load(config(root, tmp_path / "tfds", labels_csv="labels.csv", subject_pattern=""))
    assert set(data.subject[data.official_test]) == {0, 1}
    split = protocol.split(data.subject, 0, 4, "held_out", data.official_test)
    assert set(data.subject[split.validation]) == {2}
    lines[0] = lines[0].replace("test", "train")
    table(root, "file,label,subject,split", *lines)
    for on_bad_image in ("error", "skip"):
        with pytest.raises(UserError) as error:
            scan(root, "labels.csv", "", (), on_bad_image)
        assert str(error.value) == (
            "subject 'p0' is in both splits: Angry/deeper/s0_3.png and Awed/deeper/s0_2.png; "
            "a subject may be in train or in test"
        )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("path,label", "a,b"), "has columns ['path', 'label']; it may have file, label, subject and split"),
        (("",), "has columns []"),
        (("file,label,Split", "a,b,c"), "labels.csv has 'Split', which is not read; it may be called 'split'"),
        (("file,label,subject_id", "a,b,c"), "labels.csv has 'subject_id', which is not read; it may be called 'subj"),
        (("file,label", "Sad/deeper/s0_1.png,"), "line 2 has no label"),
        (("file,label,subject", "Sad/deeper/s0_1.png,sad"), "line 2 has no subject"),
        (("file,label,split", "Sad/deeper/s0_1.png,sad,some"), "line 2 has split 'some'; it may be train or test"),
        (("file,label,subject", "Sad/deeper/s0_1.png,sad,nan"), "labels.csv, line 2 has no subject (nan)"),
        (
            ("file,label", "Sad/deeper/s0_1.png,N/A"),
            "line 2 has label 'N/A'; it may be a text or a whole number from 0",
        ),
        (("file,label", "Sad/deeper/s0_1.png,None"), "line 2 has label 'None'; it may be a text or a whole number"),
        (("file,label", "../x.png,sad"), "line 2 has file '../x.png'; it may be a path under manual_dir"),
        (("file,label", "/x.png,sad"), "line 2 has file '/x.png'"),
        (("file,label", "a.png,sad"), "a.png: line 2 of labels.csv has it and it does not exist; put it there"),
        (
            ("file,label", "Sad/deeper/s0_1.png,sad", "Sad/deeper/s0_1.png,awed"),
            "line 3 has Sad/deeper/s0_1.png for the second time, after 2",
        ),
    ],
)
def test_a_table_of_another_form_is_told(root, lines, said):
    table(root, *lines)
    with pytest.raises(UserError) as error:
        scan(root, "labels.csv", "", (), "error")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_cannot_be_read_is_told(root):
    with pytest.raises(UserError, match=r"config\.data\.labels_csv .*none\.csv cannot be read \(No such file"):
        scan(root, "none.csv", "", (), "error")
    table(root, "file,label", "Sad/deeper/s0_1.png,glücklich", encoding="latin-1")
    with pytest.raises(UserError, match="is not UTF-8 text; save it as CSV in UTF-8"):
        scan(root, "labels.csv", "", (), "error")
    table(root, "file,label,subject", *rows(root))
    with pytest.raises(UserError, match="has a column subject; give one"):
        scan(root, "labels.csv", PATTERN, (), "error")


def test_a_cell_longer_than_csv_allows_is_told(root):
    table(root, "file,label", "Sad/deeper/s0_1.png,sad", f"{'x' * 140_000},sad")
    with pytest.raises(UserError) as error:
        scan(root, "labels.csv", "", (), "error")
    assert "labels.csv, line 3 cannot be read as CSV (field larger than field limit (131072))" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_quoted_cell_may_have_line_breaks(root):
    odd = root / "Sad" / "two\nlines.png"
    (root / "Sad" / "deeper" / "s0_1.png").rename(odd)
    table(root, "file,label,subject", '"Sad/two\nlines.png",sad,s0', "Awed/deeper/s0_2.png,awed,s0")
    found = scan(root, "labels.csv", "", (), "error")
    assert [entry.relative for entry in found.entries] == ["Awed/deeper/s0_2.png", "Sad/two\nlines.png"]
    odd.unlink()
    with pytest.raises(UserError, match=r"two\\nlines\.png: line 3 of labels\.csv has it and it does not exist"):
        scan(root, "labels.csv", "", (), "error")


def test_a_class_of_a_table_whose_files_are_all_missing_is_told(root, tmp_path):
    table(root, "file,label,subject", *rows(root), "nowhere.png,bored,p0")
    told = config(root, tmp_path / "tfds", labels_csv="labels.csv", subject_pattern="", on_bad_image="skip")
    with pytest.raises(UserError, match=r"class bored has no images; add some, or name it in config\.data\.exclude"):
        load(told)


def test_classes_are_left_out_in_either_case(root, tmp_path):
    data = load(config(root, tmp_path / "tfds", exclude=("AWED ", "awed")))
    assert data.class_names == ("sad", "happy", "angry")
    with pytest.raises(UserError, match=r"config\.data\.exclude has \['SAD'\]|config\.data\.exclude has \['sad'\]"):
        load(config(root, tmp_path / "tfds", exclude=("SAD",)))


def test_what_does_not_fit_is_told_or_left_out(root, tmp_path):
    odd = root / "Sad" / "nobody.png"
    (root / "Sad" / "deeper" / "s5_1.png").rename(odd)
    stray = root / "stray.png"
    stray.write_bytes(odd.read_bytes())
    with pytest.raises(UserError) as error:
        load(config(root, tmp_path / "tfds"))
    assert "nobody.png: config.data.subject_pattern" in str(error.value)
    assert "finds no subject in its path; rename it or change the pattern" in str(error.value)
    data = load(config(root, tmp_path / "tfds", on_bad_image="skip"))
    assert len(data.label) == 23
    assert [one["file"] for one in data.metadata["skipped"]] == ["Sad/nobody.png", "stray.png"]
    odd.unlink()
    with pytest.raises(UserError, match=r"stray\.png: it lies in no class's folder; put it into one"):
        scan(root, "", PATTERN, (), "error")
    stray.unlink()
    assert len(load(config(root, tmp_path / "tfds")).label) == 23


def test_a_class_without_pictures_is_told(root, tmp_path):
    (root / "Empty").mkdir()
    with pytest.raises(UserError, match="class empty has no images"):
        load(config(root, tmp_path / "tfds"))
    assert len(load(config(root, tmp_path / "tfds", exclude=("empty",))).class_names) == 4


@pytest.mark.parametrize("outer", [("S000", "S001", "S002"), ("fold1", "fold2"), ("train_images", "test_images")])
@pytest.mark.parametrize("split", ["", "train/"])
def test_outer_folders_that_look_like_no_classes_are_told(tmp_path, outer, split):
    paths = [tmp_path / split / a / b / "0.png" for a in outer for b in ("happy", "sad")]
    for path in [*paths, *([tmp_path / "test" / outer[0] / "sad" / "1.png"] if split else [])]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for pattern in ("", r"(?P<subject>S\d+|fold\d|\w+_images)/"):
        with pytest.raises(UserError) as error:
            scan(tmp_path, "", pattern, (), "error")
        assert f"has folders such as {', '.join(sorted(map(str.lower, outer)))}, and each has fold" in str(error.value)
        assert "such as happy, sad; outer folders may be classes (config.data.base_classes may" in str(error.value)
    assert len(scan(tmp_path, "", "", (outer[1],), "error").class_names) == len(outer)
    # People within classes, the same in all: a pattern that finds them says so.
    if not split:
        assert len(scan(tmp_path, "", r"(?P<subject>happy|sad)/\d", (), "error").class_names) == len(outer)


def test_a_link_to_a_folder_above_is_told(root):
    (root / "Sad" / "loop").symlink_to(root)
    with pytest.raises(UserError, match="loop: it is a link to a folder above itself; remove it"):
        scan(root, "", PATTERN, (), "error")
    assert len(scan(root, "", PATTERN, (), "skip").entries) == 24


def test_too_few_classes_for_the_base_task_are_told(root, tmp_path):
    with pytest.raises(UserError, match=r"config\.data\.n_base is 4; it may be 2 to 3"):
        load(config(root, tmp_path / "tfds", n_base=4, base_classes=()))
    with pytest.raises(UserError, match=r"config\.data\.exclude has \['happy'\], which config\.data\.base_classes has"):
        load(config(root, tmp_path / "tfds", exclude=("happy",)))


def test_names_in_one_case_are_one_class(root):
    (root / "sad").mkdir()
    (root / "sad" / "s9_1.png").write_bytes(b"x")
    found = scan(root, "", PATTERN, (), "error")
    assert found.class_names == ("angry", "awed", "happy", "sad")
    assert sum(entry.label == 3 for entry in found.entries) == 7
