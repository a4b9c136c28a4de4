"""What the built-in data sets declare: keys, complaints, and that a config is checked without loading one."""

import subprocess
import sys

import ml_collections
import pytest

from fer_jax.config import names
from fer_jax.data.data_set import DataSet
from fer_jax.errors import UserError


def test_keys_are_of_the_data():
    with pytest.raises(ValueError, match=r"keys has \['n_subjects'\]; the keys of a data set begin with 'data\.'"):
        DataSet({"n_subjects": None}, lambda config: None)


def test_each_built_in_one_declares_its_own_keys():
    files = {"data.manual_dir", "data.on_bad_image", "data.base_classes"}
    found = {name: set(names.data_set("tfds:mnist" if name == names.TFDS else name).keys) for name in names.DATA_SETS}
    assert found == {
        "facs_faces": {"data.n_subjects", "data.images_per_cell", "data.seed", "data.twin", "data.version"},
        "cfee": files,
        "rafdb": {*files, "data.part"},
        "image_folder": {*files, "data.labels_csv", "data.subject_pattern"},
        "digits": set(),
        "idx": {"data.manual_dir", "data.class_names"},
        "fer2013": {*files, "data.table", "data.labels"},
        "affectnet": files,
        "ckplus": {*files, "data.frames", "data.neutral"},
        "kdef": {*files, "data.views"},
        "jaffe": files,
        "parquet": {*files, "data.image_column", "data.label_column", "data.subject_column"},
        "hub_folder": {*files, "data.label_column"},
        "several": {"data.sets", "data.test_on", "data.class_map", "data.base_classes"},
        "label_table": {"data.labels_csv", "data.base_classes"},
        "tfds:": set(),
    }


def test_rendered_people_are_as_many_as_folds():
    config = ml_collections.ConfigDict({"data": {"n_subjects": 6}, "protocol": {"n_folds": 7}})
    complaint = names.data_set("facs_faces").complaint
    assert complaint(config) == "protocol.n_folds is 7; it may be at most data.n_subjects, 6"
    config.protocol.n_folds = 6
    assert complaint(config) is None
    assert names.data_set("cfee").complaint(config) is None


def test_to_declare_them_imports_no_tfds_and_starts_no_device():
    code = (
        "import sys\n"
        "from jax._src import xla_bridge\n"
        "from fer_jax.config import names\n"
        "[names.data_set('tfds:mnist' if name == names.TFDS else name) for name in names.DATA_SETS]\n"
        "assert not {'tensorflow_datasets', 'sklearn', 'grain'} & set(sys.modules)\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["cfe", "tfds", "fer_jax.data.load.load"])
def test_a_name_of_none_is_told(name):
    with pytest.raises(UserError, match=r"it may be (one of facs_faces, cfee|a fer_jax\.data\.data_set\.DataSet)"):
        names.data_set(name)
