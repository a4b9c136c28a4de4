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


def frames(path: pathlib.Path, drawn=range(6)) -> pathlib.Path:
    """A video's table, whose first frame is called 1."""
    unit_files.openface_frames(path, [(0.9, 1, DRAWN[i]) for i in drawn])
    return path


def smiles(data: FaceArrays) -> dict[str, float]:
    """AU 12 of each picture that has a row."""
    values = data.targets[UNITS][:, data.metadata[UNITS].index(12)]
    return dict(zip(data.files, values.astype(float).round(3).tolist(), strict=True))


def of_drawn(pictures: dict[str, int]) -> dict[str, float]:
    return {file: DRAWN[i].get(12, 0) for file, i in pictures.items()}


@pytest.mark.parametrize(
    ("pictures", "unused"),
    [
        ({"clip/frame_00001.png": 0, "clip/frame_00002.png": 1, "clip/frame_00005.png": 4}, 3),
        ({"clip/0.png": 0, "clip/2.png": 2, "clip/5.png": 5}, 3),  # from 0, since 0 is no frame of OpenFace
        ({f"clip/{i:02}.png": i - 1 for i in range(1, 7)}, 0),
        ({f"clip/{i:02}.png": i for i in range(6)}, 0),
        ({"clip/b.png": 1, "clip/a.png": 0, "clip/c.png": 2, "clip/d.png": 3, "clip/e.png": 4, "clip/f.png": 5}, 0),
        ({"other/clip/2.png": 1}, 5),
        ({"CLIP/2.png": 1}, 5),
    ],
)
def test_frames_are_those_that_the_names_of_pictures_count(pictures, unused, tmp_path):
    frames(tmp_path / "clip.csv")
    data = applied(tmp_path, faces(pictures))
    assert smiles(data) == of_drawn(pictures)
    assert data.metadata["units"]["rows_without_image"] == unused


def test_pictures_after_the_last_frame_have_no_row(tmp_path):
    frames(tmp_path / "clip.csv")
    files = [f"clip/{i}.png" for i in range(1, 10)]
    data = applied(tmp_path, faces(files))
    assert smiles(data) == of_drawn({f"clip/{i}.png": i - 1 for i in range(1, 7)})
    assert data.metadata["units"]["images_without_row"] == 3


