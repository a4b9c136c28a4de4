"""Trees of drawn faces in the exact forms in which data sets go round, and what is right of each."""

import csv
import io
import json
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw


class Tree(NamedTuple):
    """right: by the name that `Entry.shown` has, (class, subject, split); a subject is None where it is unknown."""

    right: dict[str, tuple[str, str | None, str]]
    keys: Mapping[str, object] = types.MappingProxyType({})


def face(number: int, side: int = 48) -> Image.Image:
    """Draws a face that no other number has."""
    generator = np.random.default_rng(number)
    noise = generator.integers(90, 150, (8, 8), np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BILINEAR)
    pen, u = ImageDraw.Draw(image), side / 48
    dx, dy, open_ = generator.integers(-4, 5), generator.integers(-4, 5), generator.integers(1, 9)
    pen.ellipse([(6 + dx) * u, (3 + dy) * u, (42 + dx) * u, (45 + dy) * u], fill=int(generator.integers(170, 230)))
    for x in (17, 31):
        pen.ellipse([(x - 3 + dx) * u, (16 + dy) * u, (x + 3 + dx) * u, (20 + dy) * u], fill=20)
    pen.ellipse([(17 + dx) * u, (31 + dy) * u, (31 + dx) * u, (31 + open_ + dy) * u], fill=60)
    return image


