"""Each layout, drawn in its exact form: labels, people and splits one by one; what is malformed; an epoch."""

import json
import pathlib
import shutil

import ml_collections
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax.config import names
from fer_jax.data.layouts.labels import Labels
from fer_jax.data.load import load
from fer_jax.errors import UserError
from tests.support import layouts


def config(root: pathlib.Path, prepared: pathlib.Path, name: str, **keys) -> ml_collections.ConfigDict:
    flat = {"data.name": name, "data.dir": str(prepared), "data.manual_dir": str(root), "data.image_size": 16,
            "data.on_bad_image": "error", "data.base_classes": (), "data.n_base": 2, "data.exclude": (),
            **{f"data.{key}": value for key, value in keys.items()}}  # fmt: skip
    return configs.complete(ml_collections.ConfigDict(configs.nested(flat))).data


def scanned(root: pathlib.Path, name: str, monkeypatch, **keys):
    """The listing that a data set's load makes, before any picture is read."""
    from fer_jax.data import file_builder

    monkeypatch.setattr(file_builder, "load", lambda kind, listed, config: listed)
    return names.data_set(name).load(config(root, root / "unused", name, **keys))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Every tree, drawn when it is first asked for."""
    made = {}

    def tree(name: str) -> tuple[pathlib.Path, str, layouts.Tree]:
        if name not in made:
            root = tmp_path_factory.mktemp("trees") / name
            data_set, draw = layouts.LAYOUTS[name]
            made[name] = root, data_set, draw(root)
        return made[name]

    return tree


@pytest.fixture
def copied(trees, tmp_path):
    """Makes a copy of a tree that may be damaged."""

    def copy(name: str) -> tuple[pathlib.Path, str, dict]:
        root, data_set, tree = trees(name)
        shutil.copytree(root, tmp_path / name)
        return tmp_path / name, data_set, tree.keys

    return copy


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_labels_people_and_splits_one_by_one(trees, name, monkeypatch):
    root, data_set, tree = trees(name)
    listed = scanned(root, data_set, monkeypatch, **tree.keys)
    assert len(listed.entries) == len(tree.right) >= 40
    people = {}
    for entry in listed.entries:
        label, subject, split = tree.right[entry.shown]
        assert listed.class_names[entry.label] == label
        assert entry.official_test is {"test": True, "": None}.get(split, False)
        assert entry.official_validation == (split == "validation")
        assert people.setdefault(subject or entry.shown, entry.subject) == entry.subject
    assert len(set(people.values())) == len(people)
    unknown = any("subjects are unknown" in note for note in listed.metadata["notes"])
    assert unknown == (next(iter(tree.right.values()))[1] is None)


@pytest.mark.parametrize("name", ["fer_plus", "affectnet", "parquet", "hub_jsonl"])
def test_pictures_and_targets_are_those_of_the_files(trees, name, tmp_path):
    root, data_set, tree = trees(name)
    data = load(config(root, tmp_path, data_set, **tree.keys))
    assert data.image.shape == (len(tree.right), 16, 16, 3)
    assert len(np.unique(data.image.reshape(len(data.image), -1), axis=0)) == len(data.image)
    if name == "fer_plus":
        assert data.targets["soft_label"].shape == (44, 8)
        shares = data.targets["soft_label"][np.arange(44), data.label]
        rows = [int(file.split()[-1]) - 2 for file in data.files]
        np.testing.assert_allclose(shares, [1.0 if row in layouts.FER_PLUS_SURE else 0.7 for row in rows], atol=1e-6)
        np.testing.assert_allclose(data.targets["soft_label"].sum(1), 1, atol=1e-6)
        row = next(i for i, c in enumerate(data.label) if data.class_names[c] == "happiness")
        assert data.targets["soft_label"][row, data.class_names.index("surprise")] == pytest.approx(0.3)
        for what in ("without a majority of the votes", "voted unknown or no face", "that FER+ removed"):
            assert f"2 pictures {what} were left alone" in data.metadata["notes"]
    if name == "affectnet":
        # In the order of paths: train_set/images/0.jpg, 1.jpg, 10.jpg …
        order = sorted((shown for shown in tree.right), key=str.encode)
        numbers = np.array([int(pathlib.Path(shown).stem) for shown in order])
        np.testing.assert_allclose(data.targets["valence"], numbers / 40 - 0.5, atol=1e-4)
        np.testing.assert_allclose(data.targets["arousal"], 0.5 - numbers / 80, atol=1e-4)


def test_soft_labels_go_with_their_classes(trees, tmp_path):
    root, data_set, tree = trees("fer_plus")
    keys = {**tree.keys, "base_classes": ("sadness", "anger"), "exclude": ("contempt",)}
    data = load(config(root, tmp_path, data_set, **keys))
    assert data.class_names[:2] == ("sadness", "anger")
    assert data.targets["soft_label"].shape == (39, 7)
    assert (data.targets["soft_label"].argmax(1) == data.label).all()
    np.testing.assert_allclose(data.targets["soft_label"].sum(1), 1, atol=1e-6)


def _replaced(path: pathlib.Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _line(path: pathlib.Path, number: int, change) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines), encoding="utf-8")


def _exchanged(path: pathlib.Path, first: int, second: int) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[first - 1], lines[second - 1] = lines[second - 1], lines[first - 1]
    path.write_text("\n".join(lines), encoding="utf-8")


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _rewritten(path: pathlib.Path, change) -> None:
    import pyarrow.parquet as pq

    pq.write_table(change(pq.read_table(path)), path)


def _column(table, name: str, row: int, value):
    values = table.column(name).to_pylist()
    values[row] = value
    return table.set_column(table.schema.get_field_index(name), name, [values])


def _with_digits(table):
    features = {"label": {"names": ["happy", "sad"], "_type": "ClassLabel"}}
    changed = table.set_column(1, "label", [["0", "1"] * (len(table) // 2)])
    return changed.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _with_kind(table, kind):
    import pyarrow as pa

    value = {"string": pa.array(["a.png"] * len(table)), "list": pa.array([[1, 2]] * len(table))}[kind]
    return table.set_column(table.schema.get_field_index("image"), "image", value)


CK, CK_LABEL = "cohn-kanade-images/S010/001", "Emotion/S010/001/S010_001_00000005_emotion.txt"
KAGGLE = "DATASET/train/1/train_00000_aligned.jpg"
TRAIN = "data/train-00001-of-00002.parquet"
MALFORMED = [
    ("fer2013", lambda r: _line(r / "fer2013.csv", 5, lambda t: "7" + t[1:]), "fer2013.csv, line 5 has emotion '7'"),
    ("fer2013", lambda r: _line(r / "fer2013.csv", 5, lambda t: "x" + t[1:]), "fer2013.csv, line 5 has emotion 'x'"),
    ("fer2013", lambda r: _line(r / "fer2013.csv", 9, lambda t: t.replace(" ", ",", 1)), "line 9 has 4 cells"),
    (
        "fer2013", lambda r: _line(r / "fer2013.csv", 9, lambda t: t.replace(" ", "", 1)),
        "fer2013.csv, line 9 has 2303 pixels; it may have 2304 (48 × 48)",
    ),
    (
        "fer2013", lambda r: _line(r / "fer2013.csv", 9, lambda t: t.replace(" ", " 999", 1)),
        "line 9 has pixels from",
    ),
    ("fer2013", lambda r: _line(r / "fer2013.csv", 9, lambda t: t.replace(" ", " x", 1)), "line 9 has pixels that are"),
    ("fer2013", lambda r: _replaced(r / "fer2013.csv", "PrivateTest", "Secret"), "line 35 has Usage 'Secret'"),
    ("fer2013", lambda r: _line(r / "fer2013.csv", 3, lambda t: ""), "line 4 follows on an empty line"),
    ("fer2013", lambda r: _replaced(r / "fer2013.csv", "emotion", "Emotion"), "has columns ['Emotion', 'pixels'"),
    ("fer2013", lambda r: _replaced(r / "fer2013.csv", "Usage", "usage"),
     "fer2013.csv has 'usage', which is not read; it may be called 'Usage'"),
    ("fer2013", lambda r: (r / "fer2013.csv").unlink(), "fer2013.csv cannot be read (No such file"),
    ("fer_plus", lambda r: _line(r / "fer2013new.csv", 6, lambda t: t + "1x"), "fer2013new.csv, line 6 has NF '01x'"),
    ("fer_plus", lambda r: _line(r / "fer2013new.csv", 51, lambda t: ""),
     "ends with line 50 and has 49 rows; it may have one for each of 50 pictures of fer2013.csv"),
    ("fer_plus", lambda r: _line(r / "fer2013new.csv", 27, lambda t: ""),
     "fer2013new.csv, line 28 has Image name 'fer0000025.png'; it may be fer0000024.png, since its rows are those of"),
    ("fer_plus", lambda r: _exchanged(r / "fer2013new.csv", 12, 25),
     "fer2013new.csv, line 12 has Image name 'fer0000022.png'; it may be fer0000010.png, since its rows are those of"),
    ("fer_plus", lambda r: _line(r / "fer2013new.csv", 21, lambda t: t.replace("fer0000018", "fer0000020")),
     "line 21 has Image name 'fer0000020.png'; it may be fer0000018.png to fer0000019.png"),
    ("fer_plus", lambda r: _line(r / "fer2013new.csv", 5, lambda t: t.replace(".png", "")),
     "fer2013new.csv, line 5 has Image name 'fer0000003'; it may be fer0000003.png"),
    ("fer_plus", lambda r: _replaced(r / "fer2013new.csv", "PublicTest", "Training"), "the picture's is 'PublicTest'"),
    ("affectnet", lambda r: (r / "train_set/annotations/3_val.npy").unlink(), "3_val.npy: it does not exist"),
    ("affectnet", lambda r: (r / "train_set/images/3.jpg").unlink(), "3_exp.npy: its picture does not exist"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_exp.npy", "11"),
     "3_exp.npy: it is 11; it may be 0 to"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_exp.npy", "1.5"), "3_exp.npy: it is 1.5"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_val.npy", "-2"), "3_val.npy: it is -2; it may be -1"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_aro.npy", "nan"), "3_aro.npy: it is nan"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_val.npy", 0.5 + 1j),
     "3_val.npy: it is no array of one number (of type complex128)"),
    ("affectnet", lambda r: np.save(r / "train_set/annotations/3_exp.npy", True),
     "3_exp.npy: it is no array of one number (of type bool)"),
    ("affectnet", lambda r: _empty(r / "train_set/annotations/3_exp.npy"),
     "3_exp.npy: it is no array of one number"),
    ("affectnet", lambda r: shutil.rmtree(r / "val_set/annotations"), "val_set/annotations does not exist"),
    ("rafdb", lambda r: (r / KAGGLE).unlink(), "line 2 of train_labels.csv has it and it does not exist"),
    ("rafdb", lambda r: _line(r / "train_labels.csv", 2, lambda t: t.replace(",1", ",2")),
     "train_labels.csv, line 2 has label '2'; train_00000_aligned.jpg is in the folder 1"),
    ("rafdb", lambda r: _line(r / "train_labels.csv", 3, lambda t: "train_00000_aligned.jpg,1"),
     "line 3 has train_00000_aligned.jpg for the second time, after 2"),
    ("rafdb", lambda r: (r / "DATASET/test/7").rename(r / "DATASET/test/8"), "DATASET/test/8 is no label; it may be 1"),
    ("rafdb", lambda r: layouts.save(r / "DATASET/train/1/more.jpg", 999),
     "more.jpg: train_labels.csv does not name it"),
    ("ckplus", lambda r: next((r / "Emotion").rglob("*.txt")).write_text("  8.0e+00"),
     "line 1 has label 8; it may be 1"),
    ("ckplus", lambda r: next((r / "Emotion").rglob("*.txt")).write_text("happy"), "emotion.txt is no number"),
    ("ckplus", lambda r: shutil.rmtree(r / "Emotion"), "Emotion does not exist"),
    ("ckplus", lambda r: (r / "cohn-kanade-images").rename(r / "images"),
     "images/S010/001 is a folder of the release and no class; config.data.manual_dir may be the folder that holds"),
    ("ckplus", lambda r: (r / CK / "S010_001_00000005.png").unlink(),
     "S010_001_00000005_emotion.txt: its name is of frame 5, and the sequence's last picture is frame 4; put"),
    ("ckplus", lambda r: (r / CK / "S010_001_00000001.png").unlink(),
     "S010_001_00000002.png: it is the first picture of its sequence and frame 2; frame 1 is neutral"),
    ("ckplus", lambda r: (r / CK_LABEL).rename((r / CK_LABEL).with_name("S011_002_00000005_emotion.txt")),
     "S011_002_00000005_emotion.txt: its name is not such as S010_001_00000017_emotion.txt, as its folders have it"),
    ("ck48", lambda r: shutil.move(r / "anger", r / "train" / "anger"),
     "contempt/S050_002_00000017.png is in no split, and other pictures are in train; put it into one"),
    ("ckplus", lambda r: shutil.rmtree(r / "cohn-kanade-images/S010/001"), "is of a sequence without pictures"),
    ("ckplus", lambda r: layouts.save(r / "cohn-kanade-images/S010/001/x.png", 999), "x.png: its name is not such as"),
    ("ck48", lambda r: layouts.save(r / "anger/S010.png", 999), "S010.png: its name is not such as S010_004"),
    ("kdef", lambda r: layouts.save(r / "KDEF/AF01/AF01XXS.JPG", 999), "its expression XX may be one of AF"),
    ("kdef", lambda r: layouts.save(r / "KDEF/AF01/AF01.JPG", 999), "AF01.JPG: its name is not such as AF01ANS.JPG"),
    ("jaffe", lambda r: layouts.save(r / "jaffe/KA.XX1.9.tiff", 999), "its expression XX may be one of FE"),
    # One name in two folders: which of the two is meant nothing says.
    ("affectnet", lambda r: layouts.save(r / "train_set/images/more/3.jpg", 999),
     "more/3.jpg: it has the name of train_set/images/3.jpg; remove one of them"),
    ("rafdb", lambda r: layouts.save(r / "DATASET/train/2/train_00000_aligned.jpg", 999),
     "2/train_00000_aligned.jpg: it has the name of DATASET/train/1/train_00000_aligned.jpg"),
    ("ck48", lambda r: layouts.save(r / "happy/S050_001_00000017.png", 999), "it has the name of anger/S050_001"),
    ("kdef", lambda r: layouts.save(r / "more/af01ans.png", 999), "more/af01ans.png: it has the name of KDEF/AF01"),
    ("jaffe", lambda r: layouts.save(r / "more/KA.AN1.1.png", 999), "KA.AN1.1.png: it has the name of jaffe/KA.AN1.1"),
    ("parquet", lambda r: (r / "data/train-00000-of-00002.parquet").unlink(),
     "train-00000-of-00002… does not exist, and 1 of its 2 parts do; put all"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _with_kind(t, "string")), "column 'image' of string; it may"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _with_kind(t, "list")), "column 'image' of list<"),
    ("parquet", lambda r: _cut(r / TRAIN), "train-00001-of-00002.parquet cannot be read as parquet"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "label", 3, 4)),
     "train-00001-of-00002.parquet, row 3 has label 4; it may be 0 to 3"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "label", 3, None)), "parquet, row 3 has no label"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "person", 3, None)), "row 3 has no person"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "person", 3, "NaN")), "row 3 has no person"),
    ("parquet_of_bytes", lambda r: _rewritten(r / "faces.parquet", _with_digits),
     "faces.parquet, row 0 has label '0'; it may be one of happy, sad"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: t.append_column("split", [["train"] * 15 + ["test"]])),
     "train-00001-of-00002.parquet, row 15 has split 'test', and the file's name says train; they may be the same"),
    ("parquet_of_bytes", lambda r: _rewritten(r / "faces.parquet", lambda t: t.append_column("split", [["1"] * 40])),
     "faces.parquet, row 0 has split '1'; it may be train, validation or test"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: t.drop_columns("image")),
     "has no column 'image'; it has label"),
    ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: t.replace_schema_metadata({})), "names the labels"),
    ("hub_csv", lambda r: _line(r / "metadata.csv", 4, lambda t: t + ",more"), "metadata.csv, line 4 has 4 cells"),
    ("hub_csv", lambda r: _line(r / "metadata.csv", 4, lambda t: "train/0000.png,sad,x"), "for the second time, after"),
    ("hub_csv", lambda r: _line(r / "metadata.csv", 4, lambda t: "../0.png,sad,x"), "line 4 has file_name '../0.png'"),
    ("hub_csv", lambda r: _replaced(r / "metadata.csv", "subject", "Subject ID"),
     "metadata.csv has 'Subject ID', which is not read; it may be called 'subject'"),
    ("hub_csv", lambda r: _split_column(r / "metadata.csv"),
     "metadata.csv, line 26 has split 'train', and test/0024.png is in the folder test; they may agree"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t[:-1] + ', "subject": "None"}'),
     "train/metadata.jsonl, line 4 has subject 'None'; it may be a text"),
    ("hub_csv", lambda r: (r / "train/0002.png").unlink(), "0002.png: line 4 of metadata.csv has it and it does not"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t[:-3]),
     "metadata.jsonl, line 4 is no JSON"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t[:-1] + ', "Split": "test"}'),
     "train/metadata.jsonl, line 4 has 'Split', which is not read; it may be called 'split'"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: "[1]"),
     "line 4 is a list; it may be a JSON"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace("emotion", "x")),
     "metadata.jsonl, line 4 has no emotion"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace(": 3", ": -1")),
     "metadata.jsonl, line 4 has label -1; it may be from 0"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace(": 3", ": 0.5")),
     "metadata.jsonl, line 4 has label 0.5; it may be a text or a whole number from 0"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t[:-1] + ', "subject": "a"}'),
     "train/metadata.jsonl, line 4 has one; give all or none"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace(": 3", ': "sad"')),
     "line 4 has label 'sad'; labels may be all text or all whole numbers"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: "[" * 100_000), "line 4 is no JSON (max"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace(": 3", r': "\ud800"')),
     r"metadata.jsonl, line 4 has \ud800, which is half a character; remove it"),
    ("hub_jsonl", lambda r: _line(r / "train/metadata.jsonl", 4, lambda t: t.replace(".png", r"\ud800.png")),
     r"metadata.jsonl, line 4 has \ud800, which is half a character; remove it"),
    ("hub_jsonl", lambda r: (r / "train/metadata.csv").write_text("file_name,label\n"), "has both metadata.csv and"),
]  # fmt: skip


def _split_column(path: pathlib.Path) -> None:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},split", *(f"{row},train" for row in rows)]))


def _empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "said"), MALFORMED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_malformed_is_one_line(copied, monkeypatch, name, damage, said):
    root, data_set, keys = copied(name)
    damage(root)
    with pytest.raises(UserError) as error:
        scanned(root, data_set, monkeypatch, **keys)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "image", 7, {"bytes": b"x", "path": ""})),
         "train-00001-of-00002.parquet: row 7: it is not a picture"),
        ("parquet", lambda r: _rewritten(r / TRAIN, lambda t: _column(t, "image", 7, None)),
         "row 7 has no bytes of a picture in its column image"),
        ("jaffe", lambda r: shutil.copy(r / "jaffe/KA.HA1.5.tiff", r / "jaffe/KA.HA1.99.tiff"),
         "KA.HA1.99.tiff: it is the same picture as jaffe/KA.HA1.5.tiff"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bad_picture_is_one_line_or_left_out(copied, tmp_path, name, damage, said):
    root, data_set, keys = copied(name)
    if name == "parquet":  # rewriting drops the names of the labels; all files must have the same
        import pyarrow.parquet as pq

        metadata = pq.read_schema(root / TRAIN).metadata
        damage(root)
        _rewritten(root / TRAIN, lambda t: t.replace_schema_metadata(metadata))
    else:
        damage(root)
    with pytest.raises(UserError) as error:
        load(config(root, tmp_path / "t", data_set, **keys))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    data = load(config(root, tmp_path / "t", data_set, **{**keys, "on_bad_image": "skip"}))
    assert len(data.metadata["skipped"]) == 1


def test_an_official_split_keeps_its_copies_and_counts_them(copied, tmp_path):
    root, data_set, keys = copied("fer2013")
    _line(root / "fer2013.csv", 42, lambda t: (root / "fer2013.csv").read_text().split("\n")[1][:-8] + "PrivateTest")
    data = load(config(root, tmp_path / "t", data_set, **keys))
    assert (len(data.label), data.official_test.sum()) == (42, 9)
    assert "1 pictures are copies of others (fer-jax data check lists them)" in data.metadata["notes"]


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_files_ignored_are_all_that_is_not_used(copied, monkeypatch, name):
    root, data_set, keys = copied(name)
    before = scanned(root, data_set, monkeypatch, **keys)
    inside = next(path for path in sorted(root.rglob("*")) if path.is_dir()) if any(root.glob("*/")) else root
    for path in (root / ".DS_Store", root / "README.md", inside / "._x.jpg", root / "__MACOSX" / "a" / "b.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    after = scanned(root, data_set, monkeypatch, **keys)
    assert after.ignored == before.ignored + 4
    assert len(after.entries) == len(before.entries)


def test_other_forms_of_fer2013(trees, tmp_path, monkeypatch):
    root, _, _ = trees("fer2013")
    rows = [line.rsplit(",", 1) for line in (root / "fer2013.csv").read_text().splitlines()[1:]]
    split = [one[0].split(",", 1) for one in rows]
    other = [f"{emotion}, {usage},{pixels}" for (emotion, pixels), (_, usage) in zip(split, rows, strict=True)]
    (tmp_path / "icml_face_data.csv").write_text("\n".join(["emotion, Usage, pixels", *other]) + "\n")
    listed = scanned(tmp_path, "fer2013", monkeypatch, table="icml_face_data.csv")
    assert (len(listed.entries), sum(bool(e.official_test) for e in listed.entries)) == (42, 9)
    (tmp_path / "train.csv").write_text("\n".join(["emotion,pixels", *(f"{a},{b}" for a, b in split)]) + "\n")
    listed = scanned(tmp_path, "fer2013", monkeypatch, table="train.csv")
    assert not listed.has_official_test
    assert "train.csv has no column Usage: there is no official split" in listed.metadata["notes"]


def test_names_in_other_forms(trees, tmp_path, monkeypatch):
    root, _, _ = trees("rafdb")
    (tmp_path / "train_labels.csv").write_text("")
    shutil.copytree(root / "DATASET", tmp_path / "a")
    listed = scanned(tmp_path / "a", "rafdb", monkeypatch, part="basic")
    assert "train_labels.csv does not exist; labels are the folders' numbers" in listed.metadata["notes"]
    with pytest.raises(UserError, match=r"part is 'both'; .*numbered folders, and it may be basic"):
        scanned(tmp_path / "a", "rafdb", monkeypatch, part="both")
    root, _, _ = trees("kdef")
    listed = scanned(root, "kdef", monkeypatch, views=("S", "HL"))
    assert len(listed.entries) == 84
    assert scanned(root, "kdef", monkeypatch).ignored == 42
    root, _, _ = trees("ckplus")
    listed = scanned(root, "ckplus", monkeypatch, frames=1)
    assert (len(listed.entries), len(listed.class_names)) == (28, 7)


def test_a_listing_says_what_it_could_not_determine(trees, monkeypatch):
    for name, note in (("parquet_of_bytes", "the names of faces.parquet say no split"),
                       ("hub_jsonl", "nothing names the labels: classes are called by their numbers"),
                       ("affectnet", "val_set is the official test set: the release has no other"),
                       ("ckplus", "the last 3 pictures of a labelled sequence show its expression")):  # fmt: skip
        root, data_set, tree = trees(name)
        notes = scanned(root, data_set, monkeypatch, **tree.keys).metadata["notes"]
        assert any(note in one for one in notes), notes


@pytest.mark.parametrize("order", ["{side}/{label}", "{label}/{side}"])
def test_ck48_in_folders_of_splits(copied, monkeypatch, order):
    root, data_set, keys = copied("ck48")
    for path in sorted(root.rglob("*.png")):
        side = "test" if path.name.startswith(("S050", "S051")) else "train"
        folder = root / order.format(side=side, label=path.parent.name)
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    listed = scanned(root, data_set, monkeypatch, **keys)
    assert sorted(listed.class_names) == sorted(layouts.CKPLUS)
    for one in listed.entries:
        assert one.official_test is ("S050" in one.relative or "S051" in one.relative)
    assert listed.metadata["notes"][0].startswith("folders are splits: train is the official train set; test is the")


def test_a_sequence_without_its_frames_is_left_out_on_request(copied, monkeypatch):
    root, data_set, keys = copied("ckplus")
    (root / CK / "S010_001_00000005.png").unlink()
    (root / CK.replace("001", "002") / "S010_002_00000001.png").unlink()
    listed = scanned(root, data_set, monkeypatch, **keys, on_bad_image="skip")
    assert len(listed.entries) == 28 * 4 - 4 - 1
    assert [one["file"] for one in listed.skipped] == [CK_LABEL, f"{CK.replace('001', '002')}/S010_002_00000002.png"]


def test_labels_in_two_spellings_are_told(copied, monkeypatch):
    root, data_set, _ = copied("hub_csv")
    _line(root / "metadata.csv", 2, lambda t: t.replace("happy", "Happy"))
    assert "labels 'Happy', 'happy' are one class, happy" in scanned(root, data_set, monkeypatch).metadata["notes"]
    labels = Labels(("Sad", "happy", "sad "))
    assert labels.name_of(2, "") == "sad"
    assert labels.notes() == ["labels 'Sad', 'sad ' are one class, sad"]


def test_numbered_folders_of_rafdb_with_a_zero(copied, monkeypatch):
    root, data_set, keys = copied("rafdb")
    before = scanned(root, data_set, monkeypatch, **keys)
    for path in sorted((root / "DATASET").glob("*/[1-7]")):
        path.rename(path.with_name(f"0{path.name}"))
    after = scanned(root, data_set, monkeypatch, **keys)
    assert [one.label for one in after.entries] == [one.label for one in before.entries]


@pytest.mark.parametrize("above", [("", "Emotion_labels"), ("extended-cohn-kanade-images", "Emotion_labels")])
def test_ckplus_as_its_archives_unpack(copied, trees, monkeypatch, above):
    root, data_set, keys = copied("ckplus")
    for folder, name in zip(above, ("cohn-kanade-images", "Emotion"), strict=True):
        shutil.move(root / name, root / "moved")
        (root / folder).mkdir(exist_ok=True)
        shutil.move(root / "moved", root / folder / name)
    listed = scanned(root, data_set, monkeypatch, **keys)
    before = scanned(trees("ckplus")[0], data_set, monkeypatch, **keys)
    assert listed.class_names == before.class_names
    assert [one.label for one in listed.entries] == [one.label for one in before.entries]
    shutil.copytree(root / above[0] / "cohn-kanade-images", root / "other" / "cohn-kanade-images")
    if above[0]:
        with pytest.raises(UserError, match=r"both exist; there may be one folder cohn-kanade-images"):
            scanned(root, data_set, monkeypatch, **keys)


def test_columns_of_a_parquet_file_that_say_more(copied, monkeypatch):
    root, data_set, keys = copied("parquet_of_bytes")
    path, sides = root / "faces.parquet", ["train"] * 20 + ["Validation"] * 10 + ["test"] * 10
    _rewritten(path, lambda t: t.append_column("split", [sides]).append_column("subject_id", [["p"] * 40]))
    listed = scanned(root, data_set, monkeypatch, **keys)
    assert [one.official_test for one in listed.entries] == [False] * 30 + [True] * 10
    assert [one.official_validation for one in listed.entries] == [False] * 20 + [True] * 10 + [False] * 10
    assert "the column subject_id is not read; config.data.subject_column may name it" in listed.metadata["notes"]
    assert not any("say no split" in note for note in listed.metadata["notes"])
    _rewritten(path, lambda t: t.rename_columns(["image", "label", "Split", "person"]))
    listed = scanned(root, data_set, monkeypatch, **keys)
    assert not listed.has_official_test
    assert "the column Split is not read; a column of splits is called split" in listed.metadata["notes"]
    path.rename(path.parent.joinpath("split=test").mkdir() or path.parent / "split=test" / "part.parquet")
    assert all(one.official_test for one in scanned(root, data_set, monkeypatch, **keys).entries)


def test_fer_plus_before_its_pictures_had_names(copied, monkeypatch):
    root, data_set, keys = copied("fer_plus")
    lines = [line.split(",") for line in (root / "fer2013new.csv").read_text().splitlines()]
    (root / "fer2013new.csv").write_text("\n".join(",".join(cells[:1] + cells[2:]) for cells in lines))
    listed = scanned(root, data_set, monkeypatch, **keys)
    assert len(listed.entries) == 44
    assert "4 pictures voted unknown or no face were left alone" in listed.metadata["notes"]
    assert any(note.endswith("% of the pictures have FER2013's own label") for note in listed.metadata["notes"])


def test_a_folder_beside_affectnets_is_named(copied, monkeypatch):
    root, data_set, keys = copied("affectnet")
    shutil.copytree(root / "val_set", root / "test_set")
    notes = scanned(root, data_set, monkeypatch, **keys).metadata["notes"]
    assert "test_set is no part of the release and is not read" in notes


def test_validation_pictures_of_the_copy_of_rafdb(copied, monkeypatch):
    root, data_set, keys = copied("rafdb")
    shutil.copytree(root / "DATASET" / "test", root / "DATASET" / "valid")
    listed = scanned(root, data_set, monkeypatch, **keys)
    assert (sum(one.official_validation for one in listed.entries), len(listed.entries)) == (14, 63)
    notes = listed.metadata["notes"]
    assert "folders are splits: train is the official train set; valid is the official validation set; "\
        "test is the official test set" in notes  # fmt: skip
    shutil.rmtree(root / "DATASET" / "test")
    notes = scanned(root, data_set, monkeypatch, **keys).metadata["notes"]
    assert notes[0].endswith("valid is the official validation set; there is no official test set")
    assert "no picture is of an official test set: folds of subjects are tested on" in notes
    assert not any("test images are" in note for note in notes)


def test_neutral_in_a_folder_a_class(copied, monkeypatch):
    root, data_set, keys = copied("ck48")
    with pytest.raises(
        UserError, match=r"neutral is True, and .* has a folder a class and none called neutral; it may"
    ):
        scanned(root, data_set, monkeypatch, **keys, neutral=True)
    layouts.save(root / "Neutral" / "S050_001_00000001.png", 999)
    for asked in (False, True):
        listed = scanned(root, data_set, monkeypatch, **keys, neutral=asked)
        assert (len(listed.entries), "neutral" in listed.class_names) == (43, True)
        assert "config.data.frames is of sequences: all pictures of the folders are read" in listed.metadata["notes"]
    root, data_set, keys = copied("ckplus")
    notes = scanned(root, data_set, monkeypatch, neutral=False, frames=2).metadata["notes"]
    assert "84 earlier pictures of labelled sequences were left alone" in notes


@pytest.mark.parametrize(
    ("name", "change", "exclude", "said"),
    [
        ("split_folders", lambda r: (r / "train/happy").rename(r / "train/happines"), ("happines",),
         "class happines has no test images and 7 training ones; it may be misspelled, since happy is a class too"),
        ("split_folders", lambda r: (r / "test/angry").rename(r / "test/anger"), ("angry", "anger"),
         "class angry has no test images and 9 training ones; it may be misspelled, since anger is a class too"),
        ("split_folders", lambda r: shutil.rmtree(r / "test/sad"), ("sad",),
         "class sad has no test images and 9 training ones"),
        ("hub_csv", lambda r: _other_label(r / "metadata.csv", "test/"), ("bored",),
         "class bored has no training images and 1 test ones; add some, or name it in config.data.exclude"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_class_of_one_part_alone_is_told(copied, tmp_path, name, change, exclude, said):
    root, data_set, keys = copied(name)
    change(root)
    with pytest.raises(UserError) as error:
        load(config(root, tmp_path / "t", data_set, **keys))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    data = load(config(root, tmp_path / "t", data_set, **keys, exclude=exclude))
    assert not set(exclude) & set(data.class_names)


def test_a_class_that_validation_lacks_is_a_warning(copied, tmp_path, logged):
    root, data_set, keys = copied("split_folders")
    (root / "valid/sad").rename(root / "valid/sadd")
    with pytest.raises(UserError, match="class sadd has no test images and 2 training ones; it may be misspelled"):
        load(config(root, tmp_path / "t", data_set, **keys))
    shutil.rmtree(root / "test")
    load(config(root, tmp_path / "t", data_set, **keys))
    assert "class sad has no validation images and 7 training ones; it may be misspelled, since sadd" in logged.text
    assert "class sadd has no training images and 2 validation ones; it may be misspelled, since sad" in logged.text
    assert "config.protocol.name held_out needs some" in logged.text


def _other_label(path: pathlib.Path, side: str) -> None:
    lines = path.read_text().split("\n")
    row = next(i for i, line in enumerate(lines) if line.startswith(side) and ",sad," in line)
    lines[row] = lines[row].replace(",sad,", ",bored,")
    path.write_text("\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_an_epoch_is_trained(trees, tmp_path, tiny_config, name):
    from fer_jax import experiment

    root, data_set, tree = trees(name)
    classes = {label for label, _, _ in tree.right.values()}
    flat = configs.flatten(tiny_config)
    flat = {key: value for key, value in flat.items() if not key.startswith(("data.", "model."))}
    flat |= {key: "input" for key in flat if key.endswith(".cut") and flat[key] != "head"}
    data = config(root, tmp_path / "t", data_set, **{**tree.keys, "n_base": len(classes) - 1})
    flat |= {f"data.{key}": value for key, value in data.to_dict().items()} | {
        "data.residency": "host", "methods": ("finetune",), "few_shot.shots": (), "protocol.n_folds": 3,
        "protocol.folds": (0,), "protocol.n_orders": 1, "basic.head.max_epochs": 1, "basic.body.max_epochs": 1,
        "continual.max_epochs": 1, "model.name": "mlp", "model.widths": (8,),
        "model.hidden": (), "model.dropout": 0.0, "model.weights": "none", "model.input_range": "auto",
        "model.precision": "auto",
    }  # fmt: skip
    results = experiment.train(ml_collections.ConfigDict(configs.nested(flat)), tmp_path / "run")
    assert sorted(results["data"]["classes"]) == sorted(classes)
    assert results["data"]["images"] == len(tree.right)
