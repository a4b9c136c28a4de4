"""Relatives of the inputs in `tests/data/cases`: other files, tables and names of the same kinds."""

import json
import os
import pathlib
import unicodedata

import ml_collections
import numpy as np
import pytest
from PIL import Image

from fer_jax.data import leakage, splits, table
from fer_jax.data.classes import in_two_words
from fer_jax.data.image_folder import scan
from fer_jax.data.images import BadImage, read_image
from fer_jax.data.layouts import hub_folder, parquet
from fer_jax.data.layouts.labels import Labels
from fer_jax.errors import UserError
from tests.support import layouts

RED, BLUE = (200, 40, 40), (40, 40, 200)


def halves(mode: str) -> Image.Image:
    """Draws 20 rows of 30 pixels, red on the left and blue on the right, or dark and light where there is no colour."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15], pixels[:, 15:] = RED, BLUE
    return Image.fromarray(pixels).convert(mode)


def turned(image: Image.Image, path: pathlib.Path, **how) -> None:
    """Saves a picture lying on its side, with the EXIF orientation that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, **how)


def with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(255)
    return image


FORMS = {
    "turned.jpg": lambda p: turned(halves("RGB"), p, quality=95),
    "turned.png": lambda p: turned(halves("RGB"), p),
    "turned.webp": lambda p: turned(halves("RGB"), p, lossless=True),
    "ink.tif": lambda p: halves("CMYK").save(p),
    "palette.png": lambda p: halves("RGB").quantize(8).save(p),
    "palette.gif": lambda p: halves("RGB").quantize(8).save(p),
    "alpha.png": lambda p: with_alpha(halves("RGB")).save(p),
    "alpha.webp": lambda p: with_alpha(halves("RGB")).save(p, lossless=True),
    "moving.gif": lambda p: halves("RGB").save(p, save_all=True, append_images=[Image.new("RGB", (30, 20))]),
    "moving.webp": lambda p: halves("RGB").save(
        p, save_all=True, append_images=[Image.new("RGB", (30, 20))], lossless=True
    ),
    "moving.png": lambda p: halves("RGB").save(p, save_all=True, append_images=[Image.new("RGB", (30, 20))]),
    "pages.TIF": lambda p: halves("RGB").save(p, "TIFF", save_all=True, append_images=[Image.new("RGB", (30, 20))]),
    "two.mpo": lambda p: halves("RGB").save(
        p, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (30, 20))]
    ),
    "luma.jpg": lambda p: halves("YCbCr").save(p, quality=95),
    "named.JPEG": lambda p: halves("RGB").save(p, "PNG"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_picture_of_any_form_has_its_colours_and_is_upright(tmp_path, name):
    FORMS[name](tmp_path / name)
    picture = read_image(tmp_path / name).astype(int)
    assert picture.shape == (20, 30, 3)
    # Away from the edge, which JPEG blurs.
    assert np.abs(picture[4:16, 3:12] - RED).max() <= 4
    assert np.abs(picture[4:16, 18:27] - BLUE).max() <= 4


@pytest.mark.parametrize(
    ("name", "save", "dark", "light"),
    [
        ("wide.png", lambda p: Image.fromarray(np.repeat([[10 * 257, 250 * 257]], 8, 0).repeat(4, 1).astype(np.uint16))
         .save(p), 10, 250),
        ("one.png", lambda p: Image.fromarray(np.repeat([[False, True]], 8, 0).repeat(4, 1)).save(p), 0, 255),
        ("grey.png", lambda p: with_alpha(Image.fromarray(np.repeat([[10, 250]], 8, 0).repeat(4, 1).astype(np.uint8)))
         .save(p), 10, 250),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_greys_of_any_depth(tmp_path, name, save, dark, light):
    save(tmp_path / name)
    picture = read_image(tmp_path / name)
    assert picture.shape == (8, 8, 3)
    assert (picture[:, :4] == dark).all()
    assert (picture[:, 4:] == light).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "it is not a picture"),
        (b"<html>not found</html>", "it is not a picture"),
        (b"\xff\xd8\xff\xe0", "it is not a picture"),
    ],
)
def test_what_downloads_leave_is_no_picture(tmp_path, content, said):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage) as error:
        read_image(tmp_path / "a.jpg")
    assert f"a.jpg: {said}" in str(error.value)


