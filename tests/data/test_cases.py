"""Inputs of public bug reports, and their relatives: each has its right value here (`tests/data/cases/README.md`)."""

import json
import logging
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import unicodedata

import ml_collections
import numpy as np
import pytest
from PIL import Image

from fer_jax import experiment
from fer_jax.data import from_tfds, listing, load, standard
from fer_jax.data.image_folder import scan
from fer_jax.data.images import read_image
from fer_jax.errors import UserError

CASES = pathlib.Path(__file__).parent / "cases"
# How a picture is stored so that its EXIF orientation turns it upright.
STORED = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1), 6: lambda a: np.rot90(a), 7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, -1),
}  # fmt: skip


def folder(root, prepared, **changes):
    plain = {"name": "image_folder", "dir": str(prepared), "manual_dir": str(root), "image_size": 16,
             "on_bad_image": "error", "base_classes": (), "n_base": 2, "exclude": (), "labels_csv": "",
             "subject_pattern": ""}  # fmt: skip
    return ml_collections.ConfigDict({**plain, **changes})


def drawn(path: pathlib.Path, shade: int) -> pathlib.Path:
    """Writes a picture that no other shade gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 255 - shade, shade // 2)).save(path)
    return path


def said(call, *arguments, **named) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestPixels:
    @pytest.mark.parametrize("mode", ["L", "I16", "P", "RGBA", "CMYK"])
    def test_an_uncompressed_tiff_is_upright(self, mode):
        files = sorted((CASES / "tiff_orientation").glob(f"{mode}_*.tif"))
        assert files
        with files[0].open("rb") as file, Image.open(file) as image:  # of a file object Pillow maps nothing
            right = np.asarray(image.convert("RGBA"), int)
        if mode == "I16":
            right = np.repeat(np.round(np.asarray(Image.open(files[0]), int) / 257)[..., None], 4, -1)
            right[..., 3] = 255
        right = (right[..., :3] * right[..., 3:] + 255 * (255 - right[..., 3:])) / 255
        for path in files:
            picture = read_image(path)
            assert picture.shape == (40, 48, 3)
            assert np.abs(picture - right).max() <= 1

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
    @pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
    def test_all_eight_orientations(self, tmp_path, orientation, compression, mode):
        upright = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100
        colours = np.repeat((upright // 257).astype(np.uint8)[..., None], 3, -1)
        pixels = {"L": colours[..., 0], "I;16": upright, "RGB": colours}[mode]
        image = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "a.tif", exif=exif, compression=compression)
        picture = read_image(tmp_path / "a.tif")
        assert picture.shape == (20, 30, 3)
        assert np.abs(picture[..., 0].astype(int) - np.round(upright / 257)).max() <= 1

    def test_twelve_bits_fill_the_range(self, tmp_path):
        values = np.linspace(0, 4095, 16 * 16).astype(int).reshape(16, 16)
        _tiff(tmp_path / "a.tif", _twelve(values), 12, 1)
        assert np.abs(read_image(tmp_path / "a.tif")[..., 0] - np.round(values * 255 / 4095)).max() <= 1
        _tiff(tmp_path / "b.tif", _twelve(values), 12, 0)  # zero is white: no decoder here takes it
        assert "b.tif: it is not a picture" in said(read_image, tmp_path / "b.tif")

    @pytest.mark.parametrize("photometric", [0, 1])
    def test_sixteen_bits_whose_zero_is_white(self, tmp_path, photometric):
        values = np.linspace(0, 65535, 16 * 16).astype("<u2").reshape(16, 16)
        _tiff(tmp_path / "a.tif", values.tobytes(), 16, photometric)
        right = np.round((values if photometric else 65535 - values) / 257)
        assert np.abs(read_image(tmp_path / "a.tif")[..., 0].astype(int) - right).max() <= 1

    def test_a_picture_of_a_kind_that_is_not_read_is_named(self, tmp_path):
        heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
        for name, content, kind in (("a.HEIC", heic, "HEIC"), ("b.jpg", heic, "HEIC"), ("c.psd", b"8BPS" * 9, "PSD"),
                                    ("d.avif", heic.replace(b"heic", b"avif"), "AVIF")):  # fmt: skip
            (tmp_path / name).write_bytes(content)
            assert f"{name}: it is {kind}, which is not read; save it as JPEG or PNG" in said(
                read_image, tmp_path / name
            )

    def test_such_a_picture_among_others_is_not_passed_over(self, tmp_path):
        for i, name in enumerate(("happy", "sad", "angry")):
            drawn(tmp_path / "f" / name / "a.png", 40 * i)
        (tmp_path / "f" / "sad" / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
        assert "b.HEIC: it is HEIC" in said(load.load, folder(tmp_path / "f", tmp_path / "t"))
        data = load.load(folder(tmp_path / "f", tmp_path / "t", on_bad_image="skip"))
        assert [one["file"] for one in data.metadata["skipped"]] == ["sad/b.HEIC"]


def _twelve(values: np.ndarray) -> bytes:
    """Packs values of 12 bits, two in three bytes."""
    a, b = values.reshape(-1, 2).T
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()


def _tiff(path: pathlib.Path, pixels: bytes, bits: int, photometric: int) -> None:
    """Writes an uncompressed grey TIFF of 16 × 16."""
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 16, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory)


class TestTables:
    def table(self, tmp_path, text: str, n: int = 4, encoding: str = "utf-8") -> pathlib.Path:
        for i in range(n):
            drawn(tmp_path / f"{i}.png", 20 * i)
        (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "line"), [("labels_compound.csv", "line 5 has 3 cells"), ("labels_names.csv", "line 2 has 4")]
    )
    def test_a_line_with_too_many_cells(self, name, line):
        message = said(scan, CASES / "ragged_table", name, "", (), "error")
        assert f"{name}, {line}" in message
        assert "a cell with a comma needs quotes" in message
        assert said(scan, CASES / "ragged_table", name, "", (), "skip") == message

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ('file,label\n0.png,"happy\n1.png,sad\n2.png,happy\n', "line 4 cannot be read as CSV (unexpected end"),
            ('file,label\n0.png,"happy\n1.png,sad"\n2.png,happy\n', "line 2 has a quote that goes on to line 3"),
            ('file,label\n"0.png,happy\n1.png",sad\n', "close the quote that is open up to line 3"),
            ("file,label,label\n0.png,happy,sad\n", "has the column label more than once"),
            ("file,label,\ufefffile\n0.png,happy,1.png\n", "has the column file more than once"),
            ("file;label\n0.png;happy\n", "has columns ['file;label']"),
        ],
    )
    def test_malformed_tables_are_one_line(self, tmp_path, text, right):
        self.table(tmp_path, text)
        for on_bad_image in ("error", "skip"):
            assert right in said(scan, tmp_path, "labels.csv", "", (), on_bad_image)

    def test_marks_of_byte_order_are_no_part_of_a_name(self, tmp_path):
        self.table(tmp_path, "\ufeff\ufefffile,label\n\ufeff0.png,\ufeffhappy\n1.png,happy\n2.png,sad\n")
        found = scan(tmp_path, "labels.csv", "", (), "error")
        assert [(e.relative, found.class_names[e.label]) for e in found.entries] == [
            ("0.png", "happy"), ("1.png", "happy"), ("2.png", "sad")]  # fmt: skip
        self.table(tmp_path, "file,label\n0.png,happy\n", encoding="utf-16")
        assert "is not UTF-8 text" in said(scan, tmp_path, "labels.csv", "", (), "error")

    def test_what_is_there_is_counted(self, tmp_path, caplog, monkeypatch):
        self.table(tmp_path / "f", "file,label,subject\n0.png,happy,Anna\n1.png,sad,ANNA\n2.png,fear,Bob\n", n=6)
        (tmp_path / "f" / "Thumbs.db").write_bytes(b"x")
        monkeypatch.setattr(load.log, "propagate", True)
        with caplog.at_level(logging.INFO, "fer_jax"):
            data = load.load(folder(tmp_path / "f", tmp_path / "t", labels_csv="labels.csv"))
        # Three pictures that the table leaves out, Thumbs.db and the table itself.
        assert "image_folder: 3 images, 3 classes, 2 subjects, 4 files ignored" in caplog.text
        assert "3 pictures that labels.csv does not name were left alone" in caplog.text
        assert data.subject.tolist() == [0, 0, 1]

    def test_backslashes_are_folders(self, tmp_path):
        found = scan(CASES / "backslash", "labels.csv", "", (), "error")
        assert [e.relative for e in found.entries] == [f"S{i // 3}/{i}.png" for i in range(9)]
        assert [e.subject for e in found.entries] == [i // 3 for i in range(9)]
        self.table(tmp_path, "file,label\nC:\\x\\0.png,happy\n")
        assert r"line 2 has file 'C:\\x\\0.png'; it may be a path under" in said(
            scan, tmp_path, "labels.csv", "", (), "error"
        )
        self.table(tmp_path, "file,label\n0.png,happy\n.\\0.png,sad\n")
        assert "line 3 has .\\0.png for the second time, after 2" in said(scan, tmp_path, "labels.csv", "", (), "error")


class TestSpelling:
    def test_folders_of_a_mac(self, tmp_path):
        data = load.load(folder(CASES / "nfd_folders", tmp_path, base_classes=("dégoût", "joie"),
                                subject_pattern=r"(?P<subject>zoé)_"))  # fmt: skip
        assert data.class_names == ("dégoût", "joie", "colère", "surprise")
        assert np.bincount(data.label).tolist() == [4] * 4
        assert set(data.subject) == {0}

    def test_both_spellings_are_one(self, tmp_path):
        names = [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in ("dégoût", "joie")]
        for i, name in enumerate(names):
            drawn(tmp_path / "f" / name / f"zoé{i}.png", 20 * i)
        found = scan(tmp_path / "f", "", "(?P<subject>zoé)", (), "error")
        assert found.class_names == ("dégoût", "joie")
        assert {e.subject for e in found.entries} == {0}
        rows = [f"{unicodedata.normalize('NFC', e.relative)},{found.class_names[e.label]},{who}"
                for e, who in zip(found.entries, ("Zoé", "zoe\u0301", "ZOÉ"), strict=False)]  # fmt: skip
        (tmp_path / "f" / "labels.csv").write_text("\n".join(("file,label,subject", *rows)), encoding="utf-8")
        table = scan(tmp_path / "f", "labels.csv", "", (), "error")
        assert len(table.entries) == 3
        assert {e.subject for e in table.entries} == {0}

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("localedef") is None, reason="no localedef to make a locale with")
    def test_the_same_names_in_every_locale(self, tmp_path):
        made = subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "en_US.ISO-8859-1")],
                              capture_output=True)  # fmt: skip
        if not (tmp_path / "en_US.ISO-8859-1").exists():
            pytest.skip(f"no locale could be made: {made.stderr[-200:]!r}")
        for i in range(3):
            drawn(tmp_path / "f" / "élan" / f"{i}é.png", 50 * i)
        rows = [f"élan/{i}é.png,{name}" for i, name in enumerate(("colère", "喜び", "joie"))]
        (tmp_path / "f" / "labels.csv").write_text("\n".join(("file,label", *rows)), encoding="utf-8")
        code = (
            "import sys, pathlib, json; from fer_jax.data.image_folder import scan; "
            "root = pathlib.Path(sys.argv[1]); a = scan(root, 'labels.csv', '', (), 'error'); "
            "b = scan(root, '', '', (), 'error'); "
            "files = [e.shown for e in a.entries]; "
            "from fer_jax.data.load import load; import ml_collections; "
            "config = ml_collections.ConfigDict({**json.loads(sys.argv[2]), 'exclude': (), 'base_classes': ()}); "
            "data = load(config); "
            "print(json.dumps([sys.getfilesystemencoding(), a.class_names, files, b.class_names, data.class_names, "
            "data.files, data.checksum()]))"
        )
        answers = []
        for language in ("C.UTF-8", "en_US.ISO-8859-1"):
            environment = {**os.environ, "LC_ALL": language, "LOCPATH": str(tmp_path), "PYTHONUTF8": "0"}
            if language == "C.UTF-8":
                del environment["LOCPATH"]
            for prepared in dict.fromkeys((language, "C.UTF-8")):  # its own, then what the first one prepared
                given = folder(tmp_path / "f", tmp_path / prepared, labels_csv="labels.csv").to_json()
                run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f"), given], env=environment,
                                     capture_output=True, text=True, check=False)  # fmt: skip
                assert run.returncode == 0, run.stderr
                answers.append(json.loads(run.stdout.splitlines()[-1]))  # TFDS prints before it
        assert [one[0] for one in answers] == ["utf-8", "iso8859-1", "iso8859-1"]
        assert all(one[1:] == answers[0][1:] for one in answers)
        assert answers[0][1] == ["colère", "joie", "喜び"]
        assert answers[0][3] == ["élan"]


class TestLitter:
    @pytest.mark.parametrize("name", ["eadir", "macosx"])
    def test_nine_pictures_of_three_classes(self, name, tmp_path):
        data = load.load(folder(CASES / name, tmp_path))
        assert data.class_names == ("fear", "happy", "sad")
        assert np.bincount(data.label).tolist() == [3, 3, 3]
        assert data.metadata["ignored"] == {"eadir": 18, "macosx": 13}[name]

    @pytest.mark.parametrize(
        "name",
        ["@eaDir", "@Recycle", "#recycle", "__MACOSX", ".AppleDouble", "$RECYCLE.BIN", "lost+found",
         ".ipynb_checkpoints", "System Volume Information", "@__thumb"],
    )  # fmt: skip
    def test_folders_of_no_class(self, tmp_path, name):
        for i in range(2):
            drawn(tmp_path / "happy" / f"{i}.png", 30 * i)
            drawn(tmp_path / "sad" / f"{i}.png", 100 + 30 * i)
            drawn(tmp_path / name / f"{i}.png", 60 + 5 * i)
            drawn(tmp_path / "sad" / name / f"{i}.png", 70 + 5 * i)
        found = scan(tmp_path, "", "", (), "error")
        assert found.class_names == ("happy", "sad")
        assert len(found.entries) == 4
        assert found.ignored == 4


class TestSplits:
    def test_folders_of_splits(self, tmp_path, caplog, monkeypatch):
        monkeypatch.setattr(load.log, "propagate", True)
        with caplog.at_level(logging.INFO, "fer_jax"):
            data = load.load(folder(CASES / "split_folders", tmp_path))
        assert data.class_names == ("angry", "fear", "happy", "sad")
        assert (len(data.label), data.official_test.sum(), data.official_validation.sum()) == (32, 8, 8)
        for rows, n in ((data.official_test, 2), (data.official_validation, 2)):
            assert np.bincount(data.label[rows]).tolist() == [n] * 4
        assert (
            "32 images, 4 classes, subjects unknown, 8 of the official test set, 8 of the official validation set"
            in (caplog.text)
        )
        split = experiment.protocol.split(data.subject, 0, 3, "held_out", data.official_test, data.label,
                                          data.official_validation)  # fmt: skip
        np.testing.assert_array_equal(split.test, np.flatnonzero(data.official_test))
        np.testing.assert_array_equal(split.validation, np.flatnonzero(data.official_validation))
        assert len(split.train) == 16

    @pytest.mark.parametrize(
        ("names", "test", "validation"),
        [(("Training", "PublicTest", "PrivateTest"), 4, 4), (("train", "test"), 4, 0), (("TRAIN", "val"), 0, 4)],
    )
    @pytest.mark.parametrize("class_first", [False, True])
    def test_other_names_and_the_other_order(self, tmp_path, names, test, validation, class_first):
        shade = 0
        for name in names:
            for label in ("happy", "sad"):
                for i in range(2):
                    parts = (label, name) if class_first else (name, label)
                    drawn(tmp_path.joinpath(*parts, f"{name}{i}.png"), shade := shade + 1)
        found = scan(tmp_path, "", "", (), "error")
        assert found.class_names == ("happy", "sad")
        assert sum(bool(e.official_test) for e in found.entries) == test
        assert sum(e.official_validation for e in found.entries) == validation

    def test_a_mixture_and_a_folder_too_high_are_one_line(self, tmp_path):
        for i, name in enumerate(("train/happy", "train/sad", "happy")):
            drawn(tmp_path / "f" / name / "a.png", 30 * i)
        assert "has the folders train, which are splits, and happy" in said(scan, tmp_path / "f", "", "", (), "error")
        shutil.rmtree(tmp_path / "f" / "happy")
        drawn(tmp_path / "f" / "test" / "sad" / "a.png", 99)
        assert f"config.data.manual_dir may be {tmp_path / 'f'}" in said(scan, tmp_path, "", "", (), "error")


class TestGaps:
    def test_a_class_without_a_picture(self):
        config = ml_collections.ConfigDict({"name": "idx", "dir": "", "exclude": (), "n_base": 2, "class_names": (),
                                            "manual_dir": str(CASES / "idx_gap"), "image_size": 12})  # fmt: skip
        size = struct.unpack(">I", (CASES / "idx_gap" / "train-images-idx3-ubyte").read_bytes()[8:12])[0]
        config.image_size = size
        message = said(load.load, config)
        assert "class class 0 has no images" in message
        assert "config.data.exclude" in message
        assert "n_folds" not in message
        config.exclude = ("class 0",)
        assert "class 0" not in load.load(config).class_names

    @pytest.mark.parametrize("people", [1, 2])
    def test_a_class_of_one_person(self, people):
        from fer_jax import protocol
        from fer_jax.data.arrays import FaceArrays

        subject = np.repeat(np.arange(6), 3).astype(np.int32)
        label = np.tile(np.arange(3), 6).astype(np.int32)
        label[(label == 2) & (subject >= people)] = 1
        data = FaceArrays(np.zeros((18, 8, 8, 3), np.uint8), label, subject, ("a", "b", "c"))
        message = said(experiment._check_split, data, 0, protocol.split(subject, 0, 3))
        assert f"(the data set has {people}, of {people} subjects); config.data.exclude leaves the class out" in message
        assert "n_folds" not in message


class TestTfds:
    @pytest.mark.parametrize(
        ("image", "right"),
        [
            (np.full((9, 9, 1), 7, np.uint8), 7),
            (np.full((9, 9), 7, np.uint8), 7),
            (np.full((9, 9, 3), 257 * 7, np.uint16), 7),
            (np.concatenate([np.full((9, 9, 3), 7, np.uint8), np.zeros((9, 9, 1), np.uint8)], -1), 255),
            (np.full((1, 1, 3), 7, np.uint8), "is 1 × 1; a picture is at least 8 × 8"),
            (np.full((9, 9, 3), 0.5, np.float32), "is float32, of no known range"),
            (np.zeros((4, 9, 9, 3), np.uint8), "is [4, 9, 9, 3]; it may be [H, W]"),
            (np.zeros((9, 9, 7), np.uint8), "is [9, 9, 7]"),
        ],
    )
    def test_pictures_of_every_form(self, image, right):
        if isinstance(right, str):
            assert f"HERE the feature image {right}" in said(standard._picture, image, 9, "HERE")
        else:
            assert standard._picture(image, 9, "HERE").tolist() == np.full((9, 9, 3), right).tolist()

    @pytest.mark.parametrize(
        ("label", "right"),
        [
            (np.int64(3), 3),
            ("Joie", "joie"),
            (b"joie ", "joie"),
            (np.int64(-1), "is -1; it may be from 0"),
            (np.float32(1.7), "is 1.7000000476837158 of type float32; it may be one whole number"),
            (np.array([1, 2]), "is [2] of int64"),
            (b" ", "is empty"),
            ("\u200d", "is empty"),
        ],
    )
    def test_labels_of_every_form(self, label, right):
        if isinstance(right, str) and " " in right:
            assert f"HERE the feature label {right}" in said(standard._label, label, "HERE")
        else:
            assert standard._label(label, "HERE") == right

    def test_a_row_is_named_with_its_split(self, tmp_path, monkeypatch):
        import tensorflow_datasets as tfds

        rows = {"train": [{"image": np.zeros((8, 8, 3), np.uint8), "label": b"sad"}] * 2,
                "validation": [{"image": np.ones((8, 8), np.uint8), "label": b"happy"}],
                "test": [{"image": np.full((8, 8, 4), 9, np.uint8), "label": b"sad"}]}  # fmt: skip
        features = {"image": None, "label": None}
        info = type("Info", (), {"splits": rows, "features": features})
        builder = type("Builder", (), {"info": info, "data_dir": "", "as_data_source": lambda self, split: rows[split]})
        monkeypatch.setattr(tfds, "builder", lambda *a, **k: builder())
        data = standard.tfds_set("mine", "", 8)
        assert data.class_names == ("happy", "sad")
        assert data.label.tolist() == [1, 1, 0, 1]
        assert data.official_test.tolist() == [False, False, False, True]
        assert data.official_validation.tolist() == [False, False, True, False]
        rows["test"].append({"image": np.zeros((8, 8, 3), np.uint8), "label": np.int64(-1)})
        assert "'tfds:mine': in row 1 of its split 'test' the feature label is -1" in said(
            standard.tfds_set, "mine", "", 8
        )


def test_another_process_prepares_the_same_data_first(tmp_path, monkeypatch):
    for i, name in enumerate(("happy", "sad", "angry")):
        drawn(tmp_path / "f" / name / "a.png", 40 * i)
    config = folder(tmp_path / "f", tmp_path / "t")
    real = from_tfds.tfds.core.DatasetBuilder.download_and_prepare

    def beaten(builder, **named):
        """The other one is done just before this one would move its files into place."""
        other = type(builder)(config=builder.builder_config, data_dir=tmp_path / "t")
        real(other, **named)
        raise FileExistsError(17, "File exists", str(builder.data_path))

    monkeypatch.setattr(from_tfds.tfds.core.DatasetBuilder, "download_and_prepare", beaten)
    assert len(load.load(config).label) == 3


def test_a_home_is_expanded_or_named(monkeypatch, tmp_path):
    from fer_jax.cli import main
    from fer_jax.config.places import expanded

    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    for command in (["report", "--workdir=~/none"], ["predict", "--workdir=~/none", "x.jpg"]):
        known, _ = main.parser().parse_known_args(command)
        workdir = known.workdir[0] if isinstance(known.workdir, list) else known.workdir
        assert workdir == tmp_path / "none"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert "~/a, and this process has no such home; set HOME" in said(expanded, "~/a", "--out")
    with pytest.raises(SystemExit) as ended:
        main.main(["report", "--workdir=~/none"])
    assert ended.value.code == 2


def test_every_path_of_the_command_expands_a_home():
    flags = re.findall(r"type=([\w.]+)", "".join(p.read_text() for p in pathlib.Path("fer_jax/cli").glob("*.py")))
    assert "pathlib.Path" not in flags


def test_hidden_files_and_litter_by_name():
    assert all(map(listing.is_litter, map(pathlib.Path, (".x", "Thumbs.db", "desktop.ini", "@eaDir"))))
    assert not listing.is_litter(pathlib.Path("happy"))


@pytest.mark.parametrize("place", ["/mnt/b/faces", "faces/", "/mnt/a/faces/"])
def test_a_run_goes_on_where_its_data_lie_now(tmp_path, tiny_config, place):
    from fer_jax import config as configs
    from fer_jax.config import ConfigError
    from fer_jax.runs.workdir import claim, moved, read

    config = tiny_config.copy_and_resolve_references()
    config.data.dir = "/mnt/a/faces"
    config = configs.resolve(config)
    claim(tmp_path / "run", config, write=True)
    other = config.copy_and_resolve_references()
    other = ml_collections.ConfigDict(configs.nested({**configs.flatten(other), "data.dir": place}))
    assert claim(tmp_path / "run", other, write=False)
    moved(tmp_path / "run", other)
    assert read(tmp_path / "run" / "config.json")["data.dir"] == place
    other.seed = config.seed + 1
    with pytest.raises(ConfigError, match="is of another config: seed"):
        claim(tmp_path / "run", other, write=False)


def test_a_model_is_told_where_its_data_lie_now():
    from fer_jax.cli import flags

    given = flags.places(["--config.data.manual_dir=/b", "--config.data.dir=/c=d"], "explain")
    assert given == {"data.manual_dir": "/b", "data.dir": "/c=d"}
    for wrong in ("--config.seed=3", "--config.data.dir", "more"):
        assert said(flags.places, [wrong], "explain") == f"{wrong} is not an argument of explain"


@pytest.mark.slow
@pytest.mark.parametrize("platforms", ["cuda", "gpu", "tpu"])
def test_a_device_that_is_not_there_is_one_line(tmp_path, platforms):
    run = subprocess.run(
        [sys.executable, "-m", "fer_jax", "train", "--config", "configs/smoke.py", "--workdir", str(tmp_path / "run")],
        env={**os.environ, "JAX_PLATFORMS": platforms}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode == 0:
        pytest.skip("this machine has such a device")
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith(f"fer-jax: JAX_PLATFORMS is '{platforms}', and JAX finds no such")
    assert "Traceback" not in run.stderr


def test_files_passed_over_by_predict_are_named(tmp_path, logged):
    from fer_jax.inference import predict

    for i in range(3):
        drawn(tmp_path / f"{i}.jpg", 50 * i)
        (tmp_path / f"{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "notes.txt").write_text("no picture")
    listed = predict.pictures([tmp_path])
    assert [path.suffix for path in listed].count(".HEIC") == 3
    assert "1 files without a picture's extension are passed over" in logged.text
