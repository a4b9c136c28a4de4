"""A name of a backbone or data set is short for a dotted path, and a user's own path is looked up alike."""

import subprocess
import sys

import pytest

from fer_jax.config import names
from fer_jax.errors import UserError
from fer_jax.models import resnet_v2


@pytest.mark.parametrize("name", names.BACKBONES)
def test_every_backbone_is_there(name):
    assert all(key.startswith("model.") for key in names.backbone(name).keys)


@pytest.mark.parametrize("name", [*names.DATA_SETS, "tfds:mnist"])
def test_every_data_set_is_there(name):
    if name == names.TFDS:
        with pytest.raises(UserError, match=r"'tfds:' does not exist; it may be one of .*, tfds:NAME, or the dotted"):
            names.data_set(name)
    else:
        assert all(key.startswith("data.") for key in names.data_set(name).keys)


def test_a_dotted_path_is_looked_up():
    assert names.backbone("fer_jax.models.resnet_v2.FAMILY") is names.backbone("resnet_v2") is resnet_v2.FAMILY
    with pytest.raises(
        UserError, match=r"'fer_jax.models.resnet_v2.features' is a function; it may be a fer_jax\.models"
    ):
        names.backbone("fer_jax.models.resnet_v2.features")
    with pytest.raises(
        UserError, match=r"'fer_jax.models.resnet_v2.FAMILY' is a Family; it may be a fer_jax\.data\.data"
    ):
        names.data_set("fer_jax.models.resnet_v2.FAMILY")


def test_the_config_imports_no_backbone_and_no_data_set_before_it_needs_one():
    above = "('fer_jax.models', 'fer_jax.data')"
    code = f"import sys, fer_jax.config; print([m for m in sys.modules if m.startswith({above})])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
