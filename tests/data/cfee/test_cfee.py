"""CFEE: names from the sheet, base classes first, people by the file's name; every mistake of the layout is told."""

import sys

import numpy as np
import pytest

from fer_jax.data.cfee import scan, sheet
from fer_jax.data.images import read_image, square
from fer_jax.data.load import load
from fer_jax.errors import UserError
from tests.support import cfee_tree


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "cfee"
    cfee_tree.write_tree(root, cfee_tree.noise(3))
    return root


def folder(root):
    return root / "CFEE_Database_230" / "Group1" / "Images1"


def test_what_comes_out_is_what_lies_there(tree, tmp_path):
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    compound = [name.lower() for name in cfee_tree.SHEET_NAMES if name.lower() not in (*cfee_tree.BASE, "neutral")]
    assert data.class_names == (*cfee_tree.BASE, *compound)
    np.testing.assert_array_equal(np.bincount(data.label), [3] * 21)
    np.testing.assert_array_equal(np.bincount(data.subject), [21] * 3)
    assert data.official_test is None
    assert data.metadata["split_by"] == "subject"
    assert data.metadata["skipped"] == []
    # Subject 102 showing category 7, which the sheet calls Fearful: the third of the base classes.
    row = np.flatnonzero((data.subject == 1) & (data.label == 2))
    picture = square(read_image(folder(tree) / "07_102_IMG_1001.jpg"), 32)
    np.testing.assert_array_equal(data.image[row], picture[None])


def test_action_units_arrive(tree, tmp_path):
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    numbers, table = data.metadata["action_units"], data.class_targets["action_units"]
    # All units that the sheet gives to any category.
    assert numbers == [1, 2, 4, 5, 7, 9, 10, 12, 15, 17, 20, 24, 25, 26]
    assert (table.shape, table.dtype) == ((21, 14), np.float32)
    by_class = {
        name: [n for n, on in zip(numbers, row, strict=True) if on]
        for name, row in zip(data.class_names, table, strict=True)
    }
    assert by_class["happy"] == [12, 25]
    assert by_class["happily surprised"] == [1, 2, 12, 25]
    assert all(by_class[name] == list(cfee_tree.units(name)) for name in data.class_names)
    # Those of an image are those of its class; they were prepared with it.
    assert data.targets["action_units"].dtype == np.float32
    np.testing.assert_array_equal(data.targets["action_units"], table[data.label])