def drawn(root: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not opened by a scan")
    return root


def said(call, *arguments) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def listed(root: pathlib.Path, text: str | bytes = "") -> dict[str, str]:
    """Class by file, of the folder or of the table with this text."""
    if text:
        (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = scan(root, "labels.csv" if text else "", "", (), "error")
    return {one.relative: found.class_names[one.label] for one in found.entries}


class TestTables:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\n\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_ends_of_lines(self, tmp_path, end, mark):
        drawn(tmp_path, "0.png", "1.png")
        right = {"0.png": "happy", "1.png": "very sad, indeed"}
        assert listed(tmp_path, mark + end.join(("file,label", "0.png,happy", '1.png,"very sad, indeed"', ""))) == right

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_another_separator_is_told(self, tmp_path, separator):
        drawn(tmp_path, "0.png")
        message = said(listed, tmp_path, separator.join(("file", "label")) + "\n" + separator.join(("0.png", "sad")))
        assert "(a comma separates cells); it may have file, label" in message

    def test_names_as_other_systems_write_them(self, tmp_path):
        written = ("S 0/zoé 1.JPG", "S 0/zoé 2.png", "S 0/b.png", "S 0/c.png")
        drawn(tmp_path, *(unicodedata.normalize("NFD", name) for name in written))
        told = ("S 0/zoé 1.jpg", "s 0\\Zoé 2.PNG", "./S 0//b.png", '"S 0/c.png"')
        text = "\n".join(("file,label", *(f"{name},sad" for name in told)))
        assert len(listed(tmp_path, text)) == 4
        drawn(tmp_path, "S 0/B.png")  # now two files differ in case alone, and a third spelling is neither
        assert "S 0/b.PNG: line 2 of labels.csv has it and it does not exist" in said(
            listed, tmp_path, "file,label\nS 0/b.PNG,sad\n"
        )
        assert listed(tmp_path, "file,label\nS 0/b.png,sad\nS 0/B.png,joy\n") == {
            "S 0/b.png": "sad",
            "S 0/B.png": "joy",
        }

    @pytest.mark.parametrize(
        ("line", "right"),
        [
            ("0.png,happy\u200b", "line 2 has the invisible character U+200B in its label, 'happy\\u200b'; remove it"),
            ("0.png,hap\u00adpy", "line 2 has the invisible character U+00AD in its label"),
            ("0.png,happy\0", "line 2 has a NUL byte in its label, 'happy\\x00'; remove it"),
            ("0\0.png,happy", "line 2 has a NUL byte in its file, '0\\x00.png'; remove it"),
            ('0.png,happy"', "line 2 has a quote in its label, 'happy\"'; remove it"),
            ('0.png,"happy" x', "line 2 cannot be read as CSV"),
            ("0.png,0.5", "line 2 has label '0.5'; it may be a text or a whole number from 0"),
            ("0.png,inf", "line 2 has label 'inf'; it may be a text or a whole number from 0"),
            ("0.png,-1", "line 2 has label '-1'; it may be a text or a whole number from 0"),
            ("0.png,-1.0", "line 2 has label '-1.0'; it may be a text or a whole number from 0"),
            ("0.png,\u200d", "line 2 has an empty label; it may be a class"),
            ("0.png,3.0", {"0.png": "3"}),
            ("0.png,-0", {"0.png": "-0"}),
            ("0.png,خوش\u200cحال", {"0.png": "خوش\\u200cحال"}),
        ],
    )
    def test_what_nobody_sees_is_told(self, tmp_path, line, right):
        drawn(tmp_path, "0.png")
        if isinstance(right, str):
            assert right in said(listed, tmp_path, f"file,label\n{line}\n")
        else:
            assert listed(tmp_path, f"file,label\n{line}\n") == right

    @pytest.mark.parametrize(
        ("text", "right"),
        [("3", 3), ("3.0", 3), ("3.", 3), ("-1", -1), ("03", 3), ("3.5", None), ("x", None), ("٣", None), ("nan", None),
         ("1e3", None), ("9" * 30, None)],
    )  # fmt: skip
    def test_whole_numbers(self, text, right):
        assert table.whole(text) == right

    @pytest.mark.parametrize(
        ("rows", "right"),
        [
            (("1.0", "0.0"), ["class 1", "class 0"]),
            (("1", "7"), ["class 1", "class 7"]),
            (("-1", "0"), "line 2 has label -1; it may be from 0"),
            (("0", "happy"), "line 3 has label 'happy'; labels may be all text or all whole numbers"),
            (("0", "1.5"), "line 3 has label '1.5'; labels may be"),
            (("0.5", "1.5"), "line 2 has label '0.5'; it may be a text or a whole number from 0"),
            (("sad", "nan"), "line 3 has label 'nan'; it may be a text or a whole number from 0"),
            (("", "sad"), "line 2 has no label"),
            ((" Happy ", "happy"), ["happy", "happy"]),
        ],
    )
    def test_labels_of_a_hubs_table(self, tmp_path, rows, right):
        drawn(tmp_path, "0.png", "1.png")
        text = "\n".join(("file_name,label", *(f"{i}.png,{label}" for i, label in enumerate(rows))))
        (tmp_path / "metadata.csv").write_text(text)
        keys = ml_collections.ConfigDict({"on_bad_image": "error", "base_classes": (), "label_column": "label"})
        if isinstance(right, str):
            assert right in said(hub_folder.scan, tmp_path, keys)
        else:
            found = hub_folder.scan(tmp_path, keys)
            assert [found.class_names[one.label] for one in found.entries] == right

    @pytest.mark.parametrize("value", [None, True, -1, -1.0, 1.5, float("nan"), [1, 2], {"a": 1}, b"x", "", 4])
    def test_labels_that_are_none(self, value):
        message = said(Labels(("a", "b")).name_of, value, "f, row 3")
        assert message.startswith("f, row 3 has ")
        assert "label" in message


class TestFolders:
    def test_splits_in_all_their_names(self):
        right = {"train": "Train TRAINING trn", "validation": "val Valid validation dev PublicTest",
                 "test": "test Testing eval evaluation PrivateTest"}  # fmt: skip
        for side, names in right.items():
            for name in names.split():
                assert splits.side(name) == (side == "test", side == "validation")
        assert not any(map(splits.is_split, ("happy", "trainer", "", "tests")))

    @pytest.mark.parametrize(
        ("name", "right"),
        [
            ("test-00000-of-00001.parquet", "test"),
            ("validation.parquet", "validation"),
            ("fer_train.parquet", "train"),
            ("faces-dev-0.parquet", "dev"),
            ("plain/test/0000.parquet", "test"),
            ("train/train_test.parquet", "train"),
            ("train_test.parquet", None),
            ("faces.parquet", None),
        ],
    )
    def test_the_split_of_a_parquet_file(self, name, right):
        assert parquet._side(pathlib.PurePath(name)) == right

    def test_folders_of_folders_and_links(self, tmp_path):
        root = drawn(tmp_path / "a", "FER/happy/0.png", "FER/sad/0.png", "__MACOSX/FER/happy/._0.png", "FER/.DS_Store")
        assert f"config.data.manual_dir may be {root / 'FER'}" in said(listed, root)
        (root / "FER" / "joy").symlink_to(drawn(tmp_path / "b", "deep/1.png", "Icon\r"))
        (root / "FER" / "sad" / "gone.png").symlink_to(tmp_path / "nowhere.png")
        assert "gone.png: it cannot be read (No such file" in said(listed, root / "FER")
        os.unlink(root / "FER" / "sad" / "gone.png")
        assert listed(root / "FER") == {"happy/0.png": "happy", "sad/0.png": "sad", "joy/deep/1.png": "joy"}
        (root / "FER" / "sad" / "up").symlink_to(root / "FER")
        assert "up: it is a link to a folder above itself" in said(listed, root / "FER")

    def test_one_name_in_two_folders_is_two_pictures(self, tmp_path):
        drawn(tmp_path, "Happy/0.JPG", "sad/0.JPG", "happy/0.JPG", "sad/deeper/0.JPG")
        right = {"Happy/0.JPG": "happy", "happy/0.JPG": "happy", "sad/0.JPG": "sad", "sad/deeper/0.JPG": "sad"}
        assert listed(tmp_path) == right

    def test_two_words_for_one_expression(self):
        assert in_two_words(("anger", "Fear", "happy", "angry", "joy")) == [
            "classes angry and anger may be one expression", "classes happy and joy may be one expression"]  # fmt: skip
        assert in_two_words(("angrily surprised", "angry", "surprised")) == []


def test_a_parquet_file_of_categories_floats_and_lists(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    keys = ml_collections.ConfigDict({"on_bad_image": "error", "base_classes": (), "image_column": "image",
                                      "label_column": "label", "subject_column": ""})  # fmt: skip
    columns = {
        "categories": (pa.array(["sad", "joy", "sad"]).dictionary_encode(), ["sad", "joy", "sad"]),
        "floats": (pa.array([2.0, 0.0, 2.0]), ["class 2", "class 0", "class 2"]),
        "lists": (pa.array([[1], [0, 1], [1]]), "row 0 has label [1]; it may be a text or a whole number"),
        "gap": (pa.array([1.0, None, 0.0]), "row 1 has no label"),
        "not a number": (pa.array([1.0, float("nan"), 0.0]), "row 1 has label nan"),
    }
    for name, (labels, right) in columns.items():
        pq.write_table(pa.table({"image": [b"x"] * 3, "label": labels}), tmp_path / "train.parquet")
        if isinstance(right, str):
            assert right in said(parquet.scan, tmp_path, keys), name
        else:
            found = parquet.scan(tmp_path, keys)
            assert [found.class_names[one.label] for one in found.entries] == right, name


def test_json_lines_of_other_systems(tmp_path):
    root = drawn(tmp_path, "a b/é.png", "1.png")
    lines = [json.dumps({"file_name": "a b\\é.png", "label": 2.0}), json.dumps({"file_name": "1.png", "label": 0})]
    (root / "metadata.jsonl").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n\r\n").encode())
    keys = ml_collections.ConfigDict({"on_bad_image": "error", "base_classes": (), "label_column": "label"})
    found = hub_folder.scan(root, keys)
    assert {one.relative: found.class_names[one.label] for one in found.entries} == {
        "1.png": "class 0", "a b/é.png": "class 2"}  # fmt: skip


def test_pictures_of_nothing_are_alike_and_like_nothing_else():
    """FER2013 has some that are black."""
    black = np.zeros((2, 48, 48, 3), np.uint8)
    grey = np.full((1, 48, 48, 3), 90, np.uint8)
    faces = np.stack([np.asarray(layouts.face(i).convert("RGB")) for i in range(3)])
    pairs = leakage.near_duplicates(np.concatenate([black, grey, faces]), np.arange(6))
    assert {one[:2] for one in pairs if one.first < 3} == {(0, 1), (0, 2), (1, 2)}


def test_a_config_file_below_a_home(tmp_path, monkeypatch):
    from fer_jax.config.file import read_config

    monkeypatch.setenv("HOME", str(tmp_path))
    smoke = pathlib.Path(__file__).parents[2] / "configs" / "smoke.py"
    (tmp_path / "mine.py").write_text(
        f"import runpy\n\ndef get_config():\n    return runpy.run_path({str(smoke)!r})['get_config']()\n"
    )
    assert read_config(["--config=~/mine.py", "--config.seed=7"]).seed == 7
    assert said(read_config, ["--config=~/none.py"]) == f"--config {tmp_path}/none.py: no such file"
