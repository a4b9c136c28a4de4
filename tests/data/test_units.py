"""Action units of detectors' tables, joined to forty images; what is counted, what is refused, and errors made."""

import pathlib

import ml_collections
import numpy as np
import pytest

from fer_jax.data import unit_tables
from fer_jax.data import units as joining
from fer_jax.data.arrays import UNITS, FaceArrays
from fer_jax.errors import UserError
from tests.support import unit_files

N = 40
LOW, MISSING = 7, (11, 30)
FILES = tuple(f"{('happy', 'sad')[i % 2]}/s{i:03}_{'a' * (i % 3)}.{('jpg', 'png')[i % 2]}" for i in range(N))
DRAWN = [unit_files.drawn(i) for i in range(N)]
WRITTEN = [i for i in range(N) if i not in MISSING]
KEPT = [i for i in WRITTEN if i != LOW]


def faces(files=FILES) -> FaceArrays:
    """Images without pixels of their own, two classes, ten people."""
    n = len(files)
    image = np.zeros((n, 8, 8, 3), np.uint8)
    label, subject = np.arange(n, dtype=np.int32) % 2, np.arange(n, dtype=np.int32) // 4
    return FaceArrays(image, label, subject, ("happy", "sad"), files=tuple(files))


def applied(path: pathlib.Path, data: FaceArrays | None = None, **changes) -> FaceArrays:
    units = {"path": str(path), "minimum_confidence": 0.5, "kind": "intensity", "flips": 0.0, "noise": 0.0,
             "input": False, **changes}  # fmt: skip
    config = ml_collections.ConfigDict({"name": "image_folder", "image_size": 8, "units": units})
    return joining.applied(config, faces() if data is None else data)


def stem(i: int) -> str:
    return pathlib.PurePath(FILES[i]).stem


def openface_images(root: pathlib.Path) -> pathlib.Path:
    """A file for each picture, all in one folder; two faces in one of them."""
    for i in WRITTEN:
        found = [(0.21 if i == LOW else 0.95, DRAWN[i])]
        unit_files.openface_image(root / f"{stem(i)}.csv", [(0.6, DRAWN[0]), *found] if i == 4 else found)
    (root / f"{stem(0)}_of_details.txt").write_text("Input:x.jpg")
    return root


def openface_folders(root: pathlib.Path, space: str = "") -> pathlib.Path:
    """A file for each folder, a frame for each picture; what others miss is unsuccessful here."""
    for number, name in enumerate(("happy", "sad")):
        rows = [(0.97, int(i not in (LOW, *MISSING)), DRAWN[i]) for i in range(number, N, 2)]
        unit_files.openface_frames(root / f"{name}.csv", rows, space)
    return root


def pyfeat(root: pathlib.Path) -> pathlib.Path:
    """One file for all, with names as Windows writes them, a second face, and a picture that the data set has not."""
    rows = [(f"C:\\faces\\{FILES[i]}".replace("/", "\\"), 0.3 if i == LOW else 0.99, DRAWN[i]) for i in WRITTEN]
    rows += [(rows[0][0], 0.8, DRAWN[1]), ("C:\\faces\\happy\\other.jpg", 0.9, DRAWN[1])]
    unit_files.pyfeat(root / "fex.csv", rows)
    return root / "fex.csv"


def libreface(root: pathlib.Path) -> pathlib.Path:
    for i in KEPT:
        unit_files.libreface_image(root / f"{pathlib.PurePath(FILES[i]).with_suffix('.csv')}", DRAWN[i])
    unit_files.libreface_video(root / f"{stem(LOW)}.csv", [None])
    (root / "labels.csv").write_text("file,label\na,b\n")
    return root


