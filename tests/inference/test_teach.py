"""Classes taught beside those of a run: three in a row, every mistake one line, and nothing lost by a kill."""

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import unicodedata

import jax
import numpy as np
import pytest
import skimage.data
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fer_jax.classifiers import CLASSIFIERS, Exemplars, Linear
from fer_jax.cli import main
from fer_jax.errors import UserError
from fer_jax.inference import taught, teach, trained
from fer_jax.phases import base as base_task
from fer_jax.phases import few_shot
from fer_jax.phases.memory import base_memory
from fer_jax.phases.trunk_cache import Encoded
from tests.support.digits import fold_of

TAUGHT = ("happily surprised", "smirk", "frown")  # the first one is in the data set, and the base model knows none


@pytest.fixture(scope="module")
def pictures(tiny_data, tmp_path_factory):
    """A folder a class, of five faces as PNG; of training people, whom a user's pictures may as well show."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(TAUGHT):
        (folder / name).mkdir()
        for j, row in enumerate(np.flatnonzero(tiny_data.label == 6 + i)[:5]):
            Image.fromarray(tiny_data.image[row]).save(folder / name / f"{j}.png")
    return folder


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy of the finished run; tests that change it copy it again."""
    workdir = tmp_path_factory.mktemp("teach") / "run"
    shutil.copytree(tiny_run, workdir)
    return workdir


@pytest.fixture(scope="module")
def first(run, pictures):
    """The folder of the base model that was taught the first class."""
    assert main.main(teaching(run, pictures, TAUGHT[0], "--method", "base")) == 0
    return run / "taught" / TAUGHT[0]


def teaching(workdir, pictures, name, *more) -> list[str]:
    return ["teach", "--workdir", str(workdir), "--class", name, "--cropped", str(pictures / name), *more]


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_three_classes_in_a_row(run, first, pictures, tiny_data, capsys):
    before, folder = files(run), first
    for name in TAUGHT[1:]:
        assert main.main(teaching(folder, pictures, name, "--json")) == 0
        told, folder = json.loads(capsys.readouterr().out), folder / "taught" / name
        assert (told["out"], told["classes"][-1]) == (str(folder), {"name": name, "images": 5})
    model, base = trained.restore(folder), trained.restore(run, "base")
    assert (model.taught.names, model.method) == (TAUGHT, "base")
    assert model.known_names == (*base.known_names, *TAUGHT)
    assert model.class_names == (*tiny_data.class_names, *TAUGHT[1:])
    assert {key: files(run)[key] for key in before} == before
    # What was told is what the models do.
    data, split = trained.load_data(model)
    rows = split.test[base.class_mask[data.label[split.test]]]
    two = trained.restore(folder.parents[1])
    for when, one in (("before", two), ("after", model)):
        found = trained.in_batches(lambda x, one=one: trained.logits(one.params, x, one.network), data.image[rows])
        answers = np.where(one.class_mask, found, -np.inf).argmax(1)
        assert told["held_out"][when] == pytest.approx(np.mean(answers == data.label[rows]))
    assert told["held_out"]["images"] == len(rows)
    assert told["left_out"]["images"] == 5
    # Each class on its own; of those that were taught only the one that the data set has.
    classes = told["held_out"]["classes"]
    assert list(classes) == [*base.known_names, TAUGHT[0]]
    for when in ("before", "after"):
        right = sum(row[when] * row["images"] for name, row in classes.items() if name in base.known_names)
        assert right == pytest.approx(told["held_out"][when] * len(rows))
    assert (
        json.loads((first / "taught.json").read_text())["learned"]["held_out"]["classes"][TAUGHT[0]]["before"] is None
    )
    # However many are taught, the known classes lose no more than one share of their validation images.
    rows = split.validation[base.class_mask[data.label[split.validation]]]
    for one in (trained.restore(first), two, model):
        scores = trained.scores(one, data.image[rows])
        new = np.isin(one.class_names, one.taught.names)
        known = np.pad(base.class_mask, (0, len(new) - len(base.class_mask)))
        taken = int(np.sum(scores[:, new].max(1) > scores[:, known].max(1) + 1e-5))
        assert taken in (int(0.15 * len(rows)), int(np.ceil(0.15 * len(rows))))
    # A class of the user's own has no test images, and is explained on the user's pictures alone.
    assert main.main(["explain", "--workdir", str(folder), "--class", "smirk"]) == 2
    assert "which the run has no test images of; predict --explain draws maps" in capsys.readouterr().err
    assert main.main(["explain", "--workdir", str(folder)]) == 0


