"""Every kind of picture file: converted rightly, or refused in one line."""

import errno
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fer_jax.data import images
from fer_jax.data.images import BadImage, read_bytes, read_image, square


@pytest.fixture
def colours() -> np.ndarray:
    """u8[24, 16, 3]: top half red, bottom half blue, but for a green corner top left."""
    picture = np.zeros((24, 16, 3), np.uint8)
    picture[:12, :, 0] = 200
    picture[12:, :, 2] = 120
    picture[:8, :8] = (0, 255, 0)
    return picture


def refused(path: pathlib.Path, **limits) -> str:
    with pytest.raises(BadImage) as error:
        read_image(path, **limits)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(images.printable(path))
    assert error.value.path == path
    return message


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_formats_come_back_as_they_were(tmp_path, colours, extension):
    path = tmp_path / f"face.{extension}"
    Image.fromarray(colours).save(path, **({"lossless": True} if extension == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), colours)


def test_bytes_are_read_as_a_file_is(tmp_path, colours):
    path = tmp_path / "picture.png"
    Image.fromarray(colours).save(path)
    np.testing.assert_array_equal(read_bytes(path.read_bytes(), "upload"), colours)
    for content, said in ((b"", "upload: it is empty (0 bytes)"), (b"text", "upload: it is not a picture")):
        with pytest.raises(BadImage, match=re.escape(said)):
            read_bytes(content, "upload")
    with pytest.raises(BadImage, match="more than 100 pixels"):
        read_bytes(path.read_bytes(), "upload", max_pixels=100)


def test_the_content_decides_not_the_extension(tmp_path, colours):
    path = tmp_path / "face.jpg"
    Image.fromarray(colours).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), colours)


def test_grey_becomes_three_equal_channels(tmp_path, colours):
    path = tmp_path / "grey.png"
    grey = colours.max(-1)
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_image(path), np.repeat(grey[..., None], 3, -1))
    jpeg = tmp_path / "grey.jpg"
    Image.fromarray(np.full((16, 16), 77, np.uint8)).save(jpeg)
    np.testing.assert_array_equal(read_image(jpeg), np.full((16, 16, 3), 77))


def test_one_bit_and_palette_pictures(tmp_path, colours):
    path = tmp_path / "bit.png"
    Image.fromarray(colours[..., 0]).point(lambda v: 255 * (v > 100)).convert("1").save(path)
    assert set(np.unique(read_image(path))) == {0, 255}
    path = tmp_path / "palette.png"
    Image.fromarray(colours).quantize(8).save(path)
    np.testing.assert_allclose(read_image(path).astype(int), colours, atol=3)


def test_cmyk_has_its_colours_not_their_negative(tmp_path, colours):
    path = tmp_path / "print.jpg"
    Image.fromarray(colours).convert("CMYK").save(path, quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    red, blue = read_image(path)[6, 12], read_image(path)[20, 8]
    np.testing.assert_allclose(red.astype(int), (200, 0, 0), atol=25)
    np.testing.assert_allclose(blue.astype(int), (0, 0, 120), atol=25)


def test_sixteen_bits_keep_their_range(tmp_path):
    path = tmp_path / "deep.png"
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(path)
    with Image.open(path) as image:
        assert image.mode == "I;16"
    # 65535 / 255 = 257: entry k of 256 is k itself. Pillow's own conversion would clip nearly all to 255.
    np.testing.assert_array_equal(read_image(path)[..., 1], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("most", [65535, 1000])
def test_a_pgm_of_sixteen_bits_keeps_its_range(tmp_path, most):
    path = tmp_path / "deep.pgm"
    values = np.linspace(0, most, 256).round().astype(">u2")
    path.write_bytes(b"P5 16 16 %d\n" % most + values.tobytes())
    found = read_image(path)[..., 1].reshape(-1)
    np.testing.assert_array_equal(found, np.round(values.astype(float) / most * 255))


def test_sixteen_bit_colour_keeps_its_range(tmp_path):
    path = tmp_path / "deep_colour.png"
    row = np.tile(np.asarray([65535, 32896, 0], ">u2"), (8, 8, 1))
    raw = b"".join(b"\0" + line.tobytes() for line in row)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw))
                     + chunk(b"IEND", b""))  # fmt: skip
    np.testing.assert_array_equal(read_image(path)[3, 3], (255, 128, 0))


def test_what_is_transparent_is_white(tmp_path, colours):
    path = tmp_path / "cutout.png"
    alpha = np.full(colours.shape[:2], 255, np.uint8)
    alpha[:8, :8], alpha[20:] = 0, 51
    Image.fromarray(np.dstack([colours, alpha])).save(path)
    found = read_image(path)
    np.testing.assert_array_equal(found[0, 0], (255, 255, 255))
    np.testing.assert_array_equal(found[10, 10], colours[10, 10])
    # A fifth of blue 120 on white: 255 - 51, and 255 - 51 + 24.
    np.testing.assert_allclose(found[22, 3].astype(int), (204, 204, 228), atol=1)
    # A palette with a transparent entry.
    path = tmp_path / "cutout.gif"
    Image.fromarray(np.zeros((10, 10), np.uint8), mode=None).convert("P").save(path, transparency=0)
    np.testing.assert_array_equal(read_image(path), np.full((10, 10, 3), 255))


