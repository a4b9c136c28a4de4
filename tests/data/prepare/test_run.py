"""Preparing a data set: the same bytes whatever happens, everything counted, every mistake one line."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import ml_collections
import numpy as np
import pytest
import skimage.data
from PIL import Image

from fer_jax.cli import main
from fer_jax.data import cfee, crop, image_folder
from fer_jax.data.images import read_image
from fer_jax.data.prepare import folder as prepared_folder
from fer_jax.data.prepare import run as prepare
from fer_jax.data.prepare import unsure_sheet
from fer_jax.errors import UserError
from tests.support import cfee_tree

ROOT = pathlib.Path(__file__).parents[3]


class CornerDetector:
    """Always one face, in the upper left quarter: for tests of everything but finding."""

    name = "the upper left quarter"

    @staticmethod
    def version() -> str:
        return "1"

    def __call__(self, image: np.ndarray) -> list[crop.Face]:
        height, width = image.shape[:2]
        return [crop.Face(0, 0, width / 2, height / 2, 1.0)]


def config(root: pathlib.Path, **changes) -> ml_collections.ConfigDict:
    plain = {"name": "image_folder", "manual_dir": str(root), "image_size": 48, "on_bad_image": "error"}
    return ml_collections.ConfigDict(plain | changes)


def noise(path: pathlib.Path, seed: int, shape=(60, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def source(tmp_path) -> pathlib.Path:
    """Two classes, twelve pictures, two other files."""
    root = tmp_path / "source"
    for k in range(12):
        noise(root / ("happy" if k % 2 else "sad") / "deep" / f"{k:02}.{'jpg' if k % 3 else 'png'}", k)
    (root / "labels.csv").write_text("file,label\n")
    (root / "sad" / "notes.txt").write_text("as they came")
    (root / ".DS_Store").write_text("litter")
    return root


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(source, out, **arguments) -> dict:
    arguments = {"jobs": 1, "detector": CornerDetector} | arguments
    changes = {k: arguments.pop(k) for k in ("name", "on_bad_image") if k in arguments}
    return prepare.prepare(config(source, **changes), out, **arguments)


def refused(source, out, **arguments) -> str:
    with pytest.raises(UserError) as error:
        run(source, out, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_face_none_and_a_broken_picture_are_each_counted(tmp_path):
    root, out = tmp_path / "source", tmp_path / "out"
    (root / "happy").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(root / "happy" / "astronaut.png")
    Image.fromarray(skimage.data.coffee()).save(root / "happy" / "coffee.jpg")
    (root / "happy" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    said = refused(root, out, detector=crop.FaceDetector)
    assert "broken.jpg: it " in said
    assert "config.data.on_bad_image=skip" in said
    assert not out.exists()
    # The other way is a change of what to do with bad pictures, not of settings: it goes on.
    summary = run(root, out, detector=crop.FaceDetector, on_bad_image="skip")
    assert summary["counts"] == {"files": 3, "copied": 0, "pictures": 3, "found": 1, "not_found": 1,
                                 "several_found": 0, "low_score": 0, "unreadable": 1}  # fmt: skip
    assert summary["not_found"] == ["happy/coffee.jpg"]
    assert [one["file"] for one in summary["unreadable"]] == ["happy/broken.jpg"]
    assert summary["settings"]["detector_version"] == crop.FaceDetector.version()
    assert summary["settings"] | {"size": 48, "margin": 0.25, "data": "image_folder"} == summary["settings"]
    assert summary == json.loads((out / ".prepare" / "summary.json").read_text())
    assert sorted(p.name for p in (out / "happy").iterdir()) == ["astronaut.png", "coffee.jpg"]
    # The face fills the crop: the detector finds it again, large and in the middle.
    prepared = read_image(out / "happy" / "astronaut.png")
    assert prepared.shape == (48, 48, 3)
    (face,) = crop.FaceDetector()(prepared)
    assert 0.5 < face.width / 48 < 0.9
    assert abs(face.left + face.width / 2 - 24) < 6
    # No face: the centre square, as if nothing had been looked for.
    coffee = Image.open(root / "happy" / "coffee.jpg").crop((100, 0, 500, 400)).resize((48, 48), 2)
    difference = np.abs(read_image(out / "happy" / "coffee.jpg").astype(int) - np.asarray(coffee, int))
    assert difference.mean() < 3
    # Finished, but with a picture left out: an error where that is an error.
    before = contents(out)
    assert "broken.jpg" in refused(root, out, detector=crop.FaceDetector)
    assert contents(out) == before


def test_layout_names_formats_and_other_files_are_kept(source, tmp_path):
    noise(source / "happy" / "ODD NAME.JPEG", 50)
    noise(source / "happy" / "flat.bmp", 51)
    shutil.copy(source / "happy" / "flat.bmp", source / "happy" / "moving.gif")
    summary = run(source, tmp_path / "out")
    made = contents(tmp_path / "out")
    wanted = {name for name in contents(source) if name != ".DS_Store"}
    assert {name for name in made if not name.startswith(".prepare/")} == wanted
    assert made["sad/notes.txt"] == b"as they came"
    assert summary["counts"]["copied"] == 2
    formats = {"happy/ODD NAME.JPEG": "JPEG", "happy/flat.bmp": "BMP", "happy/moving.gif": "PNG",
               "sad/deep/00.png": "PNG"}  # fmt: skip
    for name, kind in formats.items():
        with Image.open(tmp_path / "out" / name) as image:
            assert (image.format, image.size) == (kind, (48, 48))
    # Lossless: exactly the square around the face. 25 × 30 + margin makes 45, moved to the corner.
    original = read_image(source / "sad" / "deep" / "00.png")[:45, :45]
    expected = np.asarray(Image.fromarray(original).resize((48, 48), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "sad" / "deep" / "00.png"), expected)


def test_the_same_bytes_with_one_job_and_two_and_from_a_copy(source, tmp_path):
    run(source, tmp_path / "one")
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    run(moved, tmp_path / "two", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_again_does_nothing_and_a_changed_source_is_done_again(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(source, out)
    before = contents(out)
    done = []
    one = prepare.prepare_one
    monkeypatch.setattr(
        prepare, "prepare_one", lambda relative, *a, **k: done.append(relative) or one(relative, *a, **k)
    )
    run(source, out)
    assert done == []
    assert contents(out) == before
    # One changed with the same size and time, one gone with its folder, one new, one damaged in the result.
    changed = source / "happy" / "deep" / "03.png"
    noise(changed, 99)
    noise(source / "sad" / "new.png", 100)
    shutil.rmtree(source / "sad" / "deep")
    (out / "happy" / "deep" / "05.jpg").write_bytes(b"")
    run(source, out)
    assert sorted(done) == ["happy/deep/03.png", "happy/deep/05.jpg", "sad/new.png"]
    assert not (out / "sad" / "deep").exists()
    run(source, tmp_path / "afresh")
    assert contents(out) == contents(tmp_path / "afresh")


def test_a_picture_that_became_unreadable_loses_its_crop(source, tmp_path):
    out = tmp_path / "out"
    run(source, out)
    (source / "happy" / "deep" / "03.png").write_bytes(b"")
    summary = run(source, out, on_bad_image="skip")
    assert summary["counts"]["unreadable"] == 1
    assert not (out / "happy" / "deep" / "03.png").exists()


KILLED = """
import sys, time
import ml_collections
import pathlib
from fer_jax.data import crop
from fer_jax.data.prepare import run