def test_the_units_of_a_table_with_a_column_a_unit(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "summary"
    for row in (["", "", "AU1", "AU12", 25], [1, "Happy", 0, "x", 0.4], [2, "Sad ", 1, "", "no"]):
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    assert sheet.read(tmp_path / "table.xlsx") == [(1, "happy", (12, 25)), (2, "sad", (1,))]
    for row in ([3, "Angry", "4, 7", "AU24"], [4, "Awed", "AU 1+2+5"]):
        book.active.append(row)
    del book["summary"]
    book.create_sheet("summary")
    for row in ([3, "Angry", "4, 7", "AU24"], ["4", "Awed", "AU 1+2+5"]):
        book["summary"].append(row)
    book.save(tmp_path / "list.xlsx")
    assert sheet.read(tmp_path / "list.xlsx") == [(3, "angry", (4, 7, 24)), (4, "awed", (1, 2, 5))]


def test_xls_and_xlsx_say_the_same_and_the_content_decides(tree, tmp_path):
    xls = tree / "AU_annotation_all_subjects.xls"
    cfee_tree.write_sheet(tmp_path / "new.xlsx")
    assert sheet.read(xls) == sheet.read(tmp_path / "new.xlsx")
    assert len(sheet.read(xls)) == 22
    xls.write_bytes((tmp_path / "new.xlsx").read_bytes())
    assert sheet.read(xls) == sheet.read(tmp_path / "new.xlsx")
    # In the folder of pictures it is found too.
    xls.rename(tree / "CFEE_Database_230" / "AU_annotation_all_subjects.xlsx")
    found = scan(tree, cfee_tree.BASE, "error")
    assert len(found.entries) == 66
    assert found.metadata["notes"] == []


@pytest.mark.parametrize("extension", [".xls", ".xlsx"])
def test_a_sheet_that_cannot_be_read_is_told(tree, extension):
    (tree / "AU_annotation_all_subjects.xls").unlink()
    with pytest.raises(UserError, match=r"AU_annotation_all_subjects\.xls does not exist; it is part of the release"):
        scan(tree, cfee_tree.BASE, "error")
    path = tree / f"AU_annotation_all_subjects{extension}"
    cfee_tree.write_sheet(path)
    whole = path.read_bytes()
    for content, said in (
        (b"", "is empty"),
        (whole[: len(whole) // 2], "cannot be read as .xls or .xlsx"),
        (b"not a table\n" * 50, "cannot be read as .xls or .xlsx"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            scan(tree, cfee_tree.BASE, "error")
        assert said in str(error.value)
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)
    cfee_tree.write_sheet(path, sheet="other")
    with pytest.raises(UserError, match="has no sheet 'summary'"):
        scan(tree, cfee_tree.BASE, "error")
    cfee_tree.write_sheet(path, ())
    with pytest.raises(UserError, match="sheet 'summary' has no categories"):
        scan(tree, cfee_tree.BASE, "error")
    cfee_tree.write_sheet(path, ("Happy", "happy "))
    with pytest.raises(UserError, match="has the name 'happy' more than once"):
        scan(tree, cfee_tree.BASE, "error")
    cfee_tree.write_sheet(path)
    assert len(scan(tree, cfee_tree.BASE, "error").entries) == 66


@pytest.mark.parametrize(("extension", "package"), [(".xls", "xlrd"), (".xlsx", "openpyxl")])
def test_a_sheet_without_its_package_names_the_extra(tmp_path, monkeypatch, extension, package):
    path = tmp_path / f"sheet{extension}"
    cfee_tree.write_sheet(path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        sheet.read(path)
    assert str(error.value) == f"{path} is read with {package}; install it with pip install -e '.[cfee]'"


def test_a_base_class_that_the_sheet_lacks_is_told(tree):
    path = tree / "AU_annotation_all_subjects.xls"
    cfee_tree.write_sheet(path, tuple("Joyful" if name == "Happy" else name for name in cfee_tree.SHEET_NAMES))
    with pytest.raises(
        UserError, match=r"config\.data\.base_classes has \['happy'\]; .*\.xls has neutral, joyful, sad"
    ):
        scan(tree, cfee_tree.BASE, "error")
    found = scan(tree, ("JOYFUL", *cfee_tree.BASE[1:]), "error")
    assert found.class_names[:2] == ("joyful", "sad")


def test_missing_folders_are_told(tmp_path):
    with pytest.raises(UserError, match=r"config\.data\.manual_dir .*nowhere does not exist"):
        scan(tmp_path / "nowhere", cfee_tree.BASE, "error")
    with pytest.raises(
        UserError, match=r"CFEE_Database_230 does not exist; config\.data\.manual_dir is the folder that"
    ):
        scan(tmp_path, cfee_tree.BASE, "error")
    (tmp_path / "CFEE_Database_230").mkdir()
    cfee_tree.write_sheet(tmp_path / "AU_annotation_all_subjects.xls")
    with pytest.raises(UserError, match="holds no pictures of this data set"):
        scan(tmp_path, cfee_tree.BASE, "error")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("happy_101.jpg", "its name is not <category, 2 digits>_<subject, 3 digits>_…; rename it"),
        ("1_101_IMG.jpg", "its name is not"),
        ("01-101_IMG.jpg", "its name is not"),
        ("23_101_IMG.jpg", "its category 23 is not in AU_annotation_all_subjects.xls, which has 1–22"),
    ],
)
def test_names_that_do_not_parse(tree, name, said):
    (folder(tree) / "01_101_IMG_1000.jpg").rename(folder(tree) / name)
    with pytest.raises(UserError) as error:
        scan(tree, cfee_tree.BASE, "error")
    assert f"{name}: {said}" in str(error.value)
    assert str(error.value).endswith("or leave such files out with config.data.on_bad_image=skip")
    found = scan(tree, cfee_tree.BASE, "skip")
    assert len(found.entries) == 65
    assert [one["file"] for one in found.skipped] == [f"CFEE_Database_230/Group1/Images1/{name}"]


@pytest.mark.parametrize("place", ["Group1/images2", "Group1", "", "Images3", "Group1/deeper/Images"])
def test_pictures_outside_the_images_folders_are_told(tree, place):
    inside = folder(tree) / "01_101_IMG_1000.jpg"
    outside = tree / "CFEE_Database_230" / place / inside.name
    outside.parent.mkdir(parents=True, exist_ok=True)
    inside.rename(outside)
    with pytest.raises(UserError) as error:
        scan(tree, cfee_tree.BASE, "error")
    assert f"{outside}: it lies in no group's Images folder (CFEE_Database_230/<group>/Images…/)" in str(error.value)
    found = scan(tree, cfee_tree.BASE, "skip")
    assert len(found.entries) == 65
    assert [one["file"] for one in found.skipped] == [outside.relative_to(tree).as_posix()]


def test_a_category_without_images_is_told_unless_it_is_excluded(tree, tmp_path):
    for path in folder(tree).glob("18_*"):
        path.unlink()
    with pytest.raises(UserError, match=r"class awed has no images; add some, or name it in config\.data\.exclude"):
        load(cfee_tree.data_config(tree, tmp_path / "tfds"))
    assert not (tmp_path / "tfds").exists()
    data = load(cfee_tree.data_config(tree, tmp_path / "tfds", exclude=("neutral", "awed")))
    assert len(data.class_names) == 20
    assert "awed" not in data.class_names


def test_other_files_are_left_alone_and_said(tree, tmp_path):
    (folder(tree) / "Thumbs.db").write_text("x")
    (folder(tree) / ".DS_Store").write_text("x")
    (folder(tree) / "notes.txt").write_text("x")
    found = scan(tree, cfee_tree.BASE, "error")
    assert len(found.entries) == 66
    assert found.metadata["notes"] == ["1 files without a picture's extension were left alone"]