def save(path: pathlib.Path, number: int, colour: bool = True) -> None:
    """Writes a face of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    face(number).convert("RGB" if colour else "L").save(path)


def _png(number: int) -> bytes:
    file = io.BytesIO()
    face(number).convert("RGB").save(file, "PNG")
    return file.getvalue()


USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def fer2013(root: pathlib.Path, parts: tuple[int, int, int] = (24, 9, 9)) -> Tree:
    """42 rows, 24 training ones and nine in each other split."""
    root.mkdir(parents=True)
    right, rows = {}, []
    for i, split in enumerate(np.repeat(("train", "validation", "test"), parts).tolist()):
        pixels = " ".join(map(str, np.asarray(face(i)).reshape(-1)))
        rows.append([i % 7, pixels, USAGES[split]])
        right[f"fer2013.csv, row {i + 2}"] = (FER2013[i % 7], None, split)
    _csv(root / "fer2013.csv", ["emotion", "pixels", "Usage"], rows)
    return Tree(right)


VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# What FER+ does with votes, by the row: no majority; the same, since single votes go first; removed; a majority, since
# single votes go first; unknown; no face.
FER_PLUS_OUT = {1: (5, 5), 3: (4, 0, 0, 1, 3, 2), 7: (0,) * 9 + (10,), 18: (0,) * 9 + (10,),
                9: (1,) + (0,) * 7 + (9,), 10: (1,) + (0,) * 8 + (9,)}  # fmt: skip
FER_PLUS_SURE = {2: (1, 1, 5, 1, 1, 1), 4: (1, 0, 0, 0, 6, 0, 0, 1, 2)}


def fer_plus(root: pathlib.Path) -> Tree:
    """50 of FER2013's rows with votes, of which six are left out; names are given as in the authors' table.

    Rows 7 and 18 were removed: the one has a number, the other none. Row 21 is a copy that has the name of row 30.
    """
    tree = fer2013(root, (30, 10, 10))
    rows, right = [], {}
    for i, (name, (_, _, split)) in enumerate(tree.right.items()):
        votes = [0] * 10
        votes[i % 8], votes[(i + 1) % 8] = 7, 3
        if special := FER_PLUS_OUT.get(i) or FER_PLUS_SURE.get(i):
            votes = [*special, *[0] * (10 - len(special))]
        if i not in FER_PLUS_OUT:
            right[name] = (VOTED[i % 8], None, split)
        number = 30 - 1 if i == 21 else i - (i > 18)
        rows.append([USAGES[split], "" if i in (7, 18) else f"fer{number:07}.png", *votes])
    _csv(root / "fer2013new.csv", ["Usage", "Image name", *VOTED, "unknown", "NF"], rows)
    return Tree(right, {"labels": "fer_plus"})


AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")


def affectnet(root: pathlib.Path) -> Tree:
    """40 pictures, every expression four times in train_set and once in val_set, and one without a face."""
    right = {}
    for i in range(41):
        part, split = ("val_set", "test") if 32 <= i < 40 else ("train_set", "train")
        save(root / part / "images" / f"{i}.jpg", i)
        (root / part / "annotations").mkdir(exist_ok=True)
        expression = i % 8 if i < 40 else 10
        values = {"exp": expression, "val": f"{i / 40 - 0.5:.4f}" if i < 40 else "-2", "aro": f"{0.5 - i / 80:.4f}"}
        for what, value in values.items():
            np.save(root / part / "annotations" / f"{i}_{what}.npy", np.array(str(value)))
        np.save(root / part / "annotations" / f"{i}_lnd.npy", np.zeros(136))
        if i < 40:
            right[f"{part}/images/{i}.jpg"] = (AFFECTNET[i % 8], None, split)
    return Tree(right)


RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


def rafdb(root: pathlib.Path) -> Tree:
    """The copy that goes round: 49 pictures, 35 of them training ones."""
    right, rows = {}, {"train": [], "test": []}
    for i in range(49):
        side = "train" if i < 35 else "test"
        name = f"train_{i:05}_aligned.jpg" if side == "train" else f"test_{i:04}_aligned.jpg"
        save(root / "DATASET" / side / str(i % 7 + 1) / name, i)
        rows[side].append([name, i % 7 + 1])
        right[f"DATASET/{side}/{i % 7 + 1}/{name}"] = (RAFDB[i % 7], None, side)
    for side, lines in rows.items():
        _csv(root / f"{side}_labels.csv", ["image", "label"], lines)
    return Tree(right, {"part": "basic"})


def rafdb_release(root: pathlib.Path) -> Tree:
    """The basic part as its authors send it: 49 pictures, 35 training ones, and one that no line names."""
    right, lines = {}, []
    for i in range(50):
        stem = f"train_{i:05}" if i < 35 else f"test_{i:04}"
        save(root / "basic" / "Image" / "aligned" / f"{stem}_aligned.jpg", i)
        if i < 49:
            lines.append(f"{stem}.jpg {i % 7 + 1}")
            right[f"basic/Image/aligned/{stem}_aligned.jpg"] = (RAFDB[i % 7], None, stem.split("_")[0])
    (root / "basic" / "EmoLabel").mkdir()
    (root / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return Tree(right, {"part": "basic"})


CKPLUS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")


def ckplus(root: pathlib.Path) -> Tree:
    """The release: four people, each with every expression in sequences of five pictures, and one without a label."""
    right, number = {}, 0
    for person in range(4):
        subject = f"S{person + 10:03}"
        for sequence in range(1, 9):
            for frame in range(1, 6):
                name = f"{subject}_{sequence:03}_{frame:08}.png"
                path = root / "cohn-kanade-images" / subject / f"{sequence:03}" / name
                save(path, number := number + 1, colour=False)
                if sequence < 8 and frame in (1, 3, 4, 5):
                    label = CKPLUS[sequence - 1] if frame > 1 else "neutral"
                    right[path.relative_to(root).as_posix()] = (label, subject, "")
            if sequence < 8:
                label = root / "Emotion" / subject / f"{sequence:03}" / f"{subject}_{sequence:03}_00000005_emotion.txt"
                label.parent.mkdir(parents=True)
                label.write_text(f"   {sequence:.7e}\n")
    return Tree(right, {"neutral": True})


def ck48(root: pathlib.Path) -> Tree:
    """CK+ as it circulates: a folder a class, 42 pictures of six people."""
    right = {}
    for i in range(42):
        subject, label = f"S{i // 7 + 50:03}", CKPLUS[i % 7]
        path = root / label / f"{subject}_{i % 7 + 1:03}_00000017.png"
        save(path, i, colour=False)
        right[path.relative_to(root).as_posix()] = (label, subject, "")
    return Tree(right)


KDEF = {"AF": "afraid", "AN": "angry", "DI": "disgusted", "HA": "happy", "NE": "neutral", "SA": "sad",
        "SU": "surprised"}  # fmt: skip


def kdef(root: pathlib.Path) -> Tree:
    """Three people in two sessions, straight and half left; the straight ones are read."""
    right, number = {}, 0
    for session in "AB":
        for person in ("F01", "F02", "M01"):
            for code, label in KDEF.items():
                for view in ("S", "HL"):
                    folder, name = f"{session}{person}", f"{session}{person}{code}{view}.JPG"
                    save(root / "KDEF" / folder / name, number := number + 1)
                    if view == "S":
                        right[f"KDEF/{folder}/{name}"] = (label, person, "")
    return Tree(right)


def jaffe(root: pathlib.Path) -> Tree:
    """Three people, seven expressions, twice."""
    right, number = {}, 0
    for person in ("KA", "KL", "YM"):
        for code, label in {**KDEF, "FE": "afraid"}.items():
            for again in (1, 2):
                if code == "AF":
                    continue
                name = f"{person}.{code}{again}.{(number := number + 1)}.tiff"
                save(root / "jaffe" / name, number, colour=False)
                right[f"jaffe/{name}"] = (label, person, "")
    (root / "jaffe" / "README").write_text("no picture")
    return Tree(right)


HUB = ("happy", "sad", "angry", "neutral")


def parquet(root: pathlib.Path) -> Tree:
    """48 rows in three splits; training has two files of several groups of rows; labels are named by the hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "data").mkdir(parents=True)
    right, number = {}, 0
    features = {"image": {"_type": "Image"}, "label": {"names": list(HUB), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    files = {"train-00000-of-00002": "train", "train-00001-of-00002": "train",
             "validation-00000-of-00001": "validation", "test-00000-of-00001": "test"}  # fmt: skip
    for name, split in files.items():
        n = 16 if split == "train" else 8
        pictures, labels, people = [], [], []
        for row in range(n):
            pictures.append({"bytes": _png(number := number + 1), "path": f"{number}.png"})
            labels.append(row % 4)
            people.append(f"{split[:2]}{row // 4}{name[8]}")
            right[f"data/{name}.parquet, row {row}"] = (HUB[row % 4], people[-1], split)
        table = pa.table({"image": pictures, "label": labels, "person": people}).replace_schema_metadata(metadata)
        pq.write_table(table, root / "data" / f"{name}.parquet", row_group_size=5)
    return Tree(right, {"subject_column": "person"})


def parquet_of_bytes(root: pathlib.Path) -> Tree:
    """40 rows of plain bytes and labels that are text, in one file whose name says no split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True)
    labels = [HUB[i % 4] for i in range(40)]
    pq.write_table(pa.table({"image": [_png(i) for i in range(40)], "label": labels}), root / "faces.parquet")
    return Tree({f"faces.parquet, row {i}": (label, None, "") for i, label in enumerate(labels)})


def hub_csv(root: pathlib.Path) -> Tree:
    """One metadata.csv; splits are the first part of the paths."""
    right, rows = {}, []
    for i in range(40):
        split = "train" if i < 24 else "test" if i < 32 else "validation"
        name = f"{split}/{i:04}.png"
        save(root / name, i)
        rows.append([name, HUB[i % 4], f"person {split} {i % 5}"])
        right[name] = (HUB[i % 4], f"person {split} {i % 5}", split)
    _csv(root / "metadata.csv", ["file_name", "label", "subject"], rows)
    return Tree(right)


def hub_jsonl(root: pathlib.Path) -> Tree:
    """A metadata.jsonl in each split's folder, labels are numbers."""
    right = {}
    for side, split, n in (("train", "train", 28), ("valid", "validation", 8), ("test", "test", 8)):
        lines = []
        for i in range(n):
            save(root / side / "images" / f"{i}.png", {"train": 0, "valid": 1000, "test": 2000}[side] + i)
            lines.append({"file_name": f"images/{i}.png", "emotion": i % 4, "text": "ignored, with a comma"})
            right[f"{side}/images/{i}.png"] = (f"class {i % 4}", None, split)
        (root / side / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return Tree(right, {"label_column": "emotion"})


def split_folders(root: pathlib.Path) -> Tree:
    """train, valid and test, each with folders of classes."""
    right = {}
    for side, split, n in (("train", "train", 28), ("valid", "validation", 8), ("test", "test", 8)):
        for i in range(n):
            name = f"{side}/{HUB[i % 4]}/{i}.png"
            save(root / name, {"train": 0, "valid": 1000, "test": 2000}[side] + i)
            right[name] = (HUB[i % 4], None, split)
    return Tree(right, {"labels_csv": "", "subject_pattern": ""})


def _csv(path: pathlib.Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


# By the name of the layout: the name of its data set, and what draws it.
LAYOUTS: dict[str, tuple[str, Callable[[pathlib.Path], Tree]]] = {
    "fer2013": ("fer2013", fer2013), "fer_plus": ("fer2013", fer_plus), "affectnet": ("affectnet", affectnet),
    "rafdb": ("rafdb", rafdb), "rafdb_release": ("rafdb", rafdb_release),
    "ckplus": ("ckplus", ckplus), "ck48": ("ckplus", ck48), "kdef": ("kdef", kdef),
    "jaffe": ("jaffe", jaffe), "parquet": ("parquet", parquet), "parquet_of_bytes": ("parquet", parquet_of_bytes),
    "hub_csv": ("hub_folder", hub_csv), "hub_jsonl": ("hub_folder", hub_jsonl),
    "split_folders": ("image_folder", split_folders),
}  # fmt: skip
