"""Files are written whole or not at all, and an error names the file."""

import errno
import resource

import pytest

from fer_jax.errors import EXIT_PASSING, UserError, exit_code
from fer_jax.runs import files


def test_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path):
    page = tmp_path / "index.html"
    files.write(page, "before: é")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            files.write(page, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(page))
    assert exit_code(raised.value) == EXIT_PASSING
    assert page.read_text(encoding="utf-8") == "before: é"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "index.html").mkdir()
    for path in (tmp_path / "index.html", tmp_path / "none" / "index.html"):
        with pytest.raises(OSError, match=r"(Is a|such file or) directory: '.*index.html'$"):
            files.write(path, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_folder_that_cannot_be_is_one_line_and_nothing_is_made(tmp_path):
    (tmp_path / "file").touch()
    for name, said in (
        ("file", "file is a file; it may be a folder, new or not"),
        ("file/x", f"x lies under {tmp_path}/file, which is a file; it may be a folder, new or not"),
        ("x" * 256, "File name too long; it may be a folder, new or not"),
    ):
        with pytest.raises(UserError) as raised:
            files.check_folder("--out", tmp_path / name)
        assert str(raised.value).startswith(f"--out {tmp_path}/{name}")
        assert str(raised.value).endswith(said)
    files.check_folder("--out", tmp_path)
    files.check_folder("--out", tmp_path / "new" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
