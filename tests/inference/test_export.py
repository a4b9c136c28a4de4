"""Exports give the run's probabilities when read back outside of this package, and the card says what was measured."""

import dataclasses
import importlib.util
import json
import runpy
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax.cli import main
from fer_jax.config import names
from fer_jax.errors import ExportError
from fer_jax.inference import calibration, export, model_card, predict, trained
from fer_jax.phases.fold import build_network
from fer_jax.runs import results

# Reads faces.npy, writes found.npy; anything of this package would fail.
OUTSIDE = """
import sys
sys.modules["fer_jax"] = None
import numpy as np
faces = np.load("faces.npy")
{use}
np.save("found.npy", p)
"""


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy of the finished run: exports keep the calibration in the workdir."""
    workdir = tmp_path_factory.mktemp("export") / "run"
    shutil.copytree(tiny_run, workdir)
    return workdir


def command(run, kind, out, *more) -> int:
    return main.main(["export", "--workdir", str(run), "--format", kind, "--out", str(out), *more])


@pytest.fixture(scope="module")
def expected(run, tiny_data):
    """Faces and what `predict` answers to them."""
    model = trained.restore(run)
    faces = tiny_data.image[:5]
    return faces, calibration.probabilities(model, faces, calibration.of(model)["temperature"])


def test_safetensors_and_the_program_that_takes_them(run, expected, tmp_path, capsys):
    assert command(run, "safetensors", tmp_path) == 0
    assert "checked: read back, probabilities differ by" in capsys.readouterr().out
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"README.md", "model.json", "model.safetensors", "program.stablehlo", "model.py"}
    lines = (tmp_path / "model.py").read_text().splitlines()
    imports = [line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))]
    assert set(imports) <= {"json", "pathlib", "jax", "numpy", "safetensors"}
    spec = importlib.util.spec_from_file_location("exported_model", tmp_path / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings, params, program = module.load(tmp_path)
    faces, p = expected
    for n in (1, 5):
        np.testing.assert_allclose(program(params, np.float32(faces[:n]) / 255), p[:n], atol=1e-4)
    # The weights are the file's, none are in the program.
    nothing = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    even = jax.jit(program)(nothing, np.float32(faces) / 255)
    np.testing.assert_allclose(even, np.full(p.shape, 1 / p.shape[1]), atol=1e-6)
    assert set(jax.export.deserialize((tmp_path / "program.stablehlo").read_bytes()).platforms) == {
        "cpu",
        "cuda",
        "tpu",
    }
    assert settings["classes"][:2] == ["happy", "sad"]


@pytest.mark.slow
def test_stablehlo_takes_any_number_of_faces(run, expected, tmp_path):
    assert command(run, "stablehlo", tmp_path, "--order", "0") == 0
    model = jax.export.deserialize((tmp_path / "model.stablehlo").read_bytes())
    faces, p = expected
    for n in (1, 5):
        np.testing.assert_allclose(model.call(np.float32(faces[:n]) / 255), p[:n], atol=1e-4)
    assert set(model.platforms) == {"cpu", "cuda", "tpu"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stablehlo", "onnx", "safetensors"])
def test_the_cards_own_lines_run_outside_of_this_package(run, expected, tmp_path, kind):
    assert command(run, kind, tmp_path) == 0
    faces, p = expected
    np.save(tmp_path / "faces.npy", np.float32(faces) / 255)
    use = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", OUTSIDE.format(use=use)], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), p, atol=1e-4)


CONFIGS = {
    "resnet_v2": "quickstart",
    "efficientnet_lite0": "efficientnet",
    "mlp": "digits",
    "convnet": "fashion_mnist",
    "vit": "vit",
    "resnet_v1": "vit",
    "efficientnet_b0": "vit",
}
# Keys of `config.model` in the place of the config's: what is exported is not larger than it must be.
MODELS = {
    "vit": {"width": 128, "depth": 2},
    "resnet_v1": {"depths": (1, 1, 1, 1), "widths": (4, 4, 6, 6), "stem_width": 4},
    "efficientnet_b0": {},
}


def config_of(backbone: str):
    config = runpy.run_path(f"configs/{CONFIGS[backbone]}.py")["get_config"]()
    if config.model.name != backbone:
        shared = ("hidden", "dropout", "weights", "input_range", "input", "precision")
        config.model = {"name": backbone, **{key: config.model[key] for key in shared}}
    with config.model.unlocked():
        config.model.update(MODELS.get(backbone, {}))
    return configs.resolve(config)


def test_every_backbone_is_exported_here():
    assert CONFIGS.keys() == names.BACKBONES.keys()


@pytest.mark.parametrize(
    "kind", ["safetensors", *(pytest.param(k, marks=pytest.mark.slow) for k in ("onnx", "stablehlo"))]
)
@pytest.mark.parametrize(
    "backbone", [name if name in ("mlp", "convnet") else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS]
)
def test_every_backbone_with_an_incomplete_head(run, tmp_path, backbone, kind):
    config = config_of(backbone)
    assert config.model.name == backbone
    network, size = build_network(config, 9), config.data.image_size
    mask, params = np.arange(9) != 7, network.init(jax.random.key(0), size)
    params = jax.tree.map(lambda x: x + 0.01, params)  # biases and batch statistics that count
    other = dataclasses.replace(trained.restore(run), config=config, network=network, params=params, class_mask=mask)
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    p = calibration.probabilities(other, images, 1.5)
    assert export.write(other, {"temperature": 1.5}, kind, tmp_path).difference < 1e-4
    found = export.function(other, 1.5)(jnp.asarray(images, jnp.float32) / 255)
    np.testing.assert_allclose(found, p[:, mask], atol=1e-5)
    assert json.loads((tmp_path / "model.json").read_text())["classes"] == list(other.known_names)
    card = (tmp_path / "README.md").read_text()
    assert f"\n{backbone}, " in card
    assert ("emotions" in card) == (config.data.name == "facs_faces")
    assert "{{" not in card


def test_the_card_has_the_runs_figures(run):
    model = trained.restore(run)
    card = model_card.text(model, calibration.of(model), "onnx", 1e-7)
    found = results.read(run)
    own = next(r for r in found["continual"]["kd_psmr"]["runs"] if r["order"] == 0)
    assert f"| final accuracy, all classes | {100 * own['metrics']['final_accuracy']:.1f} |" in card
    assert found["data"]["sha256"] in card
    assert "drawn faces" in card
    assert "people are split three ways" in card
    assert "fitted on 18 validation images of 2 people who are in neither training nor test" in " ".join(card.split())
    assert "Expected calibration error" in card
    for heading in ("Use", "Model", "Data", "Protocol", "Figures", "Limits", "Intended use", "Ethics"):
        assert f"\n## {heading}\n" in card
    assert "{{" not in card
    base = model_card.text(trained.restore(run, "base"), {"temperature": 1.0}, "stablehlo", 0.0)
    assert f"| accuracy on test people | {100 * found['basic'][0]['test_accuracy']:.1f} |" in base
    assert "**Not calibrated**" in base


@pytest.mark.parametrize(
    ("protocol", "shared", "said", "fitted"),
    [
        ("published", "test", "`published`: training was stopped", "the very ones that the error is measured on"),
        ("stratified", "training", "Nothing was chosen by it", "18 images that it was trained on"),
    ],
)
def test_the_card_of_other_protocols(run, protocol, shared, said, fitted):
    model = trained.restore(run)
    config = ml_collections.ConfigDict(model.config.to_dict())
    config.protocol.name = protocol
    measured = calibration.of(model)
    measured = {**measured, "validation": {**measured["validation"], "shared_with": shared, "people": None}}
    card = model_card.text(dataclasses.replace(model, config=config), measured, "onnx", 0.0)
    card = " ".join(card.split())
    assert said in card
    assert fitted in card
    assert "people are split three ways" not in card
    assert ("The figures are too good" in card) == (protocol == "published")


def test_of_a_method_that_answers_otherwise_the_card_has_the_networks_figures(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    found = json.loads((copied / "results.json").read_text())
    own = found["continual"].pop("kd_psmr")
    other = json.loads(json.dumps(own))
    for one in other["runs"]:
        one["metrics"]["final_accuracy"] = 0.987
    found["continual"] |= {"icarl": other, "icarl (network)": own}
    (copied / "results.json").write_text(json.dumps(found))
    model = dataclasses.replace(trained.restore(run), workdir=copied, method="icarl")
    card = model_card.text(model, {"temperature": 1.0}, "onnx", 0.0)
    run_ = next(r for r in own["runs"] if r["order"] == model.order)
    assert f"| final accuracy, all classes | {100 * run_['metrics']['final_accuracy']:.1f} |" in card
    assert "98.7" not in card
    assert "itself answers by exemplar mean of features" in card
    assert predict.answers_line(model) == "answers are the network's; icarl itself answers by exemplar mean"
    # Of a method whose network is not among its classifiers nothing was measured that the card could say.
    del found["continual"]["icarl (network)"]
    (copied / "results.json").write_text(json.dumps(found))
    assert "no figures of the network alone" in model_card.text(model, {"temperature": 1.0}, "onnx", 0.0)


def test_the_card_says_where_weights_came_from(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    found["basic"][0]["weights_sha256"] = "0123abcd"
    (tmp_path / "run" / "results.json").write_text(json.dumps(found))
    model = dataclasses.replace(trained.restore(run), workdir=tmp_path / "run")
    config = ml_collections.ConfigDict(model.config.to_dict())
    config.model.update({"weights": "/where/resnet50.pth", "source": "torchvision"})
    card = model_card.text(dataclasses.replace(model, config=config), {"temperature": 1.0}, "onnx", 0.0)
    assert "published (resnet50.pth, SHA-256 0123abcd, from torchvision)" in card


def test_the_card_of_a_run_that_goes_on_has_no_figures(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    model = dataclasses.replace(trained.restore(run), workdir=tmp_path / "run")
    assert "there are no figures yet" in model_card.text(model, {"temperature": 1.0}, "onnx", 0.0)


@pytest.mark.parametrize(
    ("kind", "out", "more", "said"),
    [
        ("tflite", "x", [], "--format is 'tflite'; it may be one of stablehlo, onnx, safetensors"),
        ("onnx", __file__, [], "is a file; it may be a folder"),
        ("onnx", f"{__file__}/x", [], f"/x lies under {__file__}, which is a file; it may be a folder, new or not"),
        ("onnx", "x", ["--fold", "7"], "--fold is 7; it may be one of 0"),
        ("onnx", "x", ["--fromat", "7"], "--fromat is not an argument of export"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, capsys, kind, out, more, said):
    code = command(run, kind, tmp_path / out, *more)
    told = capsys.readouterr().err
    assert (code, len(told.splitlines())) == (2, 1)
    assert said in told
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command(run, "onnx", tmp_path / "x") == 2
    said = "fer-jax: --format onnx needs jax2onnx; install it with pip install -e '.[export]'\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "x").exists()


def test_a_model_that_is_read_back_otherwise_is_no_export(run, tmp_path, monkeypatch, capsys):
    wrong = lambda out: lambda images: np.zeros((len(images), 9))  # noqa: E731
    monkeypatch.setitem(export.FORMATS, "stablehlo", (lambda *given: (), wrong))
    model = trained.restore(run)
    with pytest.raises(ExportError, match="gives other probabilities than the run's"):
        export.write(model, {"temperature": 1.0}, "stablehlo", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    assert command(run, "stablehlo", tmp_path / "x") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("fer-jax: the model for ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "precision"), [("onnx", "highest"), ("safetensors", None)])
def test_onnx_is_compared_in_float32_where_products_round_first(run, tmp_path, monkeypatch, kind, precision):
    """An accelerator's products may; onnxruntime's do not."""
    found = []
    monkeypatch.setattr(export, "_difference", lambda *_: found.append(jax.config.jax_default_matmul_precision) or 0.0)
    monkeypatch.setitem(export.FORMATS, "onnx", (lambda *_: (), lambda _: None))
    monkeypatch.setitem(export.NEEDED, "onnx", ())
    assert command(run, kind, tmp_path / "out") == 0
    assert found == [precision]


def test_a_folder_of_somebody_elses_is_left_alone(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "README.md").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert command(run, "safetensors", ".") == 2
    said = "--out . has README.md, which is not of an export; it may be a folder, new, empty or of an export"
    assert capsys.readouterr().err == f"fer-jax: {said}\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "mine")]


def test_an_export_is_replaced_whole_but_not_with_others_files_in_it(run, tmp_path, capsys):
    model = trained.restore(run)
    export.write(model, {"temperature": 1.0}, "safetensors", tmp_path)
    (tmp_path / "model.onnx").write_text("of an earlier export")
    written = export.write(model, {"temperature": 2.0}, "safetensors", tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["temperature"] == 2
    assert {path.name for path in tmp_path.iterdir()} == set(written.files)
    (tmp_path / "notes.txt").write_text("mine")
    assert command(run, "safetensors", tmp_path) == 2
    assert "has notes.txt, which is not of an export" in capsys.readouterr().err
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").mkdir()
    assert command(run, "stablehlo", tmp_path) == 2
    assert "has README.md, which is not of an export" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == set(written.files)


def test_a_kill_in_an_export_leaves_a_model(run, tmp_path, monkeypatch):
    model = trained.restore(run)
    made = lambda given, temperature, out: (out / "model.onnx").write_bytes(b"") or ("model.onnx",)  # noqa: E731
    monkeypatch.setitem(export.FORMATS, "onnx", (made, lambda out: None))
    monkeypatch.setattr(export, "_difference", lambda *given: 0.0)
    (tmp_path / "model.stablehlo").write_bytes(b"before")
    (tmp_path / "model.json").write_text('{"model_sha256": ""}')
    monkeypatch.setattr(export.os, "replace", lambda *given: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        export.write(model, {"temperature": 1.0}, "onnx", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.stablehlo", "model.json"}