@pytest.mark.parametrize(("orientation", "green_corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_turns_the_picture_upright(tmp_path, colours, orientation, green_corner):
    path = tmp_path / "phone.jpg"
    image = Image.fromarray(colours)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=95, subsampling=0)
    found = read_image(path)
    assert found.shape == ((16, 24, 3) if orientation in (6, 8) else (24, 16, 3))
    np.testing.assert_allclose(found[green_corner].astype(int), (0, 255, 0), atol=25)


def test_of_an_animation_the_first_frame(tmp_path):
    path = tmp_path / "wink.gif"
    frames = [Image.fromarray(np.full((10, 12, 3), value, np.uint8)) for value in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path), np.zeros((10, 12, 3)))


def test_a_cut_off_file_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for extension in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        path = tmp_path / f"cut.{extension}"
        Image.fromarray(noise).save(path)
        whole = path.read_bytes()
        for share in (0.1, 0.5, 0.9):
            path.write_bytes(whole[: int(share * len(whole))])
            message = refused(path)
            assert "it cannot be decoded (" in message or "it is not a picture" in message
            assert message.endswith("; replace it or remove it")


def test_what_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(b"")
    assert refused(path).endswith("face.jpg: it is empty (0 bytes); replace it or remove it")
    path.write_text("these are not pixels\n" * 100)
    assert "it is not a picture (JPEG, PNG" in refused(path)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert "it is not a picture" in refused(path)


def test_what_is_no_file_is_refused(tmp_path):
    assert "it cannot be read (No such file or directory)" in refused(tmp_path / "gone.jpg")
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    assert "it is not a file" in refused(folder)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert "it is not a file" in refused(pipe)
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert "it cannot be read (Too many levels of symbolic links)" in refused(loop)


def test_a_file_of_somebody_elses_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "private.jpg"
    Image.new("RGB", (9, 9)).save(path)

    def refusing(self, *rest):  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", refusing)
    assert "it cannot be read (Permission denied); replace it or remove it" in refused(path)


def test_a_name_that_is_not_utf8_is_shown(tmp_path):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_bytes(b"")
    message = refused(path)
    assert r"caf\xe9.jpg: it is empty" in message
    message.encode("utf-8")
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(path, format="PNG")
    assert read_image(path)[0, 0, 0] == 9


def test_a_name_with_control_characters_is_one_line(tmp_path):
    path = tmp_path / "a\nb\x1b[31m\u2028\u202e\t.jpg"
    assert refused(path).startswith(rf"{tmp_path}/a\nb\x1b[31m\u2028\u202e\t.jpg: ")
    assert images.printable("glücklich 幸せ.jpg") == "glücklich 幸せ.jpg"


def test_a_damaged_tiff_says_nothing_on_stderr(tmp_path, capfd):
    path = tmp_path / "face.tif"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, compression="tiff_lzw")
    whole = bytearray(path.read_bytes())
    np.testing.assert_array_equal(read_image(path), noise)
    whole[200:4000] = bytes(3800)
    path.write_bytes(whole)
    assert "it cannot be decoded" in refused(path)
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_too_small_is_refused(tmp_path):
    path = tmp_path / "dot.png"
    for size in ((1, 1), (7, 40), (40, 7)):
        Image.new("RGB", size).save(path)
        assert f"it is {size[0]} × {size[1]}; a picture is at least 8 × 8" in refused(path)
    Image.new("RGB", (8, 8)).save(path)
    assert read_image(path).shape == (8, 8, 3)


def test_too_large_is_told_from_the_header(tmp_path, monkeypatch):
    def bomb(side: int) -> bytes:
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

    monkeypatch.setattr(Image.Image, "load", lambda *a: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *a: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000))
    assert "it has more than 100,000,000 pixels; make it smaller or remove it" in refused(path)
    path.write_bytes(bomb(11_000))
    assert "it is 11000 × 11000, more than 100,000,000 pixels; make it smaller" in refused(path)
    path.write_bytes(bomb(20))
    assert "it is 20 × 20, more than 399 pixels" in refused(path, max_pixels=399)


def test_values_without_a_known_range_are_refused(tmp_path):
    path = tmp_path / "float.tif"
    Image.fromarray(np.zeros((9, 9), np.float32)).save(path)
    assert "mode F, of no known range; save it as 8-bit RGB" in refused(path)


def test_square_takes_the_centre():
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 200
    np.testing.assert_array_equal(square(picture, 10), np.full((10, 10, 3), 200))
    np.testing.assert_array_equal(square(picture.transpose(1, 0, 2), 5), np.full((5, 5, 3), 200))
    np.testing.assert_array_equal(square(picture, 24), np.full((24, 24, 3), 200))


def test_square_averages_what_it_shrinks():
    # A checkerboard of single pixels is grey from afar; taking every fourth pixel would be black or white.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = square(np.repeat(board[..., None], 3, -1).astype(np.uint8), 16)
    assert small.shape == (16, 16, 3)
    np.testing.assert_allclose(small.astype(float), 127.5, atol=8)
    same = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(square(same, 8), same)
