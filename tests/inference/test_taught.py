"""The folder of a taught model: read as it was written, and one line where it is not whole."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from fer_jax.classifiers import Linear
from fer_jax.errors import UserError
from fer_jax.inference import taught
from fer_jax.inference.taught import Taught, TaughtClass
from fer_jax.inference.teach import LONGEST_NAME


def one(folder: pathlib.Path, workdir: pathlib.Path) -> Taught:
    faces = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    classes = (
        TaughtClass("smirk", ("a.png", "b.png"), ("1", "2"), faces),
        TaughtClass("awed", ("c",), ("3",), faces[:1]),
    )
    linear = Linear(np.ones((3, 5), np.float32), np.arange(5, dtype=np.float32))
    return Taught(folder, workdir, "base", 0, None, "digest", classes, linear, {"classifier": "one", "penalty": 0.5})


def test_a_model_is_read_as_it_was_written_wherever_the_workdir_moves(tmp_path):
    run = tmp_path / "run"
    written = one(run / "taught" / "smirk", run)
    taught.write(written)
    assert taught.is_one(written.folder)
    assert not taught.is_one(run)
    moved = run.rename(tmp_path / "moved")
    found = taught.read(moved / "taught" / "smirk")
    assert (found.workdir, found.names, found.learned) == (moved, ("smirk", "awed"), written.learned)
    assert (found.method, found.fold, found.order, found.model_sha256) == ("base", 0, None, "digest")
    for read, wrote in zip(found.classes, written.classes, strict=True):
        assert (read.files, read.sha256) == (wrote.files, wrote.sha256)
        np.testing.assert_array_equal(read.images, wrote.images)
    np.testing.assert_array_equal(found.linear.kernel, written.linear.kernel)


def test_a_folder_with_files_is_never_changed(tmp_path):
    folder = tmp_path / "smirk"
    folder.mkdir()
    taught.write(one(folder, tmp_path))  # an empty one is taken
    before = (folder / "taught.json").read_bytes()
    with pytest.raises(UserError, match="is there already, and a taught model is never changed; --out may be another"):
        taught.write(one(folder, tmp_path / "other"))
    assert (folder / "taught.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["smirk"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    killed = subprocess.Popen(["true"])
    killed.wait()
    here = f".smirk.taught.{os.uname().nodename}."
    # A process that lives goes on, and nobody else's files are touched.
    there = (f"{here}{os.getppid()}", ".smirk.taught.elsewhere.1", ".smirk.orig", f"{here}notes")
    for name in (f"{here}{killed.pid}", f"{here}{os.getpid()}", *there):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.npz").write_bytes(b"half")
    taught.write(one(tmp_path / "smirk", tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"smirk", *there}


def test_the_longest_name_is_that_of_a_folder(tmp_path):
    taught.write(one(tmp_path / ("𐐀" * LONGEST_NAME), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["𐐀" * LONGEST_NAME]


@pytest.mark.parametrize("damage", ["text", "arrays", "missing", "key", "version", "learned", "kernel"])
def test_a_damaged_folder_is_one_line(tmp_path, damage):
    folder = tmp_path / "smirk"
    taught.write(one(folder, tmp_path))
    described, arrays = folder / "taught.json", folder / "model.npz"
    there = json.loads(described.read_text())
    if damage == "text":
        described.write_text("{")
    elif damage == "arrays":
        arrays.write_bytes(arrays.read_bytes()[:-40])
    elif damage == "missing":
        arrays.unlink()
    elif damage == "key":
        described.write_text(json.dumps({key: value for key, value in there.items() if key != "method"}))
    elif damage == "learned":
        described.write_text(json.dumps({**there, "learned": {}}))
    elif damage == "kernel":
        faces = {f"images{i}": one.images for i, one in enumerate(taught.read(folder).classes)}
        np.savez(arrays, kernel=np.ones((3, 4), np.float32), bias=np.ones(5, np.float32), **faces)
    else:
        described.write_text(json.dumps({**there, "format": 0}))
    with pytest.raises(
        UserError, match=r"^--workdir .*smirk (is damaged|was taught by another version).*teach it again$"
    ):
        taught.read(folder)