COUNTS = {"images": 37, "images_without_row": 2, "images_of_low_confidence": 1}
FORMS = {
    openface_images: {"program": "OpenFace", "rows": 39, "rows_without_image": 0, "rows_of_low_confidence": 1,
                      "further_rows": 1, "other_files": 0},
    openface_folders: {"program": "OpenFace", "rows": 40, "rows_without_image": 0, "rows_of_low_confidence": 3,
                       "further_rows": 0, "images_without_row": 0, "images_of_low_confidence": 3},
    pyfeat: {"program": "py-feat", "rows": 40, "rows_without_image": 1, "rows_of_low_confidence": 1, "further_rows": 1},
    libreface: {"program": "LibreFace", "rows": 38, "rows_without_image": 0, "rows_of_low_confidence": 1,
                "further_rows": 0, "other_files": 1},
}  # fmt: skip
NUMBERS = {
    "OpenFace": unit_files.OPENFACE_C,
    "py-feat": unit_files.PYFEAT,
    "LibreFace": sorted({*unit_files.LIBREFACE_DETECTED, *unit_files.LIBREFACE_INTENSITY}),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_each_form_is_joined_to_forty_images(form, tmp_path):
    data = applied(form(tmp_path))
    assert data.files == tuple(FILES[i] for i in KEPT)
    expected = {**COUNTS, **FORMS[form]}
    assert {key: data.metadata["units"][key] for key in expected} == expected
    numbers, program = data.metadata[UNITS], expected["program"]
    assert numbers == list(NUMBERS[program])
    given = {"OpenFace": unit_files.OPENFACE_R, "py-feat": unit_files.PYFEAT,
             "LibreFace": unit_files.LIBREFACE_INTENSITY}[program]  # fmt: skip
    right = [[DRAWN[i].get(u, 0) if u in given else float(u in DRAWN[i]) for u in numbers] for i in KEPT]
    np.testing.assert_allclose(data.targets[UNITS], right, atol=1e-6)
    notes = " | ".join(data.metadata["notes"])
    assert f"{expected['rows']} rows of {program} give 37 images their action units" in notes
    assert f"{expected['images_without_row']} images without a row" in notes


def test_names_with_spaces_of_earlier_openface_and_a_byte_order_mark(tmp_path):
    openface_folders(tmp_path, " ")
    path = tmp_path / "sad.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert applied(tmp_path).files == tuple(FILES[i] for i in KEPT)


def test_a_frame_that_failed_may_hold_anything(tmp_path):
    openface_folders(tmp_path)
    path = tmp_path / "sad.csv"
    lines = path.read_text().splitlines()
    at = 1 + (LOW - 1) // 2
    cells = lines[at].split(",")
    lines[at] = ",".join([*cells[:3], "-nan", "0", *["-nan(ind)"] * (len(cells) - 5)])
    path.write_text("\n".join(lines))
    assert applied(tmp_path).files == tuple(FILES[i] for i in KEPT)


def test_presence_is_what_the_program_says_or_the_least_intensity(tmp_path):
    for form in FORMS:
        folder = tmp_path / form.__name__
        data = applied(form(folder), kind="presence")
        seen, numbers = data.targets[UNITS], data.metadata[UNITS]
        assert set(np.unique(seen)) == {0.0, 1.0}
        least = 0.5 if data.metadata["units"]["program"] == "py-feat" else 0.2
        np.testing.assert_array_equal(seen, [[DRAWN[i].get(u, 0) >= least for u in numbers] for i in KEPT])


def test_the_confidence_that_is_needed_is_a_key(tmp_path):
    data = applied(pyfeat(tmp_path), minimum_confidence=0.25)
    assert len(data.files) == 38
    assert data.metadata["units"]["images_of_low_confidence"] == 0
    with pytest.raises(UserError, match=r"fex\.csv gives no picture .* low confidence .*minimum_confidence 1\)$"):
        applied(pyfeat(tmp_path), minimum_confidence=1.0)


def test_frames_are_counted_by_the_numbers_of_names_where_pictures_are_missing(tmp_path):
    files = [f"clip/frame_{i:05}.png" for i in (1, 2, 5)]
    unit_files.openface_frames(tmp_path / "clip.csv", [(0.9, 1, DRAWN[i]) for i in range(6)])
    data = applied(tmp_path, faces(files))
    assert data.metadata["units"]["rows_without_image"] == 3
    at = data.metadata[UNITS].index(12)
    np.testing.assert_allclose(data.targets[UNITS][:, at], [DRAWN[i].get(12, 0) for i in (0, 1, 4)], atol=1e-6)
    with pytest.raises(UserError, match=r"^clip\.csv has 6 frames, and the folder has 2 pictures, whose names do not"):
        applied(tmp_path, faces(["clip/a.png", "clip/b.png"]))
    # As many pictures as frames are in the order of their names, whatever these are.
    unit_files.openface_frames(tmp_path / "clip.csv", [(0.9, 1, DRAWN[i]) for i in (3, 2)])
    data = applied(tmp_path, faces(["clip/b.png", "clip/a.png"]))
    np.testing.assert_allclose(data.targets[UNITS][:, at], [DRAWN[i].get(12, 0) for i in (2, 3)], atol=1e-6)


def test_equal_names_in_several_folders_need_their_folders(tmp_path):
    files = ["happy/1.png", "sad/1.png"]
    unit_files.pyfeat(tmp_path / "a.csv", [("x/sad/1.png", 0.9, {12: 1.0}), ("x/happy/1.png", 0.9, {4: 1.0})])
    data = applied(tmp_path, faces(files))
    assert [data.targets[UNITS][i, data.metadata[UNITS].index(4)] for i in (0, 1)] == [1, 0]
    # The row of a folder that the data set has not is no row of another folder's picture.
    unit_files.pyfeat(tmp_path / "a.csv", [("sad/1.png", 0.8, {12: 1.0}), ("happy/1.png", 0.9, {4: 1.0})])
    data = applied(tmp_path, faces(["sad/1.png"]))
    assert data.targets[UNITS][0, data.metadata[UNITS].index(12)] == 1
    assert data.metadata["units"]["rows_without_image"] == 1
    unit_files.pyfeat(tmp_path / "a.csv", [("1.png", 0.9, {12: 1.0})])
    with pytest.raises(UserError, match=r"^a\.csv, line 2 is of 1\.png, which may be happy/1\.png or sad/1\.png; a"):
        applied(tmp_path, faces(files))


def changed(old: str, new: str, form=pyfeat):
    def write(root: pathlib.Path) -> pathlib.Path:
        path = form(root)
        file = path if path.is_file() else path / f"{stem(2)}.csv" if form is openface_images else path / "sad.csv"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return path

    return write


def short(root: pathlib.Path) -> pathlib.Path:
    path = pyfeat(root)
    path.write_text(path.read_text().rstrip()[:-40] + "\n")
    return path


def mixed(root: pathlib.Path) -> pathlib.Path:
    pyfeat(root)
    return openface_images(root)


BAD = {
    "word": (changed("0.99,3.5", "sure,3.5"), r"fex\.csv, line 2 has FaceScore 'sure'; it may be a number from"),
    "percent": (changed("0.99,3.5", "99,3.5"), r"fex\.csv, line 2 has FaceScore '99'; it may be a number from 0 to"),
    "nan": (changed("0.1,0.0,", "0.1,nan,"), r"fex\.csv, line \d+ has AU01 'nan'; it may be a number from 0 to 1$"),
    "hole": (changed("0.1,0.0,", "0.1,,"), r"fex\.csv, line \d+ has no AU01$"),
    "high": (changed("0.00,", "7.00,", openface_images), r"has AU\d\d_r '7\.00'; it may be a number from 0 to 5"),
    "code": (changed(",1.0", ",2.0", openface_images), r"has AU\d\d_c '2\.0'; it may be a number from 0 to 1$"),
    "frame": (changed("\n1,0,", "\n0,0,", openface_folders), r"sad\.csv, line 2 has frame '0'; it may be a whole"),
    "short": (short, r"fex\.csv, line 41 has \d+ cells; the header has \d+$"),
    "semicolons": (changed(",", ";"), r"fex\.csv is separated by semicolons; it may be separated by commas"),
    "columns": (changed("AU", "unit"), r"fex\.csv has the columns FaceRectX, .*; it may be a table of OpenFace,"),
    "twice": (changed("x_0", "AU01"), r"fex\.csv has the column AU01 more than once"),
    "mixed": (mixed, r"s\d+_a*\.csv has units 1, .* of OpenFace, and .*fex\.csv 1, .* of py-feat; .* of one form"),
    "others": (changed("\\s0", "\\t0"), r"fex\.csv gives no picture its action units: its first row is of"),
    "nothing": (lambda root: root / "no", r"config\.data\.units\.path .*no does not exist"),
    "empty": (lambda root: root, r"config\.data\.units\.path .* has no CSV files"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_line_with_file_and_row(case, tmp_path):
    write, said = BAD[case]
    with pytest.raises(UserError, match=said) as error:
        applied(write(tmp_path))
    assert "\n" not in str(error.value)


def test_what_asks_for_units_needs_some(tmp_path):
    for key, value in (("flips", 0.1), ("noise", 0.1), ("input", True)):
        with pytest.raises(UserError, match=rf"config\.data\.units\.{key} is .*, and image_folder has no action units"):
            applied("", **{key: value})
    nameless = faces(FILES)
    nameless = FaceArrays(nameless.image, nameless.label, nameless.subject, nameless.class_names)
    with pytest.raises(UserError, match="pictures have no file names to join by"):
        applied(pyfeat(tmp_path), nameless)


def test_errors_are_those_of_the_image_whatever_else_there_is():
    rng = np.random.default_rng(0)
    units = (rng.random((400, 17)) < 0.4) * rng.uniform(0.5, 1, (400, 17)).astype(np.float32)
    keys = [f"{i}.png".encode() for i in range(400)]
    seen = joining.with_errors(units, keys, 0.1, 0.0)
    flipped = (seen >= 0.2) != (units >= 0.2)
    assert 0.08 < flipped.mean() < 0.12
    np.testing.assert_array_equal(seen[~flipped], units[~flipped])
    assert seen[flipped & (seen > 0)].min() >= 0.5
    rows = rng.permutation(400)[:50]
    again = joining.with_errors(units[rows], [keys[i] for i in rows], 0.1, 0.0)
    np.testing.assert_array_equal(again, seen[rows])
    # Noise is added to the same flips.
    noisy = joining.with_errors(units, keys, 0.1, 0.05)
    away = (noisy - seen)[(seen > 0.3) & (seen < 0.7)]
    assert 0.045 < away.std() < 0.055
    assert (noisy.min(), noisy.max() <= 1) == (0, True)
    present = joining.with_errors((units > 0).astype(np.float32), keys, 0.1, 0.0)
    assert set(np.unique(present)) == {0.0, 1.0}


def test_units_as_the_input_are_grey_values():
    units = np.array([[0, 0.5, 1.0], [0.2, 0, 0]], np.float32)
    drawn = joining.pictured(units, 2)
    assert drawn[..., 0].reshape(2, -1).tolist() == [[0, 128, 255, 0], [51, 0, 0, 0]]
    with pytest.raises(UserError, match=r"config\.data\.image_size is 1; 3 action units as the input need 3 pixels"):
        joining.pictured(units, 1)


def test_a_folder_of_many_tables_is_read_once_each(tmp_path):
    openface_images(tmp_path)
    tables = unit_tables.read(tmp_path)
    assert len({row.table for row in tables.rows}) == 38
    assert [row.line for row in tables.rows if row.table.name == f"{stem(4)}.csv"] == [2, 3]
