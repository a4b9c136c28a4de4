"""Bad input, each kind through the whole of loading: what is said, that nothing is half there, that repair helps."""

import errno
import io
import logging
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from fer_jax.data import load as loading
from fer_jax.data.images import read_image, square
from fer_jax.data.load import load
from fer_jax.errors import UserError
from tests.support import cfee_tree

BAD = pathlib.Path("CFEE_Database_230/Group1/Images1/07_102_IMG_1001.jpg")  # subject 1, fearful
OTHER = BAD.with_name("07_101_IMG_1000.jpg")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "cfee"
    cfee_tree.write_tree(root, cfee_tree.noise(3))
    return root


@pytest.fixture
def tree(whole, tmp_path):
    """A tree of three subjects, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "cfee")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def bomb(side: int) -> bytes:
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def prepared(folder: pathlib.Path) -> list[str]:
    """What is in the cache, unfinished folders included."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


SPOILT = {
    "zero bytes": (lambda whole: b"", "it is empty (0 bytes)"),
    "truncated": (lambda whole: whole[: len(whole) // 2], "it cannot be decoded (image file is truncated"),
    "text": (lambda whole: b"a text called .jpg\n" * 99, "it is not a picture (JPEG, "),
    "1 x 1": (lambda whole: saved(Image.new("RGB", (1, 1)), "PNG"), "it is 1 × 1; a picture is at least 8 × 8"),
    "20,000 x 20,000": (lambda whole: bomb(20_000), "it has more than 100,000,000 pixels"),
    "32-bit float": (lambda whole: saved(Image.new("F", (20, 20)), "TIFF"), "its pixels are of Pillow's mode F"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_picture_is_told_or_left_out_and_repair_helps(tree, tmp_path, caplog, monkeypatch, kind):
    spoil, said = SPOILT[kind]
    monkeypatch.setattr(loading.log, "propagate", True)
    before, cache = (tree / BAD).read_bytes(), tmp_path / "tfds"
    (tree / BAD).write_bytes(spoil(before))
    files = sorted(tree.rglob("*"))
    for _ in range(2):  # the second run must not take what the first left for the whole
        with pytest.raises(UserError) as error:
            load(cfee_tree.data_config(tree, cache))
        message = str(error.value)
        assert f"{BAD}: {said}" in message
        assert message.endswith(", or leave such files out with config.data.on_bad_image=skip")
        assert "\n" not in message
        assert prepared(cache) == []
    assert sorted(tree.rglob("*")) == files

    with caplog.at_level(logging.WARNING, "fer_jax"):
        for _ in range(2):  # prepared, then from the cache
            caplog.clear()
            data = load(cfee_tree.data_config(tree, cache, on_bad_image="skip"))
            assert len(data.label) == 3 * 21 - 1
            assert not ((data.subject == 1) & (data.label == 2)).any()
            (left_out,) = data.metadata["skipped"]
            assert left_out["file"] == str(BAD)
            assert said in left_out["problem"]
            assert f"left out {BAD}: {said}" in caplog.text
            assert "1 files were left out" in caplog.text

    (tree / BAD).write_bytes(before)
    data = load(cfee_tree.data_config(tree, cache))
    assert len(data.label) == 3 * 21
    np.testing.assert_array_equal(
        data.image[(data.subject == 1) & (data.label == 2)][0], square(read_image(tree / BAD), 32)
    )


def turned(image: Image.Image) -> bytes:
    exif = image.getexif()
    exif[0x0112] = 6
    return saved(image, "JPEG", exif=exif)


def deep(image: Image.Image) -> bytes:
    return saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG")


CONVERTED = {
    "grey": lambda image: saved(image.convert("L"), "JPEG"),
    "CMYK": lambda image: saved(image.convert("CMYK"), "JPEG"),
    "16 bits": deep,
    "alpha": lambda image: saved(image.convert("RGBA"), "PNG"),
    "EXIF": turned,
    "PNG called .jpg": lambda image: saved(image, "PNG"),
    "GIF called .jpg": lambda image: saved(image, "GIF"),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_a_picture_of_another_kind_is_taken_and_nothing_else_changes(tree, tmp_path, kind):
    plain = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    with Image.open(tree / BAD) as image:
        image.load()
        (tree / BAD).write_bytes(CONVERTED[kind](image))
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert data.metadata["skipped"] == []
    row = (data.subject == 1) & (data.label == 2)
    np.testing.assert_array_equal(data.image[row][0], square(read_image(tree / BAD), 32))
    np.testing.assert_array_equal(data.image[~row], plain.image[~row])
    np.testing.assert_array_equal(data.label, plain.label)
    same_person = np.rot90(plain.image[row][0], -1) if kind == "EXIF" else plain.image[row][0]
    if kind in ("grey", "16 bits"):
        np.testing.assert_array_equal(data.image[row][0][..., 0], data.image[row][0][..., 2])
    elif kind == "EXIF":  # scaled from a turned picture: not the same pixels, but the same picture
        assert np.corrcoef(same_person.ravel(), data.image[row].ravel())[0, 1] > 0.6
    else:
        assert np.corrcoef(same_person.ravel(), data.image[row].ravel())[0, 1] > 0.8


def test_the_same_picture_twice_is_told_with_both_names(tree, tmp_path):
    # Other bytes, the same pixels.
    with Image.open(tree / OTHER) as image:
        picture = np.asarray(image.convert("RGB"))
    (tree / BAD).write_bytes(saved(Image.fromarray(picture), "PNG"))
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert f"{BAD}: it is the same picture as {OTHER}; remove one of them" in str(error.value)
    assert prepared(tmp_path / "tfds") == []
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds", on_bad_image="skip"))
    assert len(data.label) == 3 * 21 - 1
    assert ((data.subject == 0) & (data.label == 2)).sum() == 1
    assert data.metadata["skipped"] == [{"file": str(BAD), "problem": f"it is the same picture as {OTHER}"}]


def test_links_that_lead_nowhere(tree, tmp_path):
    (tree / BAD).unlink()
    (tree / BAD).symlink_to(tree / BAD)
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert f"{BAD}: it cannot be read (Too many levels of symbolic links)" in str(error.value)
    (tree / BAD.parent / "again").symlink_to(tree / BAD.parent)
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds", on_bad_image="skip"))
    assert len(data.label) == 3 * 21 - 1
    assert [one["problem"] for one in data.metadata["skipped"]] == [
        "it is a link to a folder above itself", "it cannot be read (Too many levels of symbolic links)"
    ]  # fmt: skip


def test_a_name_that_is_not_utf8(tree, tmp_path):
    odd = os.fsdecode(os.fsencode(tree / BAD.parent) + b"/07_102_caf\xe9.jpg")
    (tree / BAD).rename(odd)
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert len(data.label) == 3 * 21
    assert ((data.subject == 1) & (data.label == 2)).sum() == 1
    pathlib.Path(odd).write_bytes(b"")
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert r"07_102_caf\xe9.jpg: it is empty" in str(error.value)
    str(error.value).encode("utf-8")
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds", on_bad_image="skip"))
    assert data.metadata["skipped"][0]["file"].endswith(r"07_102_caf\xe9.jpg")


def test_all_pictures_of_a_class_bad_is_told(tree, tmp_path):
    for path in (tree / BAD.parent).glob("18_*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="class awed has no images"):
        load(cfee_tree.data_config(tree, tmp_path / "tfds", on_bad_image="skip"))


def test_all_pictures_bad_is_told(tree, tmp_path):
    for path in (tree / BAD.parent).iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="every one of 66 pictures is bad"):
        load(cfee_tree.data_config(tree, tmp_path / "tfds", on_bad_image="skip"))
    assert prepared(tmp_path / "tfds") == []


def test_a_cache_is_of_these_files_and_settings(tree, tmp_path, monkeypatch):
    from fer_jax.data import file_builder

    read, opened = file_builder.read_image, []
    monkeypatch.setattr(file_builder, "read_image", lambda path: opened.append(path) or read(path))
    config = cfee_tree.data_config(tree, tmp_path / "tfds")
    first = load(config)
    assert len(opened) == 66
    assert load(config).checksum() == first.checksum()
    assert len(opened) == 66  # not one was opened again
    moved = shutil.copytree(tree, tmp_path / "elsewhere")  # times are copied
    assert load(cfee_tree.data_config(moved, tmp_path / "tfds")).checksum() == first.checksum()
    assert len(opened) == 66
    os.utime(tree / BAD, ns=(1, 1))
    assert load(config).checksum() == first.checksum()
    assert len(opened) == 2 * 66
    (tree / BAD).unlink()
    assert len(load(config).label) == 3 * 21 - 1
    assert load(cfee_tree.data_config(moved, tmp_path / "tfds", image_size=40)).image.shape == (63, 40, 40, 3)
    renamed = tuple("Astonished" if name == "Surprised" else name for name in cfee_tree.SHEET_NAMES)
    cfee_tree.write_sheet(moved / "AU_annotation_all_subjects.xls", renamed)
    base = tuple("astonished" if name == "surprised" else name for name in cfee_tree.BASE)
    assert load(cfee_tree.data_config(moved, tmp_path / "tfds", base_classes=base)).class_names[4] == "astonished"


def test_a_file_that_changes_meanwhile_is_told(tree, tmp_path, monkeypatch):
    from fer_jax.data import file_builder

    make = file_builder.make

    def changed(*arguments):
        builder = make(*arguments)
        (tree / BAD).write_bytes((tree / OTHER).read_bytes() + b"x")
        return builder

    monkeypatch.setattr(file_builder, "make", changed)
    with pytest.raises(UserError, match=r"07_102_IMG_1001\.jpg has changed since the files were listed; start again"):
        load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert prepared(tmp_path / "tfds") == []


def test_a_cache_folder_that_cannot_be_written(tree, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, file))
    assert str(file) in str(error.value)
    assert "config.data.dir" in str(error.value)
    assert file.read_text() == "mine"

    # Root may write everywhere: the refusal comes from the call that makes the folder.
    mkdir, cache = os.mkdir, tmp_path / "locked"
    cache.mkdir()

    def refusing(path, *rest, **named):
        if str(path).startswith(str(cache)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return mkdir(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", refusing)
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, cache))
    assert f"cannot be written to {cache}" in str(error.value)
    assert "(Permission denied at " in str(error.value)
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(os, "mkdir", mkdir)
    assert len(load(cfee_tree.data_config(tree, cache)).label) == 63


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB; where none can be mounted there is nothing to fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_disk_that_is_full_in_truth(tree, small_disk):
    with pytest.raises(UserError) as error:
        load(cfee_tree.data_config(tree, small_disk, image_size=96))
    assert "No space left on device" in str(error.value)
    assert "config.data.dir" in str(error.value)
    assert "\n" not in str(error.value)
    assert prepared(small_disk) == []
    # What fits is prepared there after all.
    assert len(load(cfee_tree.data_config(tree, small_disk, image_size=16)).label) == 63


def test_a_disk_that_is_full_while_writing(tree, tmp_path, monkeypatch):
    from tensorflow_datasets.core import writer

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "finalize", full)
        with pytest.raises(UserError) as error:
            load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert "No space left on device" in str(error.value)
    assert prepared(tmp_path / "tfds") == []
    assert len(load(cfee_tree.data_config(tree, tmp_path / "tfds")).label) == 63


def test_pictures_that_are_not_square_are_cropped_to_the_centre(tree, tmp_path):
    picture = np.full((24, 60, 3), 30, np.uint8)
    picture[:, 18:42] = (10, 200, 90)
    Image.fromarray(picture).save(tree / BAD, format="PNG")
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    row = data.image[(data.subject == 1) & (data.label == 2)][0]
    np.testing.assert_array_equal(row, np.broadcast_to(np.uint8((10, 200, 90)), (32, 32, 3)))


def test_a_preparation_that_is_killed_is_begun_anew(tree, tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from tests.support import cfee_tree\n"
        "from fer_jax.data import file_builder, load\n"
        "read, opened = file_builder.read_image, []\n"
        "def killed(path):\n"
        "    opened.append(path)\n"
        "    return read(path) if len(opened) < 40 else os._exit(9)\n"
        "file_builder.read_image = killed\n"
        f"load.load(cfee_tree.data_config(pathlib.Path({str(tree)!r}), pathlib.Path({str(tmp_path / 'tfds')!r})))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=pathlib.Path(__file__).parents[2], capture_output=True)
    assert ended.returncode == 9
    assert any("incomplete" in path.name for path in (tmp_path / "tfds").rglob("*"))
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert len(data.label) == 63
    assert data.checksum() == load(cfee_tree.data_config(tree, tmp_path / "fresh")).checksum()


def test_a_prepared_copy_that_is_damaged_is_told_with_its_folder(tree, tmp_path):
    config = cfee_tree.data_config(tree, tmp_path / "tfds")
    before = load(config).checksum()
    (records,) = (tmp_path / "tfds").rglob("*.array_record*")
    home = records.parent
    for path in (records, home / "dataset_info.json", home / "metadata.json"):
        whole = path.read_bytes()
        half = len(whole) // 2
        for content in (b"", whole[:half], whole[:half] + bytes(b ^ 255 for b in whole[half:])):
            path.write_bytes(content)
            with pytest.raises(UserError) as error:
                load(config)
            assert f"the prepared data set in {home} cannot be read (" in str(error.value)
            assert "remove that folder, so that it is prepared again" in str(error.value)
            assert "\n" not in str(error.value)
        path.write_bytes(whole)
    records.unlink()
    with pytest.raises(UserError, match=r"cannot be read \(open\(\) failed: No such file"):
        load(config)
    shutil.rmtree(home)
    assert load(config).checksum() == before


def test_tensorflow_is_never_imported(tree, tmp_path):
    code = (
        "import sys, pathlib\n"
        "from tests.support import cfee_tree\n"
        "from fer_jax.data.load import load\n"
        f"load(cfee_tree.data_config(pathlib.Path({str(tree)!r}), pathlib.Path({str(tmp_path / 'tfds')!r})))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).parents[2])
