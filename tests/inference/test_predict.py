"""Pictures in, answers out: faces found, bad files told, every mistake one line."""

import json
import shutil
import sys
import timeit
import types

import numpy as np
import pytest
import skimage.data
from PIL import Image

from fer_jax.cli import main
from fer_jax.errors import UserError
from fer_jax.explain import overlays
from fer_jax.inference import calibration, camera, predict, trained
from tests.support import clock


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy of the finished run: predictions keep their calibration in the workdir."""
    workdir = tmp_path_factory.mktemp("predict") / "run"
    shutil.copytree(tiny_run, workdir)
    return workdir


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a face, a cup of coffee and a text called .jpg, and one below it with a face."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    for name, image in (("astronaut.png", skimage.data.astronaut()), ("coffee.png", skimage.data.coffee())):
        Image.fromarray(image).save(folder / name)
    Image.fromarray(skimage.data.astronaut()[:300, :400]).save(folder / "below" / "astronaut.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("no picture's name either")
    return folder


def told(capsys, *arguments) -> tuple[int, str, str]:
    code = main.main(["predict", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_folder_is_answered_picture_by_picture(run, pictures, capsys, tmp_path):
    code, out, _ = told(capsys, "--workdir", run, pictures, "--json", "--top", 9, "--explain", tmp_path / "maps",
                        "--variant", "guided")  # fmt: skip
    found = json.loads(out)
    answers = {row["file"].removeprefix(f"{pictures}/"): row for row in found["answers"]}
    assert code == 1  # a picture could not be read
    assert {name: row["outcome"] for name, row in answers.items()} == {
        "astronaut.png": "answered",
        "below/astronaut.png": "answered",
        "coffee.png": "no face",
        "text.jpg": "unreadable",
    }
    assert "it is not a picture" in answers["text.jpg"]["problem"]
    classes = answers["astronaut.png"]["classes"]
    assert sorted(one["class"] for one in classes) == sorted(found["classes"])
    assert sum(one["probability"] for one in classes) == pytest.approx(1, abs=1e-4)
    assert [one["probability"] for one in classes] == sorted((one["probability"] for one in classes), reverse=True)
    left, top, side = answers["astronaut.png"]["square"]
    assert left < 225 < left + side  # her nose
    assert top < 115 < top + side
    assert found["calibration"]["temperature"] == calibration.of(trained.restore(run))["temperature"]
    assert "expected_calibration_error" in found["calibration"]["test"]["before"]
    sheets = [row["overlay"] for row in answers.values() if "overlay" in row]
    assert len(set(sheets)) == 2
    assert all(Image.open(path).size == (512, 256) for path in sheets)
    assert answers["astronaut.png"]["overlay_class"] == classes[0]["class"]
    assert answers["astronaut.png"]["overlay_variant"] == "guided"
    assert answers["astronaut.png"]["overlay_layer"] == overlays.of(trained.restore(run), tmp_path).layer


def test_a_table_says_what_the_probabilities_are_worth(run, pictures, capsys):
    code, out, err = told(capsys, "--workdir", run, pictures / "coffee.png")
    assert (code, err) == (0, "")
    assert "no face found" in out
    said = (
        "fitted on 18 validation images of 2 people who are in neither training nor test; calibration error on the run"
    )
    assert said in out


def test_a_picture_that_is_a_face_already_is_not_searched(run, tiny_data, tmp_path, capsys):
    path = tmp_path / "face.png"
    Image.fromarray(tiny_data.image[0]).save(path)
    _, out, _ = told(capsys, "--workdir", run, path, "--cropped", "--json")
    (answer,) = json.loads(out)["answers"]
    model = trained.restore(run)
    logits = np.asarray(trained.logits(model.params, tiny_data.image[:1], model.network))[0]
    assert answer["classes"][0]["class"] == tiny_data.class_names[logits.argmax()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{pictures}/text.jpg"], "text.jpg: it is not a picture (JPEG, PNG"),
        (["{tmp}"], "has no pictures; it may hold .bmp, .gif"),
        (["{tmp}/none.png"], "none.png does not exist; it may be a picture or a folder of pictures"),
        (["{pictures}/coffee.png", "--top", "0"], "--top is 0; it may be a whole number from 1"),
        (["{pictures}/coffee.png", "--margin", "9"], "--margin is 9.0; it may be a number from 0 to 2"),
        (["{pictures}/coffee.png", "--margin", "1", "--cropped"], "--margin is of faces that are searched for; leave"),
        (
            ["{pictures}/coffee.png", "--method", "base", "--order", "9"],
            "--order is 9; leave it out with --method base",
        ),
        (["{pictures}/text.jpg", "{pictures}/text.jpg"], "none of 2 pictures can be read; the first is "),
        (["{pictures}/coffee.png", "--class", "happy"], "--class says of what maps are; it goes with --explain DIR"),
        (["{pictures}/coffee.png", "--variant", "plain"], "--variant says of what maps are; it goes with --explain"),
        (["{pictures}/coffee.png", "--explain", "x", "--variant", "blind"], "--variant is 'blind'; it may be one of"),
        (["{pictures}/coffee.png", "--explain", "{pictures}/text.jpg/x"], "text.jpg/x lies under "),
        (["{pictures}/coffee.png", "--explain", "x" * 256], "--explain " + "x" * 256 + ": File name too long; it may"),
        (["camera", "--json"], "--json does not go with camera"),
        (["camera", "--explain", "x"], "--explain does not go with camera"),
        (["camera", "--top", "0"], "--top is 0; it may be a whole number from 1"),
        (["{pictures}/coffee.png", "--explain", "x", "--class", "bored"], "--class is 'bored'; it may be one of happy"),
        (["{pictures}/coffee.png", "--method", "x"], "--method is 'x'; it may be one of kd_psmr"),
        (["{pictures}/coffee.png", "--jsn"], "--jsn is not an argument of predict"),
    ],
)
def test_mistakes_are_one_line(run, pictures, tmp_path, capsys, arguments, said):
    arguments = [argument.format(pictures=pictures, tmp=tmp_path) for argument in arguments]
    code, out, err = told(capsys, "--workdir", run, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_a_picture_that_is_alone_is_opened_before_the_model_is_read(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trained, "restore", lambda *arguments: pytest.fail("the model was read"))
    code, out, err = told(capsys, "--workdir", tmp_path, pictures / "text.jpg")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_an_overlays_name_is_short_and_its_own(tmp_path):
    deep = tmp_path.joinpath(*["a_folder_with_quite_a_long_name"] * 8)
    face = np.zeros((8, 8, 3), np.uint8)
    names = {
        predict._write_overlay(tmp_path / "maps", folder / ("x" * 250 + ".png"), face, face).name
        for folder in (deep, deep.parent)
    }
    assert len(names) == 2
    assert all(len(name) <= 60 for name in names)


def test_a_workdir_without_a_finished_phase_is_one_line(tiny_run, pictures, tmp_path, capsys):
    shutil.copy(tiny_run / "config.json", tmp_path)
    code, _, err = told(capsys, "--workdir", tmp_path, pictures / "coffee.png")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "has no finished base task of fold 0" in err


def test_a_camera_needs_opencv(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, err = told(capsys, "--workdir", run, "camera")
    assert (code, err) == (2, "fer-jax: camera needs OpenCV; install it with pip install opencv-python\n")


class FakeCamera:
    """Two frames of the astronaut, in OpenCV's order of colours, then the end."""

    def __init__(self, device):
        self.left = 2 if device == 0 else 0
        self.opened = device == 0

    def isOpened(self):
        return self.opened

    def read(self):
        self.left -= 1
        return self.left >= 0, skimage.data.astronaut()[..., ::-1]

    def release(self):
        self.opened = False


