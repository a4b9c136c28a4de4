"""Keras' three formats give the reference features, and every way in which a file may not fit is one line."""

import io
import json
import pathlib
import shutil
import sys
import zipfile

import h5py
import numpy as np
import pytest

from fer_jax.errors import UserError
from fer_jax.models import keras_file, keras_weights, resnet_v2
from fer_jax.models.resnet_v2 import ResNetV2
from tests.support import keras_files

REFERENCE = pathlib.Path(__file__).parents[1] / "reference"
FILES = ("small.h5", "small.keras", "small_weights_legacy.h5")
LEGACY = "small_weights_legacy.h5"
KERNEL = "conv3_block2_2_conv/conv3_block2_2_conv/kernel:0"


def distance(found, expected) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


def told(path, model=None) -> str:
    with pytest.raises(UserError) as error:
        keras_weights.load(path, model)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def changed(tmp_path):
    """A copy of the legacy file, changed by a function of the open file."""

    def make(change):
        path = tmp_path / LEGACY
        shutil.copy(REFERENCE / LEGACY, path)
        path.chmod(0o644)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


@pytest.mark.parametrize("name", FILES)
def test_each_format_gives_the_reference_features(reference, name):
    r = reference("d_small_io")
    params = keras_weights.load(REFERENCE / name)
    assert distance(resnet_v2.features(params, r["x"]), r["feature"]) < 1e-4


@pytest.mark.parametrize("named", [False, True])
def test_a_weights_file_alone_gives_the_reference_features(reference, recipe, tmp_path, named):
    """Keras 2.15 says no layer's name in it; a late Keras 3 says each, and then the order does not matter."""
    r, path = reference("d_small_io"), tmp_path / "small.weights.h5"
    with zipfile.ZipFile(REFERENCE / "small.keras") as archive:
        path.write_bytes(archive.read("model.weights.h5"))
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    if named:
        names = keras_file._counted([(layer["class_name"], layer["config"]["name"]) for layer in layers])
        with h5py.File(path, "r+") as file:
            for (kind, number), name in names.items():
                prefix = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}[kind]
                file[f"layers/{prefix}{f'_{number}' if number else ''}/vars"].attrs["name"] = name
            file.move("layers/conv2d_3", "layers/other")
            file.move("layers/conv2d_9", "layers/conv2d_3")
            file.move("layers/other", "layers/conv2d_9")
    params = keras_weights.load(path)
    assert distance(resnet_v2.features(params, r["x"]), r["feature"]) < 1e-4


@pytest.mark.slow
def test_a_full_size_legacy_file_gives_the_reference_features(reference, recipe, tmp_path):
    r, (x, _) = reference("d_resnet_numerics"), recipe.inputs()
    path = tmp_path / "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras_files.write_legacy(path, [row for row in recipe.make_weights("resnet50v2") if not row[0].startswith("dense")])
    params = keras_weights.load(path)
    assert resnet_v2.architecture(params) == ResNetV2()
    assert distance(resnet_v2.features(params, x), r["96_maxpool_feature"]) < 1e-4


def test_a_missing_tensor_is_named(changed):
    def unlisted(file):
        del file[KERNEL]
        file["conv3_block2_2_conv"].attrs["weight_names"] = np.asarray([], "S1")

    assert "conv3_block2_2_conv/kernel missing" in told(changed(unlisted))

    def listed(file):
        del file[KERNEL]

    assert "lists conv3_block2_2_conv/kernel and does not have it" in told(changed(listed))

    def layer(file):
        del file["conv4_block6_3_conv"]

    assert "lists layer conv4_block6_3_conv and does not have it" in told(changed(layer))


def test_an_extra_tensor_is_named(changed):
    def head(file):
        file["predictions/predictions/kernel:0"] = np.zeros((128, 10), np.float32)
        file["predictions/predictions/bias:0"] = np.zeros(10, np.float32)

    assert "predictions/bias, predictions/kernel not of this network" in told(changed(head))

    def bias(file):
        file["conv2_block1_1_conv/conv2_block1_1_conv/bias:0"] = np.zeros(4, np.float32)

    assert "conv2_block1_1_conv/bias not of this network" in told(changed(bias))


def test_a_misshapen_tensor_is_named(changed):
    def change(file):
        del file[KERNEL]
        file[KERNEL] = np.zeros((3, 3, 8, 9), np.float32)

    assert "conv3_block2_2_conv/kernel is 3×3×8×9, not 3×3×8×8" in told(changed(change))