def test_a_taught_model_is_asked_like_any_other(first, pictures, capsys):
    picture = str(pictures / TAUGHT[0] / "0.png")
    assert main.main(["predict", "--workdir", str(first), "--cropped", "--json", "--top", "9", picture]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["classes"][-1] == TAUGHT[0]
    assert told["model"]["taught"] == [TAUGHT[0]]
    assert told["model"]["answers_by"] == "exemplar_discriminant"
    assert sum(one["probability"] for one in told["answers"][0]["classes"]) == pytest.approx(1, abs=1e-4)
    assert "test" in told["calibration"]
    assert (first / "calibration" / "fold0-base.json").is_file()
    assert main.main(["predict", "--workdir", str(first), "--cropped", picture]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "taught beside the run's classes: happily surprised (from 5); answers are by exemplar discriminant" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--class", "happy", "{new}/0.png"],
            "--class is 'happy', which the model knows; it may be another than happy",
        ),
        (["--class", "Happy", "{new}/0.png"], "--class is 'Happy', which the model knows"),
        (["--class", TAUGHT[0], "{new}/0.png"], f"--class is '{TAUGHT[0]}', which the model knows"),
        (["--class", "Happily  surprised", "{new}/0.png"], "--class is 'Happily  surprised', which the model knows"),
        (["--class", "happily_surprised", "{new}/0.png"], "--class is 'happily_surprised', which the model knows"),
        (["--class", "../x", "{new}/0.png"], "--class is '../x'; it may be up to 60 letters, digits"),
        (["--class", "", "{new}/0.png"], "--class is ''; it may be up to 60 letters, digits"),
        (["{new}/0.png", "{new}/1.png", "{new}/0.png"], "0.png is the same file as "),
        (["{new}/0.png", "{tmp}/0.bmp"], "0.bmp shows the same face as "),
        (["{old}/0.png"], "0.png was taught before, as happily surprised; take another picture"),
        (["{tmp}/old.bmp"], "old.bmp was taught before, as happily surprised; take another picture"),
        (["{tmp}/text.jpg"], "text.jpg: it is not a picture"),
        (["{tmp}/none.jpg"], "none.jpg does not exist"),
        (["{tmp}/many"], "51 pictures are given; there may be 1 to 50"),
        (["--margin", "9", "{new}/0.png"], "--margin is 9.0; it may be a number from 0 to 2"),
        (["--method", "kd_psmr", "{new}/0.png"], "--method is kd_psmr; --workdir "),
        (["--out", "{tmp}", "{new}/0.png"], " is there already, and a taught model is never changed"),
        (["--out", "{tmp}/0.bmp", "{new}/0.png"], "0.bmp is a file; it may be a folder, new or not"),
        (["--jsn", "{new}/0.png"], "--jsn is not an argument of teach"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(run, first, pictures, tmp_path, capsys, arguments, said):
    new, old = pictures / TAUGHT[1], pictures / TAUGHT[0]
    Image.open(new / "0.png").save(tmp_path / "0.bmp")
    Image.open(old / "3.png").save(tmp_path / "old.bmp")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "many").mkdir()
    for i in range(51):
        (tmp_path / "many" / f"{i}.png").touch()
    before = files(run)
    named = [] if "--class" in arguments else ["--class", "wink"]
    arguments = [one.format(new=new, old=old, tmp=tmp_path) for one in arguments]
    assert main.main(["teach", "--workdir", str(first), "--cropped", *named, *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert files(run) == before


@pytest.mark.parametrize(
    "name", ["smirk", "खुशी", "ยิ้ม", "cafe\N{COMBINING ACUTE ACCENT}", "e\N{COMBINING ACUTE ACCENT}" * 60]
)
def test_a_name_of_any_script_is_one(name):
    assert teach.checked_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name", [" smirk", "\N{COMBINING ACUTE ACCENT}", "a/b", "a.", "x" * 61, "a\N{ZERO WIDTH SPACE}b"]
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError, match="it may be up to 60 letters, digits, spaces, hyphens and underscores"):
        teach.checked_name(name)


def test_a_picture_without_a_face_is_one_line(run, tmp_path, capsys):
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    assert main.main(["teach", "--workdir", str(run), "--class", "wink", str(tmp_path / "coffee.png")]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "coffee.png has no face; take one that has, or --cropped if it is a face already" in err
    assert not (run / "taught" / "wink").exists()


def test_a_method_without_exemplars_and_a_run_that_went_on_are_one_line(run, first, pictures, tmp_path, capsys):
    assert main.main(teaching(run, pictures, "smirk", "--method", "finetune")) == 2
    assert "--method is finetune, which stores no exemplars that could be replayed" in capsys.readouterr().err
    shutil.copytree(first, tmp_path / "smirk")
    described = json.loads((first / "taught.json").read_text())
    described |= {"workdir": str(run), "model_sha256": "another"}
    (tmp_path / "smirk" / "taught.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"was taught from a model that .* has no more, because its run went on"):
        trained.restore(tmp_path / "smirk")


def test_a_model_without_its_run_is_one_line(first, tmp_path):
    shutil.copytree(first, tmp_path / "a" / "b" / "smirk")
    with pytest.raises(UserError) as raised:
        trained.restore(tmp_path / "a" / "b" / "smirk")
    assert str(raised.value) == (
        f"--workdir {tmp_path}/a/b/smirk was taught from a run that lay at ../.. (now {tmp_path}/a), which is not "
        "there; move it back"
    )


def test_a_classifier_that_does_not_fit_the_run_is_one_line(run, first, tmp_path):
    made = taught.read(first)
    smaller = Linear(made.linear.kernel[:, 1:], made.linear.bias[1:])
    taught.write(dataclasses.replace(made, folder=tmp_path / "smaller", linear=smaller))
    with pytest.raises(UserError, match=r"smaller is damaged \(its kernel is .*, and its run and classes need"):
        trained.restore(tmp_path / "smaller")


@pytest.fixture(scope="module")
def drawn():
    """Ten exemplars of each of four known classes and three of two taught ones; 200 validation images."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(6, 5)).astype(np.float32)
    features = centres[:, None] + rng.normal(size=(6, 10, 5)).astype(np.float32)
    filled = np.arange(10) < np.array([[10]] * 4 + [[3]] * 2)
    labels = np.repeat(np.arange(4), 50)
    held = teach.Held(centres[labels] + rng.normal(size=(200, 5)).astype(np.float32), labels)
    stored = Exemplars(jax.device_put(features), jax.device_put(filled))
    return stored, held


def test_a_lesson_by_hand(drawn):
    stored, held = drawn
    known, penalty = np.ones(4, bool), 0.3
    lesson = teach.Lesson(stored, known, held, penalty, 0.15)
    features, filled = np.asarray(stored.features, np.float64), np.asarray(stored.filled)

    def by_hand(filled):
        mean = np.stack([features[c][filled[c]].mean(0) for c in range(6)])
        rest = np.concatenate([features[c][filled[c]] - mean[c] for c in range(6)])
        covariance = rest.T @ rest / len(rest)
        shrunk = (1 - penalty) * covariance + penalty * np.trace(covariance) / 5 * np.eye(5)
        kernel = np.linalg.solve(shrunk, mean.T)
        bias = -0.5 * np.sum(mean.T * kernel, 0)
        scores = held.features @ kernel + bias
        bias[4:] -= np.quantile(scores[:, 4:].max(1) - scores[:, :4].max(1), 0.85)
        return kernel, bias

    kernel, bias = by_hand(filled)
    linear = lesson.learned()
    np.testing.assert_allclose(linear.kernel, kernel, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(linear.bias, bias, rtol=1e-3, atol=1e-3)
    answers = (held.features @ np.asarray(linear.kernel) + np.asarray(linear.bias)).argmax(1)
    assert (answers >= 4).sum() == 0.15 * len(answers)
    right = 0
    for place in range(3):
        without = filled.copy()
        without[5, place] = False
        kernel, bias = by_hand(without)
        right += (features[5, place] @ kernel + bias).argmax() == 5
    assert lesson.left_out(5, 3) == {"right": right, "images": 3}
    assert lesson.left_out(5, 1) is None


def test_the_penalty_is_the_best_on_validation_images_of_known_classes(drawn):
    stored, held = drawn
    known = np.ones(4, bool)
    penalty = teach.chosen(stored, known, held)
    features = np.asarray(stored.features[:4]).reshape(-1, 5)
    right = {}
    for one in CLASSIFIERS["exemplar_discriminant"].penalties:
        peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=one, priors=np.full(4, 0.25))
        right[one] = peer.fit(features, np.repeat(np.arange(4), 10)).score(held.features, held.labels)
    assert right[penalty] >= max(right.values()) - 0.011  # two images: scikit-learn scales features to variance 1
    # Taught classes have no say.
    other = stored._replace(features=stored.features.at[4:].set(7.0))
    assert teach.chosen(other, known, held) == penalty


@pytest.mark.slow
def test_few_images_teach_as_much_as_the_few_shot_phase_learns(tmp_path):
    """The harmonic mean of accuracies on the new class and on those before, over classes and draws."""
    changes = {"few_shot.answers": ("class_mean",), "protocol.name": "held_out", "data.n_base": 6,
               "basic.body.max_epochs": 12, "memory.share": 0.5}  # fmt: skip
    fold = fold_of(tmp_path, 4, **changes)
    base, _ = base_task.run(fold)
    phase = few_shot.FewShot(fold, base)
    memory = np.asarray(base_memory(fold, base, phase.m).index)

    def features(rows):
        return np.asarray(Encoded.of(fold, base, rows, "head").activations)

    def held(rows):
        rows = rows[fold.base_mask()[fold.data.label[rows]]]
        return teach.Held(features(rows), fold.data.label[rows])

    validation, test = held(fold.split.validation), fold.split.test
    found = {"phase": [], "taught": []}
    for new in range(6, 10):
        for draw in range(3):
            rows = phase.shots(new, 5, draw)
            known = (fold.data.label[test] < 6) | (fold.data.label[test] == new)
            index = np.full((10, max(memory.shape[1], 5)), -1)
            index[:, : memory.shape[1]] = memory
            index[new, :5] = rows
            seen = features(np.maximum(index, 0).reshape(-1)).reshape(*index.shape, -1)
            stored = Exemplars(jax.device_put(seen), jax.device_put(index >= 0))
            penalty = teach.chosen(stored, fold.base_mask(), validation)
            linear = teach.Lesson(stored, fold.base_mask(), validation, penalty, 0.15).learned()
            scores = features(test[known]) @ np.asarray(linear.kernel) + np.asarray(linear.bias)
            answers = np.where((np.arange(10) < 6) | (np.arange(10) == new), scores, -np.inf).argmax(1)
            counts = np.zeros((10, 10), int)
            np.add.at(counts, (fold.data.label[test[known]], answers), 1)
            of_phase = phase.by_statistics["class_mean"].counts(new, rows)
            for name, one in (("phase", of_phase), ("taught", counts)):
                accuracies = phase.accuracies(one, new)
                a, b = accuracies["new_class_accuracy"], accuracies["base_accuracy"]
                found[name].append(2 * a * b / max(a + b, 1e-9))
    assert np.mean(found["taught"]) >= np.mean(found["phase"]) - 0.03
    assert np.mean(found["taught"]) > 0.6


KILLED = """
import os, signal, sys
from fer_jax.cli import main
from fer_jax.inference import taught
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "arrays":
    save = taught.np.savez
    taught.np.savez = lambda path, **arrays: (save(path, kernel=arrays["kernel"]), die())
else:
    taught.os.rename = die
main.main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["arrays", "rename"])
def test_a_kill_in_the_middle_loses_nothing(run, first, pictures, tmp_path, when):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    shutil.rmtree(copied / "taught" / TAUGHT[0] / "taught", ignore_errors=True)
    folder = copied / "taught" / TAUGHT[0]
    before = files(copied)
    command = [sys.executable, "-c", KILLED, when, *teaching(folder, pictures, "smirk")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert {key: files(copied)[key] for key in before} == before
    assert not (folder / "taught" / "smirk").exists()
    assert trained.restore(folder).taught.names == (TAUGHT[0],)
    assert main.main(teaching(folder, pictures, "smirk")) == 0
    assert [path.name for path in (folder / "taught").iterdir()] == ["smirk"]
    assert trained.restore(folder / "taught" / "smirk").taught.names == TAUGHT[:2]


@pytest.mark.slow
def test_a_taught_model_is_exported_and_explained(first, tmp_path):
    assert main.main(["export", "--workdir", str(first), "--format", "stablehlo", "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "model.json").read_text())["classes"][-1] == TAUGHT[0]
    card = " ".join((tmp_path / "out" / "README.md").read_text().split())
    assert "Classes were taught beside those of the run**: happily surprised (from 5 pictures)" in card
    assert "a linear head" in card
    assert "answered right when it is learned without them" in card
    assert main.main(["explain", "--workdir", str(first)]) == 0
    report = json.loads((first / "explain" / "explain.json").read_text())
    assert report["classes"][-1] == TAUGHT[0]