NOT_FRAMES = {
    "as many, other numbers": (["2", "3", "4", "5", "6", "7"], r"clip\.csv, line 2 is of frame 1, and no picture of "
                               r"clip/2\.png to clip/7\.png has this number; pictures may be numbered as the frames"),
    "some numbers": (["1", "2", "9"], r"clip\.csv, line 4 is of frame 3, and no picture of clip/1\.png to clip/9\.png"),
    "far numbers": (["101", "102"], r"clip\.csv, line 2 is of frame 1, and no picture of clip/101\.png to clip/102"),
    "another order": (["1", "2", "3", "4", "5", "06"], r"clip\.csv, line 2 is of frame 1, which is clip/1\.png by its "
                      r"number and clip/06\.png by the order of names; numbers may be of equal length, as 007"),
    "no numbers": (["a", "b"], r"clip\.csv has 6 frames, and the folder has 2 pictures, whose names do not end in"),
    "a number twice": (["a1", "b1"], r"clip\.csv has 6 frames, and the folder has 2 pictures, whose names do not"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_FRAMES)
def test_frames_that_are_no_pictures_numbers_are_one_line(case, tmp_path):
    names, said = NOT_FRAMES[case]
    frames(tmp_path / "clip.csv")
    with pytest.raises(UserError, match=f"^{said}"):
        applied(tmp_path, faces([f"clip/{name}.png" for name in names]))


def test_frames_from_0_are_told_from_frames_from_1(tmp_path):
    unit_files.libreface_video(tmp_path / "clip.csv", DRAWN[:4])
    for pictures in (
        {"clip/0.png": 0, "clip/2.png": 2},
        {"clip/2.png": 1, "clip/4.png": 3},
        {f"clip/{i}.png": i - 1 for i in range(1, 5)},
    ):
        assert smiles(applied(tmp_path, faces(pictures))) == of_drawn(pictures)
    with pytest.raises(
        UserError, match=r"^clip\.csv has 4 frames, and the folder has 2 pictures, which may be numbered"
    ):
        applied(tmp_path, faces(["clip/1.png", "clip/3.png"]))


def test_frames_are_of_one_folder(tmp_path):
    frames(tmp_path / "clip.csv", (0, 1, 2, 3))
    with pytest.raises(
        UserError, match=r"^the frames of clip may be those of the folder of a/clip/1\.png or of b/clip/1"
    ):
        applied(tmp_path, faces([f"{folder}/clip/{i}.png" for folder in "ab" for i in (1, 2)]))
    frames(tmp_path / "in" / "b" / "clip.csv", (0, 1))
    data = applied(tmp_path / "in", faces([f"{folder}/clip/{i}.png" for folder in "ab" for i in (1, 2)]))
    assert smiles(data) == of_drawn({"b/clip/1.png": 0, "b/clip/2.png": 1})
    # A table of another name has no frames of this folder, whether there is one folder or none but this.
    frames(tmp_path / "other" / "walk.csv", (0, 1))
    with pytest.raises(UserError, match=r"gives no picture its action units: its first row is of walk\.csv"):
        applied(tmp_path / "other", faces(["clip/1.png", "clip/2.png"]))
    # Pictures in no folder are of the only table.
    assert smiles(applied(tmp_path / "other", faces(["1.png", "2.png"]))) == of_drawn({"1.png": 0, "2.png": 1})


def test_a_video_is_no_picture_of_its_name(tmp_path):
    frames(tmp_path / "clip.csv", (0, 1))
    pictures = {"clip.png": 0, "clip/1.png": 0, "clip/2.png": 1}
    data = applied(tmp_path, faces(pictures))
    assert smiles(data) == of_drawn({"clip/1.png": 0, "clip/2.png": 1})
    assert data.metadata["units"]["images_without_row"] == 1


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


def one(root: pathlib.Path, *rows: tuple[str, int]) -> pathlib.Path:
    """py-feat's table of pictures' names, each with the units of a drawn face."""
    unit_files.pyfeat(root / "fex.csv", [(name, 0.9, DRAWN[i]) for name, i in rows])
    return root / "fex.csv"


def test_folders_of_other_names_are_counted_and_not_joined(tmp_path):
    files = ("happy/00.png", "happy/01.png", "sad/02.png")
    rows = (("/disgust/00.png", 0), ("C:\\faces\\happy\\01.png", 1), ("02.png", 2), ("/disgust/09.png", 3))
    data = applied(one(tmp_path, *rows), faces(files))
    assert smiles(data) == of_drawn({"happy/01.png": 1, "sad/02.png": 2})
    counts = data.metadata["units"]
    assert (counts["rows_of_other_folders"], counts["rows_without_image"], counts["images_without_row"]) == (1, 2, 1)
    assert (
        "1 rows are of other folders, such as fex.csv, line 2, which is of /disgust/00.png, and the picture of this "
        "name is happy/00.png"
    ) in data.metadata["notes"]


@pytest.mark.parametrize(
    ("row", "file"),
    [("/disgust/00.png", "happy/00.png"), ("test/happy/00.png", "train/happy/00.png"), ("a/00.png", "a/b/00.png")],
)
def test_tables_of_other_folders_alone_are_one_line(row, file, tmp_path):
    said = (
        rf"fex\.csv gives no picture .*: fex\.csv, line 2, which is of {row}, and the picture of this name is {file}; a"
    )
    with pytest.raises(UserError, match=said):
        applied(one(tmp_path, (row, 0)), faces([file]))
    table = (tmp_path / "of" / row.lstrip("/")).with_suffix(".csv")
    unit_files.openface_image(table, [(0.9, DRAWN[0])])
    with pytest.raises(UserError, match=rf"and the picture of this name is {file}; a table's names may have the"):
        applied(tmp_path / "of", faces([file]))


@pytest.mark.parametrize(
    ("rows", "pictures"),
    [
        ((("a.jpg", 1), ("a.png", 2)), {"x/a.jpg": 1, "x/a.png": 2}),
        ((("a.bmp", 1),), {"x/a.jpg": 1}),  # cut out and written in another form
        ((("a.bmp", 1), ("a.jpg", 2)), {"x/a.jpg": 2}),
        ((("x/a.bmp", 1), ("a.jpg", 2)), {"x/a.jpg": 2}),
        ((("KA.AN1.39", 1), ("KA.AN1.40.tiff", 2)), {"KA.AN1.39.tiff": 1, "KA.AN1.40.png": 2}),
        ((("x\\A.JPG", 1),), {"x/a.jpg": 1}),
        ((("X/a.jpg", 1),), {"x/a.jpg": 1}),
        ((("A.JPG", 1), ("a.jpg", 2)), {"a.jpg": 2, "A.JPG": 1}),
        ((("A.PNG", 1), ("a.png", 2)), {"a.png": 2}),
    ],
)
def test_the_whole_name_comes_before_the_stem_and_the_case(rows, pictures, tmp_path):
    assert smiles(applied(one(tmp_path, *rows), faces(pictures))) == of_drawn(pictures)


@pytest.mark.parametrize(
    ("row", "files"),
    [("a.bmp", ["a.jpg", "a.png"]), ("x/A.bmp", ["x/a.jpg", "x/a.png"]), ("B.PnG", ["b.png", "b.pNg"])],
)
def test_a_name_that_fits_two_pictures_is_one_line(row, files, tmp_path):
    with pytest.raises(
        UserError, match=rf"^fex\.csv, line 2 is of {row}, which may be {files[0]} or {files[1]}; a table"
    ):
        applied(one(tmp_path, (row, 1)), faces(files))


@pytest.mark.parametrize(("low", "high"), [("-0.02", "1.04")])
def test_values_a_little_outside_their_range_are_clipped_and_counted(low, high, tmp_path):
    """py-feat's after smoothing, and OpenFace's and LibreFace's."""
    path = one(tmp_path, *((f"{name}.png", i) for name, i in (("a", 3), ("b", 4), ("c", 5))))
    table = [line.split(",") for line in path.read_text().splitlines()]
    at = table[0].index("AU12")
    table[2][at], table[3][at] = low, high
    path.write_text("\n".join(map(",".join, table)))
    data = applied(path, faces(["a.png", "b.png", "c.png"]))
    assert smiles(data) == {**of_drawn({"a.png": 3}), "b.png": 0.0, "c.png": 1.0}
    assert data.metadata["units"]["clipped_values"] == 2
    assert "2 values of 2 rows are brought into their range, the first in fex.csv, line 3" in data.metadata["notes"]


OUTSIDE = {
    "py-feat": ("a.csv", lambda path: unit_files.pyfeat(path, [("a.png", 0.9, {12: 1.0})]), "AU12", ("-0.11", "1.2")),
    "OpenFace": ("a.csv", lambda path: unit_files.openface_image(path, [(0.9, {12: 1.0})]), "AU12_r", ("100", "-0.6")),
    "OpenFace's code": ("a.csv", lambda path: unit_files.openface_image(path, [(0.9, {})]), "AU12_c", ("-1", "1.01")),
    "LibreFace": ("a.csv", lambda path: unit_files.libreface_image(path, {}), "au_12_intensity", ("50", "-7", "5.6")),
    "LibreFace's code": ("a.csv", lambda path: unit_files.libreface_image(path, {}), "au_12", ("2", "-0.1")),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_values_far_outside_their_range_are_one_line(case, tmp_path):
    name, write, column, wrong = OUTSIDE[case]
    path = tmp_path / name
    write(path)
    header, row = (line.split(",") for line in path.read_text().splitlines())
    for value in wrong:
        row[header.index(column)] = value
        path.write_text(",".join(header) + "\n" + ",".join(row))
        with pytest.raises(
            UserError, match=rf"a\.csv, line 2 has {column} '{value}'; it may be a number from 0 to [15]$"
        ):
            applied(path, faces(["a.png"]))


def put_together(path: pathlib.Path, column: str, names: dict[str, int], form: str) -> pathlib.Path:
    """Tables of single pictures as one, with a column of their names; `names` says which face each has."""
    lines, rows = [], path.parent / "single.csv"
    for number, (name, i) in enumerate(names.items(), 1):
        if form == "FeatureExtraction":
            unit_files.openface_frames(rows, [(0.9, 1, DRAWN[i])])
        elif form == "FaceLandmarkImg":
            unit_files.openface_image(rows, [(0.9 + number / 100, DRAWN[i])])
        else:
            unit_files.libreface_video(rows, [DRAWN[i]])
        header, row = rows.read_text().splitlines()
        if form != "FaceLandmarkImg":
            row = f"{number}{row[1:]}"  # they are counted through
        lines += [f"{name},{row}"]
    rows.unlink()
    path.write_text("\n".join([f"{column},{header}", *lines]))
    return path


@pytest.mark.parametrize("form", ["FeatureExtraction", "FaceLandmarkImg", "LibreFace"])
@pytest.mark.parametrize("column", ["filename", "file", "input", "file_name", "Image", "image_path"])
def test_a_column_of_names_says_whose_a_row_is(form, column, tmp_path):
    names = {"b.png": 1, "a.png": 0, "d.png": 3, "all.png": 9}
    path = put_together(tmp_path / "all.csv", column, names, form)
    for pictures in (("a.png", "b.png", "c.png", "d.png"), ("a.png", "all.png")):
        data = applied(path, faces(pictures))
        assert smiles(data) == of_drawn({name: names[name] for name in pictures if name in names})
        assert data.metadata["units"]["further_rows"] == 0
    # The folder that the table is called after is no reason to go by the order.
    data = applied(path, faces([f"all/{name}.png" for name in "abcd"]))
    assert smiles(data) == of_drawn({"all/a.png": 0, "all/b.png": 1, "all/d.png": 3})
    with pytest.raises(UserError, match=r"gives no picture its action units: its first row is of b\.png"):
        applied(path, faces(["all/x.png", "all/y.png", "all/z.png", "all/w.png"]))


def test_frames_of_a_named_video_and_two_columns_of_names(tmp_path):
    path, header = tmp_path / "all.csv", "file,frame,confidence,success,AU12_r"
    path.write_text(header + "\n" + "\n".join(f"clip.mp4,{i},0.9,1,{i}" for i in (1, 2)))
    assert smiles(applied(path, faces(["clip/1.png", "clip/2.png"]))) == {"clip/1.png": 0.2, "clip/2.png": 0.4}
    path.write_text(f"image,{header}\na.png,a.png,1,0.9,1,1\n")
    with pytest.raises(UserError, match=r"all\.csv has the columns image and file; one of them may name the pictures$"):
        applied(path, faces(["a.png"]))


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
    "case": (changed("AU12_r", "AU12_R", openface_images), r"s002_aa\.csv has the column AU12_R; it may be AU12_r$"),
    "case alone": (changed("AU", "au"), r"fex\.csv has the column au01; it may be AU01$"),
    "sure": (changed("0.99,3.5", "1.00001,3.5"), r"has FaceScore '1\.00001'; it may be a number from 0 to 1$"),
    "nothing": (lambda root: root / "no", r"config\.data\.units\.path .*no does not exist"),
    "empty": (lambda root: root, r"config\.data\.units\.path .* has no CSV files"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_line_with_file_and_row(case, tmp_path):
    write, said = BAD[case]
    with pytest.raises(UserError, match=said) as error:
        applied(write(tmp_path))
    assert "\n" not in str(error.value)


def test_a_confidence_may_be_rounded_in_float32(tmp_path):
    path = changed("0.99,3.5", "1.0000001192092896,3.5")(tmp_path)
    assert applied(path, minimum_confidence=1.0).files == tuple(FILES[i] for i in KEPT)


def test_a_table_that_is_not_utf8_is_another_file_or_one_line(tmp_path):
    openface_images(tmp_path)
    other = tmp_path / "personen.csv"
    other.write_bytes("Name,Größe\nJürgen,3\n".encode("latin-1"))
    assert applied(tmp_path).metadata["units"]["other_files"] == 1
    said = r"personen\.csv is not CSV in UTF-8; it may be a detector's table as it was written$"
    with pytest.raises(UserError, match=said):
        applied(other)
    table = (tmp_path / f"{stem(2)}.csv").read_text()
    other.write_bytes(table.encode("utf-16"))
    with pytest.raises(UserError, match=said):
        applied(tmp_path)
    # Units are there all the same where only names are in another code.
    header, row = table.splitlines()
    other.write_bytes(f"file,{header}\nJürgen.png,{row}\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"personen\.csv is not UTF-8 text; save it as CSV in UTF-8$"):
        applied(tmp_path)


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