@pytest.mark.parametrize("windows", [True, False])
def test_a_camera_is_answered_until_it_ends(run, monkeypatch, windows):
    shown, said = [], []
    fake = types.SimpleNamespace(VideoCapture=FakeCamera, error=RuntimeError, FONT_HERSHEY_SIMPLEX=0)
    fake.rectangle = fake.putText = lambda frame, *rest: None
    fake.waitKey = lambda wait: -1

    def imshow(name, frame):
        if not windows:
            raise fake.error("no windows")
        shown.append(frame.shape)

    fake.imshow, fake.destroyAllWindows = imshow, lambda: imshow("", np.zeros(0)) if not windows else None
    monkeypatch.setitem(sys.modules, "cv2", fake)
    predictor = predict.build(trained.restore(run))
    camera.run(predictor, said.append, every=0.0, top=2)
    assert len(shown) == (2 if windows else 0)
    assert len(said) == 2
    assert all(line.count("%") == 2 for line in said)
    with pytest.raises(UserError, match="camera 1 cannot be opened"):
        camera.run(predictor, device=1)


@pytest.mark.alone
@pytest.mark.slow
def test_a_warm_picture_takes_50_ms(run, pictures):
    predictor = predict.build(trained.restore(run))
    file = [pictures / "astronaut.png"]
    list(predict.answers(predictor, file))
    seconds = min(timeit.repeat(lambda: list(predict.answers(predictor, file)), number=1, repeat=10))
    assert seconds <= 0.05 * clock.slowness()