class Slow(crop.FaceDetector):
    def __call__(self, image):
        time.sleep(0.02)
        return super().__call__(image)

if __name__ == "__main__":
    config = ml_collections.ConfigDict(
        {"name": "image_folder", "manual_dir": sys.argv[1], "image_size": 48, "on_bad_image": "error"})
    run.prepare(config, pathlib.Path(sys.argv[2]), jobs=2, detector=Slow)
"""


def children(pid: int) -> list[int]:
    listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def ended(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks for worker processes in /proc")
def test_killed_in_the_middle_it_ends_with_the_same_folder(tmp_path):
    source, out, script = tmp_path / "source", tmp_path / "out", tmp_path / "killed.py"
    astronaut = Image.fromarray(skimage.data.astronaut())
    for k in range(60):
        path = source / "ab"[k % 2] / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        astronaut.rotate(k - 30).resize((160, 160)).save(path)
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(source), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    journal = tmp_path / "out.partial" / ".prepare" / "journal.jsonl"
    counts = []
    for least in (5, 25):
        process = subprocess.Popen(command, env=environment)
        end = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") > least):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.005)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(workers) >= 2
        end = time.monotonic() + 20
        while not all(map(ended, workers)):
            assert time.monotonic() < end, "workers outlive a killed parent"
            time.sleep(0.02)
        assert not out.exists()
        counts.append(journal.read_bytes().count(b"\n"))
    assert counts[0] < counts[1] < 61
    # A torn line and a file half written, as a kill within a write leaves them.
    with open(journal, "ab") as file:
        file.write(b'{"file": "a/')
    (journal.parent / "tmp-1").write_bytes(b"half")
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert not (tmp_path / "out.partial").exists()
    fresh = tmp_path / "fresh"
    prepare.prepare(config(source), fresh, jobs=1, detector=crop.FaceDetector)
    assert contents(out) == contents(fresh)
    assert len(contents(out)) >= 62


@pytest.mark.parametrize("stop_at", [0, 3, 12])
def test_stopped_by_a_full_disk_it_goes_on(source, tmp_path, monkeypatch, stop_at):
    out = tmp_path / "out"
    run(source, tmp_path / "whole")
    real, written = os.replace, []

    def full(temporary, target):
        if len(written) == stop_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(target)
        real(temporary, target)

    monkeypatch.setattr(prepared_folder.os, "replace", full)
    said = refused(source, out)
    assert "cannot be written (No space left on device); the same command goes on from here" in said
    assert not out.exists()
    assert not list((tmp_path / "out.partial").rglob("tmp-*"))
    monkeypatch.undo()
    run(source, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_bad_new_file_leaves_a_finished_folder_in_its_place(source, tmp_path):
    out = tmp_path / "out"
    run(source, out)
    before = contents(out)
    (source / "sad" / "new.png").write_bytes(b"no picture")
    (source / "sad" / "deep" / "00.png").unlink()
    assert "new.png: it is not a picture" in refused(source, out)
    assert contents(out) == before
    (source / "sad" / "new.png").unlink()
    os.mkfifo(source / "pipe.txt")
    assert "pipe.txt cannot be read" in refused(source, out)
    assert contents(out) == before
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("name", ["../victim.txt", "sad/../../victim.txt", "/victim.txt", ".prepare/journal.jsonl", ""])
def test_a_journal_cannot_name_a_file_outside_the_folder(source, tmp_path, name):
    out, victim = tmp_path / "out", tmp_path / "victim.txt"
    victim.write_text("mine")
    run(source, out)
    name = str(victim) if name.startswith("/") else name
    journal = out / ".prepare" / "journal.jsonl"
    with open(journal, "a") as file:
        file.write(json.dumps({"file": name, "sha256": "0", "prepared": "0", "outcome": "copied"}) + "\n")
    assert f"{journal}, line 16 is not what data prepare wrote; choose another --out" in refused(source, out)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (0, "[]"),
        (0, "3"),
        (1, "[]"),
        (1, '{"sha256": null}'),
        (1, '{"file": 3}'),
        (1, '{"file": "sad/notes.txt"}'),
        (1, '{"file": "sad/notes.txt", "sha256": null, "prepared": null, "outcome": "eaten"}'),
        (1, '{"file": "sad/notes.txt", "sha256": null, "prepared": null, "outcome": "unreadable"}'),
        (1, '{"file": "a.png", "sha256": "", "prepared": "", "outcome": "not found", "faces": 0, "square": [1]}'),
    ],
)
def test_a_damaged_journal_is_one_line(source, tmp_path, line, text):
    out = tmp_path / "out"
    run(source, out)
    journal = out / ".prepare" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    lines[line] = text
    journal.write_text("\n".join(lines) + "\n")
    assert f"{journal}, line {line + 1} is not what data prepare wrote" in refused(source, out)


@pytest.mark.parametrize("place", ["sad", "happy/deep", ".prepare"])
def test_links_in_a_prepared_folder_are_not_followed(source, tmp_path, place):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    run(source, out)
    (out / place).rename(elsewhere)
    (out / place).symlink_to(elsewhere)
    (elsewhere / "00.png").write_text("mine")
    noise(source / "sad" / "deep" / "00.png", 200)
    before = contents(elsewhere)
    assert f"--out {out / place} is a link, which was not prepared; remove it" in refused(source, out)
    assert contents(elsewhere) == before


def test_a_linked_file_in_a_prepared_folder_is_refused(source, tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim.jsonl"
    run(source, out)
    journal = out / ".prepare" / "journal.jsonl"
    journal.rename(victim)
    journal.symlink_to(victim)
    noise(source / "sad" / "new.png", 201)
    before = victim.read_bytes()
    assert f"{journal} is a link" in refused(source, out)
    assert victim.read_bytes() == before


def test_places_that_will_not_do(source, tmp_path):
    before = contents(tmp_path)
    assert "is config.data.manual_dir itself" in refused(source, source)
    assert "lies inside config.data.manual_dir" in refused(source, source / "happy" / "out")
    assert "holds config.data.manual_dir" in refused(source, tmp_path)
    (tmp_path / "link").symlink_to(source)
    assert "is config.data.manual_dir itself" in refused(source, tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "is a link; name the folder itself" in refused(source, tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'} is a file" in refused(source, tmp_path / "file" / "out")
    assert f"{tmp_path / 'file'} is a file" in refused(source, tmp_path / "file")
    (tmp_path / "file").unlink()
    assert "cannot be written" in refused(source, pathlib.Path("/proc/nowhere/out"))
    assert contents(tmp_path) == before


def test_folders_with_other_things_in_them(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert f"{out} holds other things" in refused(source, out)
    (out / "mine.txt").unlink()
    run(source, out)  # an empty folder will do
    (out / "happy" / "mine.txt").write_text("mine")
    assert "holds happy/mine.txt, which was not prepared" in refused(source, out)
    (out / "happy" / "mine.txt").unlink()
    before = contents(out)
    assert "margin 0.25 there, 0.5 here" in refused(source, out, margin=0.5)
    assert "size 48 there, 64 here" in refused(source, out, size=64)
    assert "data image_folder there, cfee here" in refused(source, out, name="cfee")
    other = tmp_path / "other"
    noise(other / "c" / "1.png", 1)
    assert "was prepared from other files" in refused(other, out)
    assert contents(out) == before
    shutil.copytree(out, tmp_path / "out.partial")
    assert "are both there; remove one" in refused(source, out)


def test_two_runs_at_once(source, tmp_path):
    journal = prepared_folder.Journal(tmp_path / "out.partial", {"format": 0})
    journal.open()
    with pytest.raises(UserError, match=r"another run is at work in .*out\.partial"):
        prepared_folder.Journal(tmp_path / "out.partial", {"format": 0}).open()
    journal.close()
    prepared_folder.Journal(tmp_path / "out.partial", {"format": 0}).open()


def test_sources_that_are_odd(source, tmp_path):
    (source / "loop").symlink_to(source)
    assert "loop: it is a link to a folder above itself" in refused(source, tmp_path / "out")
    (source / "loop").unlink()
    (source / "happy" / "gone.png").symlink_to(source / "nowhere")
    assert "gone.png: it cannot be read" in refused(source, tmp_path / "out")
    (source / "happy" / "gone.png").unlink()
    os.mkfifo(source / "pipe.txt")
    assert "pipe.txt cannot be read; it may be a file, or be removed" in refused(source, tmp_path / "out")
    (source / "pipe.txt").unlink()
    outside = tmp_path / "outside"
    noise(outside / "far.png", 7)
    (source / "happy" / "linked").symlink_to(outside)
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(source / "sad" / "deep" / "00.png", source / "sad" / name)
    summary = run(source, tmp_path / "out", jobs=2)
    assert (tmp_path / "out" / "sad" / name).is_file()
    assert not (tmp_path / "out" / "happy" / "linked").is_symlink()
    assert summary["counts"]["pictures"] == 14
    again = contents(tmp_path / "out")
    run(source, tmp_path / "out", jobs=2)
    assert contents(tmp_path / "out") == again
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "readme.txt").write_text("no pictures")
    assert "has no pictures" in refused(empty, tmp_path / "out2")
    assert "does not exist" in refused(tmp_path / "none", tmp_path / "out2")
    assert not list(tmp_path.glob("out2*"))


def test_settings_out_of_range(source, tmp_path):
    for arguments, said in (
        ({"margin": -0.1}, "--margin is -0.1; it may be a number from 0 to 2"),
        ({"margin": float("nan")}, "--margin is nan; it may be"),
        ({"size": 8}, "--size is 8; it may be a whole number from 32 to 1024"),
        ({"jobs": 0}, "--jobs is 0; it may be a whole number from 1"),
        ({"on_bad_image": "ignore"}, "config.data.on_bad_image is 'ignore'; it may be one of error, skip"),
    ):
        assert said in refused(source, tmp_path / "out", **arguments)
    with pytest.raises(UserError, match=r"config\.data\.manual_dir is missing"):
        prepare.prepare(ml_collections.ConfigDict({"name": "cfee"}), tmp_path / "out")
    for key, value, said in (
        (
            "name",
            "imagenet",
            "config.data.name: 'imagenet' does not exist; it may be one of facs_faces, cfee",
        ),
        ("image_size", "48", "config.data.image_size is '48'; it may be a whole number from 8 to 1024"),
        ("image_size", 0, "config.data.image_size is 0; it may be a whole number from 8 to 1024"),
        ("manual_dir", 3, "config.data.manual_dir is 3; it may be a text"),
        ("part", "basic", "config.data.part is no key of data set image_folder"),
        ("exclude", "sad", "config.data.exclude is 'sad'; it may be a tuple"),
    ):
        wrong = ml_collections.ConfigDict({**config(source), key: value})
        with pytest.raises(UserError) as error:
            prepare.prepare(wrong, tmp_path / "out", jobs=1, detector=CornerDetector)
        assert said in str(error.value)
    assert not list(tmp_path.glob("out*"))


class ManyDetector(CornerDetector):
    """Two faces in pictures taller than wide, a doubtful one in others."""

    def __call__(self, image):
        face = super().__call__(image)[0]
        return [face, face] if image.shape[0] > image.shape[1] else [face._replace(score=0.1)]


def test_the_sheet_of_unsure_pictures(source, tmp_path, monkeypatch):
    run(source, tmp_path / "sure")
    assert not (tmp_path / "sure" / ".prepare" / "unsure.png").exists()
    noise(source / "sad" / "wide.png", 3, (40, 80))
    summary = run(source, tmp_path / "out", detector=ManyDetector)
    assert summary["counts"]["several_found"] == 12
    assert summary["low_score"] == ["sad/wide.png"]
    with Image.open(tmp_path / "out" / ".prepare" / "unsure.png") as sheet:
        assert sheet.size == (6 * unsure_sheet.SIDE, 3 * (unsure_sheet.SIDE + unsure_sheet.LABEL) + unsure_sheet.LABEL)
        first = np.asarray(sheet.convert("RGB"))[2 * unsure_sheet.LABEL :, : unsure_sheet.SIDE]
    assert (first == (255, 0, 0)).all(-1).sum() > 100  # the kept square
    monkeypatch.setattr(unsure_sheet, "MOST", 4)
    run(source, tmp_path / "capped", detector=ManyDetector)
    with Image.open(tmp_path / "capped" / ".prepare" / "unsure.png") as sheet:
        assert sheet.width == 4 * unsure_sheet.SIDE


def test_the_prepared_folder_is_read_as_the_source_is(source, tmp_path):
    run(source, tmp_path / "out", detector=ManyDetector)
    read = [image_folder.scan(root, "", "", (), "error") for root in (source, tmp_path / "out")]
    assert read[0].class_names == read[1].class_names == ("happy", "sad")
    assert [(e.relative, e.label) for e in read[0].entries] == [(e.relative, e.label) for e in read[1].entries]


def test_a_release_of_cfee_keeps_its_form(tmp_path):
    pictures = {(s, c): np.full((70, 60, 3), 10 * s + c, np.uint8) for s in range(3) for c in range(1, 23)}
    cfee_tree.write_tree(tmp_path / "cfee", pictures)
    run(tmp_path / "cfee", tmp_path / "out", name="cfee")
    before, after = (cfee.scan(tmp_path / name, cfee_tree.BASE, "error") for name in ("cfee", "out"))
    assert before.class_names == after.class_names
    rows = [[(e.relative, e.label, e.subject) for e in found.entries] for found in (before, after)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 66


class KilledDetector(CornerDetector):
    """Ends its process as a system short of memory does."""

    def __call__(self, image):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_line(source, tmp_path):
    said = refused(source, tmp_path / "out", jobs=2, detector=KilledDetector)
    assert "a worker process was killed, perhaps for want of memory; try --jobs=1" in said
    assert not (tmp_path / "out").exists()


def test_the_command(source, tmp_path, capsys):
    out = tmp_path / "out"
    base = ["data", "prepare", "--config", str(ROOT / "configs" / "cfee.py"), "--out", str(out), "--jobs=1"]
    ours = ["--config.data.name=image_folder", f"--config.data.manual_dir={source}", "--config.data.image_size=64"]
    assert main.main([*base, *ours]) == 0
    said = capsys.readouterr().out
    assert "pictures: 12, of which face found 0" in said
    assert f"unsure:   {out}/.prepare/unsure.png" in said
    assert read_image(out / "sad" / "deep" / "00.png").shape == (64, 64, 3)
    quickstart = ["data", "prepare", "--config", str(ROOT / "configs" / "quickstart.py"), "--out", str(tmp_path / "q")]
    for arguments, expected in (
        (quickstart, "config.data.name is facs_faces; it has no picture files to prepare"),
        ([*base, *ours, "--sze=3"], "--sze=3 is not an argument of data prepare"),
        ([*base, *ours, "--size=5"], "--size is 5; it may be a whole number from 32 to 1024"),
        ([*base, *ours, "--config.data.manul_dir=x"], "config.data.manul_dir does not exist; did you mean"),
    ):
        assert main.main(arguments) == 2
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        assert expected in told[0]
    assert not (tmp_path / "q").exists()