def test_numbers_that_are_none_are_named(changed):
    def nan(file):
        file[KERNEL][0, 0, 0, 0] = np.nan

    assert "conv3_block2_2_conv/kernel has numbers that are not finite" in told(changed(nan))

    def variance(file):
        file["conv3_block2_2_bn/conv3_block2_2_bn/moving_variance:0"][3] = -0.25

    assert told(changed(variance)).endswith("conv3_block2_2_bn/moving_variance has -0.25; it may have variances, which "
                                            "are from 0")  # fmt: skip

    def text(file):
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 3, 8, 8), h5py.string_dtype())

    assert "conv3_block2_2_conv/kernel is stored as object" in told(changed(text))

    for place in (KERNEL, "conv1_conv/conv1_conv/kernel:0"):

        def empty(file, place=place):
            del file[place]
            file[place] = h5py.Empty("f")

        assert f"{place} is empty; it may be numbers" in told(changed(empty))


def test_a_file_of_another_network_is_told(recipe):
    path = REFERENCE / LEGACY
    assert "conv2_block1_0_conv/bias is 16, not 256" in told(path, ResNetV2())
    shallow = ResNetV2((3, 4, 6, 2), (4, 8, 16, 32))
    assert "conv5_block3_1_bn/beta" in told(path, shallow)
    deep = ResNetV2((3, 4, 7, 3), (4, 8, 16, 32))
    assert "conv4_block7_1_bn/beta" in told(path, deep)


def test_nothing_outside_the_file_is_read(changed, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.zeros((3, 3, 8, 8), np.float32)
    for link in (h5py.ExternalLink(str(secret), "numbers"), h5py.SoftLink("/conv3_block3_2_conv")):

        def change(file, link=link):
            del file[KERNEL]
            file[KERNEL] = link

        assert "kernel:0 is a link" in told(changed(change))

    def stored_elsewhere(file):
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 3, 8, 8), np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    assert "it may be numbers inside the file" in told(changed(stored_elsewhere))


def test_a_keras_file_without_h5py_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "weights.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError) as error:
        keras_weights.load(tmp_path / "weights.h5")
    said = f"weights {tmp_path}/weights.h5: a Keras file is read with h5py; install it with pip install -e '.[keras]'"
    assert str(error.value) == said


def test_what_is_no_keras_file_is_one_line(tmp_path):
    assert "no such file" in told(tmp_path / "none.h5")
    assert "is a folder" in told(tmp_path)
    path = tmp_path / "file.h5"
    for content in (b"", b"no HDF5 at all\0", b"\x89HDF\r\n\x1a\n", (REFERENCE / LEGACY).read_bytes()[:400_000]):
        path.write_bytes(content)
        assert "is damaged or no Keras file" in told(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 94668760\n")
    assert told(path).endswith("is a Git LFS pointer, not the file that it stands for; `git lfs pull` fetches that")
    with h5py.File(path, "w") as file:
        file["something"] = np.zeros(3)
    assert "has no layers of a ResNetV2" in told(path)


def test_what_is_no_keras_archive_is_one_line(tmp_path):
    with zipfile.ZipFile(REFERENCE / "small.keras") as archive:
        config, weights = (archive.read(name) for name in ("config.json", "model.weights.h5"))
    path = tmp_path / "file.keras"

    def write(**members):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "."), content)

    write(config__json=" " * (2**23 + 1), model__weights__h5=weights)
    assert "has a config.json of 8,388,609 bytes; it may be 8,388,608" in told(path)
    write(readme="nothing")
    assert "has no config.json" in told(path)
    write(config__json=config)
    assert "has no model.weights.h5" in told(path)
    write(config__json="[]", model__weights__h5=weights)
    assert "config.json lists no layers with names" in told(path)
    write(config__json="{", model__weights__h5=weights)
    assert "is damaged or no Keras file" in told(path)
    write(config__json=config, model__weights__h5=weights[:300_000])
    assert "is damaged or no Keras file" in told(path)
    path.write_bytes((REFERENCE / "small.keras").read_bytes()[:500_000])
    assert "is damaged or no Keras file" in told(path)


def test_an_archive_names_what_it_lacks_and_what_it_has_too_much(tmp_path):
    with zipfile.ZipFile(REFERENCE / "small.keras") as archive:
        config, weights = (archive.read(name) for name in ("config.json", "model.weights.h5"))
    path = tmp_path / "file.keras"

    def write(change):
        buffer = io.BytesIO(weights)
        with h5py.File(buffer, "r+") as file:
            change(file)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", buffer.getvalue())

    def lacking(file):
        del file["layers/conv2d_1/vars/0"]

    write(lacking)
    assert "lists layer conv2_block1_1_conv in its config.json and has no weights of it" in told(path)

    def bias_lost(file):
        del file["layers/conv2d/vars/1"]

    write(bias_lost)
    assert "conv1_conv/bias missing" in told(path)

    def dense(file):
        file["layers/dense/vars/0"] = np.zeros((128, 3), np.float32)

    write(dense)
    assert "layers/dense/kernel not of this network" in told(path)

    def training_state(file):
        file["optimizer/vars/0"] = np.zeros(3, np.float32)

    write(training_state)
    keras_weights.load(path)
