"""The builder: table, the same bytes everywhere, metadata, versions, no TensorFlow."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import ml_collections
import numpy as np
import pytest
from numpy._core import _multiarray_umath as umath

from fer_jax.data import facs_faces, load
from fer_jax.data.facs_faces import bayes, builder, categories
from fer_jax.data.facs_faces.builder import FacsFaces, FacsFacesConfig, draw
from fer_jax.data.facs_faces.sampling import sample_picture, sample_twin
from fer_jax.errors import UserError
from tests.support import faces
from tests.support.shared import QUICK_TO_COMPILE

ROOT = pathlib.Path(__file__).parents[3]
GOLDEN = "23056aafa606d50155444ec5cdea6fbc0232ceb983654d18a71aacb4a6b6bbe8"
# What may change how floating-point numbers are computed: XLA's flags, NumPy's and the C library's instruction sets.
SETTINGS = {
    "default": {},
    "SSE4_2": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
    "AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    "not optimised": {"XLA_FLAGS": QUICK_TO_COMPILE},
    "NumPy without extensions": {"NPY_DISABLE_CPU_FEATURES": " ".join(
        one for one in umath.__cpu_dispatch__ if umath.__cpu_features__[one])},
    "C library without extensions": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA"},
}  # fmt: skip


def config(directory: pathlib.Path, **changes) -> ml_collections.ConfigDict:
    plain = {"name": "facs_faces", "dir": str(directory), "n_subjects": 4, "image_size": 32, "images_per_cell": 2,
             "seed": 3, "version": "2.0.0", "exclude": ("neutral",), "n_base": 6}  # fmt: skip
    return ml_collections.ConfigDict({**plain, **changes})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    return directory, load.load(config(directory))


def test_the_table_has_the_studys_numbers():
    share = categories.presence_probability()
    assert share.shape == (22, 17)
    assert [len(c.core) for c in categories.CATEGORIES] == [
        2, 2, 4, 3, 4, 3, 4, 3, 4, 2, 4, 2, 3, 5, 5, 3, 3, 4, 2, 2, 4, 0,
    ]  # fmt: skip
    # A checksum: all shares of the published table, added up from its text.
    assert sum(sum(c.sometimes.values()) for c in categories.CATEGORIES) == pytest.approx(30.23)
    assert all(0 < s < 1 for c in categories.CATEGORIES for s in c.sometimes.values())
    assert not any(set(c.core) & set(c.sometimes) for c in categories.CATEGORIES)


def test_units_come_with_their_shares():
    n = 4000
    subjects = np.arange(n)
    for name in ("sad", "awed", "happy"):
        category = categories.NAMES.index(name)
        units = jax.vmap(lambda s, c=category: sample_picture(0, s, c, 0).action_units)(subjects)
        found = np.asarray(units > 0).mean(0)
        np.testing.assert_allclose(found, categories.presence_probability()[category], atol=0.03)
        present = np.asarray(units)[np.asarray(units) > 0]
        assert present.min() >= 0.5
        assert present.max() <= 1.0


def test_a_person_shows_the_same_units_each_time_but_not_as_strongly():
    category = categories.NAMES.index("sadly disgusted")
    first, second = (np.asarray(sample_picture(0, 5, category, k).action_units) for k in (0, 1))
    np.testing.assert_array_equal(first > 0, second > 0)
    assert not np.allclose(first, second)


def test_what_is_built_is_what_is_drawn(built):
    _, data = built
    assert data.image.shape == (4 * 21 * 2, 32, 32, 3)
    assert data.class_names == categories.NAMES[:-1]
    np.testing.assert_array_equal(np.bincount(data.subject), [42] * 4)
    np.testing.assert_array_equal(np.bincount(data.label), [8] * 21)
    cells = np.asarray([[2, 10, 1]])
    picture, _ = draw(3, cells, 32)
    row = np.flatnonzero((data.subject == 2) & (data.label == 10))[1]
    np.testing.assert_array_equal(data.image[row], picture[0])


def test_the_same_fields_make_the_same_bytes_and_other_seeds_others(built, tmp_path):
    _, data = built
    again = load.load(config(tmp_path))
    assert again.checksum() == data.checksum()
    assert load.load(config(tmp_path, seed=4)).checksum() != data.checksum()
    # More subjects change none of those that were there.
    more = load.load(config(tmp_path, n_subjects=5))
    np.testing.assert_array_equal(more.image[more.subject < 4], data.image)


@pytest.mark.parametrize("kind", ["swapped", "mixed"])
def test_a_twin_shows_the_same_units_in_another_person(tmp_path, kind):
    cell = (3, 2, 10, 1)
    own, other = sample_picture(*cell), sample_twin(*cell, kind=kind)
    np.testing.assert_array_equal(own.action_units, other.action_units)
    assert not np.isclose(own.nuisance, other.nuisance).any()
    swapped = sample_twin(*cell, kind="swapped").identity
    low, high = np.minimum(own.identity, swapped), np.maximum(own.identity, swapped)
    assert ((low - 1e-6 <= other.identity) & (other.identity <= high + 1e-6)).all()
    assert not np.isclose(own.identity, other.identity).any()
    few = {"n_subjects": 3, "image_size": 16, "images_per_cell": 1}
    plain, data = (load.load(config(tmp_path, **few, **twin)) for twin in ({}, {"twin": kind}))
    np.testing.assert_array_equal(plain.image, data.image)
    assert (data.targets[f"twin_{kind}"].dtype, data.targets[f"twin_{kind}"].shape) == (np.uint8, data.image.shape)
    row = np.flatnonzero((data.subject == 2) & (data.label == 10))[0]
    np.testing.assert_array_equal(
        data.targets[f"twin_{kind}"][row], draw(3, np.asarray([[2, 10, 0]]), 16, twin=kind)[0][0]
    )


def test_the_bytes_are_golden():
    assert faces.checksum() == GOLDEN


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_they_are_under_every_setting(settings):
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT), **settings}
    code = [sys.executable, "-m", "tests.support.faces"]
    assert subprocess.run(code, env=environment, check=True, capture_output=True, text=True).stdout.strip() == GOLDEN


def test_any_device_renders_them_within_one_grey_level():
    """What XLA makes of the same function, here and on an accelerator."""
    pictures, units = draw(0, faces.CELLS)
    render = jax.jit(builder._pictures, static_argnums=(2, 3))
    by_xla, units_by_xla = render(0, faces.CELLS.astype(np.int32), 64, (0.5, 1.0))
    difference = np.abs(np.asarray(by_xla, int) - pictures)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4
    np.testing.assert_allclose(units_by_xla, units, rtol=1e-6)


def test_no_number_is_too_small_for_all_its_digits():
    """Such numbers are dropped by processors that a library has told so."""
    program = builder._program(16, 64, (0.5, 1.0))
    with np.errstate(under="raise"):
        for at in range(0, 64, 16):
            program(np.int32(0), faces.CELLS[at : at + 16].astype(np.int32))


def test_an_older_version_is_read_where_it_was_prepared(tmp_path):
    there = {"n_subjects": 6, "images_per_cell": 1, "seed": 0, "version": "1.0.0"}
    with pytest.raises(UserError, match=r"config\.data\.version is 1\.0\.0, .* it may be 2\.0\.0"):
        load.load(config(tmp_path, **there))
    assert not list(tmp_path.iterdir())
    shutil.copytree(ROOT / "tests" / "fixtures" / "data_0450aeb", tmp_path, dirs_exist_ok=True)
    older = load.load(config(tmp_path, **there))
    newer = load.load(config(tmp_path, **there | {"version": "2.0.0"}))
    assert older.checksum() != newer.checksum()
    assert np.abs(older.image.astype(int) - newer.image).max() == 1
    assert older.metadata["notes"]
    assert "notes" not in newer.metadata


def test_every_version_is_one_of_the_config():
    versions = (FacsFaces.VERSION, *FacsFaces.SUPPORTED_VERSIONS)
    assert tuple(str(version) for version in versions) == facs_faces.VERSIONS
    assert FacsFaces.RELEASE_NOTES.keys() == set(facs_faces.VERSIONS)


@pytest.mark.slow
def test_a_run_begun_under_one_setting_goes_on_under_two_others(tmp_path):
    """Each renders the data set for itself; a run refuses to go on with other data. Training is compiled quickly."""
    log = tmp_path / "log.txt"

    def train(setting: str) -> subprocess.Popen:
        flags = f"{QUICK_TO_COMPILE} {SETTINGS[setting].get('XLA_FLAGS', '')}"
        own = {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(tmp_path / setting)}
        command = [sys.executable, "-m", "fer_jax.cli.main", "train", "--save-every", "0",
                   "--config", str(ROOT / "configs" / "smoke.py"), "--workdir", str(tmp_path / "run"),
                   "--config.methods=('kd_psmr',)", "--config.protocol.n_orders=1",
                   "--config.few_shot.shots=()"]  # fmt: skip
        return subprocess.Popen(command, env={**os.environ, **own}, stderr=log.open("w"))

    for setting, reached in (("default", "basic fold 0, head"), ("SSE4_2", "kd_psmr")):
        with train(setting) as process:
            while reached not in log.read_text() and process.poll() is None:
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 143, log.read_text()
    assert "going on in" in log.read_text()
    with train("AVX2") as process:
        assert process.wait() == 0, log.read_text()
    assert "going on in" in log.read_text()
    assert all((tmp_path / setting / "facs_faces").is_dir() for setting in ("default", "SSE4_2", "AVX2"))


def test_the_metadata_has_the_bayes_accuracies(built):
    _, data = built
    found = data.metadata["bayes"]
    assert found["basic"] == pytest.approx(bayes.bayes_accuracy(np.arange(6)))
    assert found["all"] == pytest.approx(bayes.bayes_accuracy(np.arange(21)))
    assert np.shape(found["by_order_and_step"]) == (10, 16)
    assert json.loads(json.dumps(data.metadata)) == data.metadata


def test_the_action_units_arrive(built):
    _, data = built
    numbers, units, table = (
        data.metadata["action_units"],
        data.targets["action_units"],
        data.class_targets["action_units"],
    )
    assert numbers == [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26]
    assert (units.shape, units.dtype) == ((4 * 21 * 2, 17), np.float32)
    assert (table.shape, table.dtype) == ((21, 17), np.float32)
    # Everybody who is happy pulls the lip corners and parts the lips, and half of all people raise their cheeks.
    happy = data.class_names.index("happy")
    np.testing.assert_allclose(table[happy], [{12: 1, 25: 1, 6: 0.51}.get(n, 0) for n in numbers])
    shown = units[data.label == happy]
    assert (shown[:, [numbers.index(12), numbers.index(25)]] >= 0.5).all()
    assert not shown[:, [numbers.index(n) for n in numbers if n not in (6, 12, 25)]].any()
    # They are those that the pictures were drawn with.
    drawn = jax.vmap(lambda s, c, k: sample_picture(3, s, c, k).action_units)
    np.testing.assert_allclose(drawn(data.subject, data.label, data.targets["number"]), units, atol=1e-6)


def test_other_classes_have_no_bayes_accuracy(built):
    directory, _ = built
    assert "bayes" not in load.load(config(directory, exclude=("awed",))).metadata


def test_names_keep_settings_apart():
    assert FacsFacesConfig().name == "quick"
    assert FacsFacesConfig(image_size=224).name == "full"
    changed = ({"seed": 1}, {"n_subjects": 9}, {"images_per_cell": 2}, {"intensity": (0.4, 1.0)}, {}, {"twin": "mixed"},
               {"twin": "swapped"})  # fmt: skip
    names = {FacsFacesConfig(**one).name for one in changed}
    assert len(names) == 7
    with pytest.raises(ValueError, match="image_size is 0; it may be a whole number from 16"):
        FacsFacesConfig(image_size=0)
    with pytest.raises(ValueError, match="intensity"):
        FacsFacesConfig(intensity=(0.0, 1.0))


def test_too_few_classes_are_told(built):
    directory, _ = built
    with pytest.raises(UserError, match=r"n_base is 21; it may be 2 to 20"):
        load.load(config(directory, n_base=21))


def test_tensorflow_is_never_imported(built):
    directory, _ = built
    code = (
        "import sys, ml_collections; from fer_jax.data import load; import fer_jax.experiment\n"
        f"load.load(ml_collections.ConfigDict({config(directory).to_dict()!r}))\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
