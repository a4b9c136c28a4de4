"""Near-duplicates: planted copies are found, and different people with one expression are none."""

import io
import zlib

import ml_collections
import numpy as np
import pytest
import skimage.data
from matplotlib import cbook
from PIL import Image

from fer_jax.cli import main
from fer_jax.data import leakage
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.load import load
from tests.support import layouts


def encoded(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=70)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray) -> np.ndarray:
    size = image.shape[0]
    small = Image.fromarray(image).resize((2 * size // 3,) * 2, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((size, size), Image.Resampling.BILINEAR))


def shifted(image: np.ndarray) -> np.ndarray:
    size = image.shape[0]
    return np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")[:size, 4 : 4 + size]


def mirrored(image: np.ndarray) -> np.ndarray:
    return image[:, ::-1].copy()


def all_of_them(image: np.ndarray) -> np.ndarray:
    return encoded(resized(shifted(mirrored(image))))


@pytest.fixture(scope="module")
def faces(tiny_data):
    """Rendered faces of 32 × 32 pixels: image, label, subject."""
    return tiny_data


@pytest.mark.parametrize(
    "change",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in (encoded, resized, shifted, mirrored)), all_of_them],
)
def test_copies_are_found(faces, change):
    rows = np.arange(0, len(faces.label), 2)
    n = len(rows)
    copies = np.stack([change(image) for image in faces.image[rows]])
    image = np.concatenate([faces.image[rows], copies])
    subject = np.concatenate([faces.subject[rows], faces.subject[rows] + 1000])
    pairs = {(one.first, one.second) for one in leakage.near_duplicates(image, subject)}
    found = np.mean([(i, n + i) in pairs for i in range(n)])
    assert found >= 0.95


@pytest.mark.slow
def test_different_people_with_one_expression_are_none(faces):
    grey = leakage.greys(faces.image)
    same = (faces.label[:, None] == faces.label) & (faces.subject[:, None] < faces.subject)
    first, second = np.nonzero(same)
    assert len(first) > 500
    false = np.mean(leakage.differences(grey[first], grey[second]) <= leakage.MOST_DIFFERENCE)
    assert false <= 0.01
    pairs = leakage.near_duplicates(faces.image, faces.subject)
    assert len({row for one in pairs for row in one[:2]}) <= 0.01 * len(faces.label)


def _blotches(number: int) -> Image.Image:
    """Draws a picture that is like no other number's."""
    small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC)


def test_of_two_the_training_one_goes():
    image = np.stack([np.asarray(_blotches(i)) for i in (1, 2, 1, 3, 2, 4)])
    n, label = np.arange(6, dtype=np.int32), np.array([0, 1, 0, 1, 1, 2], np.int32)
    test = np.array([True, False, False, False, True, False])
    data = FaceArrays(image, label, n, ("a", "b", "c"), official_test=test)
    found = leakage.of(data)
    assert [one[:2] for one in found.pairs] == [(0, 2), (1, 4)]
    assert found.crossing == found.pairs
    assert found.later.tolist() == [1, 2]
    folded = leakage.of(FaceArrays(image, label, n, ("a", "b", "c")))
    assert folded.later.tolist() == [2, 4]
    one_person = leakage.of(FaceArrays(image, label, np.zeros(6, np.int32), ("a", "b", "c")))
    assert one_person.pairs == ()


def test_the_command_lists_them_and_the_key_leaves_them_out(tmp_path, capsys):
    root = tmp_path / "faces"
    for name in layouts.split_folders(root).right:  # of the drawn faces many are near-duplicates
        _blotches(zlib.crc32(name.encode())).save(root / name)
    Image.open(root / "test/happy/0.png").save(root / "train/happy/copy.jpg", quality=80)
    (tmp_path / "config.py").write_text(
        "import ml_collections\n"
        "def get_config():\n"
        "    return ml_collections.ConfigDict({'data': dict(name='image_folder', dir='', manual_dir='',\n"
        "        image_size=32, on_bad_image='error', base_classes=(), n_base=2, exclude=(), labels_csv='',\n"
        "        subject_pattern='')})\n"
    )
    keys = [f"--config.data.dir={tmp_path / 't'}", f"--config.data.manual_dir={root}"]
    assert main.main(["data", "check", "--config", str(tmp_path / "config.py"), *keys]) == 0
    said = capsys.readouterr().out
    assert "near-duplicates: 1 pairs, 1 of them between official parts" in said
    assert "without them:    44 of 45 images" in said
    assert "test/happy/0.png (test)  train/happy/copy.jpg (train)" in said
    config = {"name": "image_folder", "dir": str(tmp_path / "t"), "manual_dir": str(root), "image_size": 32,
              "on_bad_image": "error", "base_classes": (), "n_base": 2, "exclude": (), "labels_csv": "",
              "subject_pattern": "", "near_duplicates": "exclude"}  # fmt: skip
    data = load(ml_collections.ConfigDict(config))
    assert len(data.label) == 44
    assert "train/happy/copy.jpg" not in data.files
    assert "1 near-duplicates were left out (config.data.near_duplicates=exclude)" in data.metadata["notes"]


def _outdoors(person: Image.Image, background: int) -> Image.Image:
    """Puts a photograph of a person, small, before a background."""
    small = np.random.default_rng(background).choice(np.array([0, 255], np.uint8), (5, 5))
    picture = Image.fromarray(small).resize((480, 480), Image.Resampling.BICUBIC).convert("RGB")
    picture.paste(person.resize((150, 150)), (165, 165))
    return picture


def test_faces_alone_are_compared(tmp_path, capsys):
    astronaut = Image.fromarray(skimage.data.astronaut()).crop((130, 20, 330, 220))
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as file:
        hopper = file.convert("RGB").crop((110, 80, 410, 380))
    pictures = {"train/a/0": (astronaut, 1), "test/a/1": (hopper, 1), "test/b/2": (astronaut, 2)}
    more = [f"{side}/{name}/{n}" for side in ("train", "test") for name in "abc" for n in "xy"]
    for name, picture in {**{n: _outdoors(*one) for n, one in pictures.items()},
                          **{n: _blotches(zlib.crc32(n.encode())) for n in more}}.items():  # fmt: skip
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "faces" / f"{name}.png")
    (tmp_path / "config.py").write_text(
        "import ml_collections\n"
        "def get_config():\n"
        "    return ml_collections.ConfigDict({'data': dict(name='image_folder', dir='', manual_dir='',\n"
        "        image_size=160, on_bad_image='error', base_classes=(), n_base=2, exclude=(), labels_csv='',\n"
        "        subject_pattern='', near_duplicates_in='picture')})\n"
    )
    keys = [f"--config.data.dir={tmp_path / 't'}", f"--config.data.manual_dir={tmp_path / 'faces'}"]
    command = ["data", "check", "--config", str(tmp_path / "config.py"), *keys]
    assert main.main(command) == 0
    said = capsys.readouterr().out
    assert "compared:        pictures as training reads them\nnear-duplicates: 1 pairs" in said
    assert "test/a/1.png (test)  train/a/0.png (train)" in said  # two people in one place
    assert main.main([*command, "--config.data.near_duplicates_in=face"]) == 0
    said = capsys.readouterr().out
    assert "the faces found in 3 of 15 pictures, of the others the whole picture\nnear-duplicates: 1 pairs" in said
    assert "test/b/2.png (test)  train/a/0.png (train)" in said  # one person in two places
