"""The backbones by their names in a config: how each is built, and where its weights come from."""

import functools
import hashlib
import pathlib
from typing import Any, NamedTuple

import ml_collections

from fer_jax.errors import UserError
from fer_jax.models import efficientnet, efficientnet_weights, keras_weights
from fer_jax.models.backbone import Backbone
from fer_jax.models.efficientnet import EfficientNetLite
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.models.small import ConvNet, Mlp

Params = Any


class Weights(NamedTuple):
    """Published parameters of a backbone, and the checksum of the file that they are from."""

    params: Params
    sha256: str


def _resnet_v2(model: ml_collections.ConfigDict) -> Backbone:
    return ResNetV2(tuple(model.depths), tuple(model.widths), model.stem_width, model.stem_kernel, model.stem_pool)


def _efficientnet_lite0(model: ml_collections.ConfigDict) -> Backbone:
    return EfficientNetLite(tuple(model.depths), tuple(model.widths), model.stem_width)


def _small(kind: type[Backbone], model: ml_collections.ConfigDict) -> Backbone:
    return kind(tuple(model.widths))


BUILDERS = {
    "resnet_v2": _resnet_v2,
    "efficientnet_lite0": _efficientnet_lite0,
    "mlp": functools.partial(_small, Mlp),
    "convnet": functools.partial(_small, ConvNet),
}


def build(model: ml_collections.ConfigDict) -> Backbone:
    """The backbone that `config.model` describes."""
    return BUILDERS[model.name](model)


def complaint(model: ml_collections.ConfigDict) -> str | None:
    """What the keys of `config.model` say together that cannot be, as `key is …; it may be …`, or nothing."""
    if model.name == "efficientnet_lite0":
        for key, value in (("stem_kernel", 3), ("stem_pool", False)):
            if model[key] != value:
                return f"model.{key} is {model[key]!r}; with efficientnet_lite0 it may be {value!r}"
        usual = EfficientNetLite()
        for key, default in (("depths", usual.depths), ("widths", usual.widths)):
            if len(model[key]) != efficientnet.N_STAGES:
                return f"model.{key} is {tuple(model[key])}; efficientnet_lite0 has 7 stages and may have {default}"
        if model.weights not in ("none", "pretrained"):
            return f"model.weights is {model.weights!r}; with efficientnet_lite0 it may be 'none' or 'pretrained'"
    if model.name == "resnet_v2" and model.weights == "pretrained":
        return "model.weights is 'pretrained'; with resnet_v2 it may be 'none' or the path of a Keras file"
    if model.name in ("mlp", "convnet"):
        if model.weights != "none":
            return f"model.weights is {model.weights!r}; with {model.name} it may be 'none'"
        return None
    if len(model.widths) < 4:
        return f"model.widths is {tuple(model.widths)}; with {model.name} it has at least 4 stages"
    if len(model.depths) != len(model.widths):
        return f"model.widths has {len(model.widths)} stages; it may have as many as model.depths, {len(model.depths)}"
    return None


def load_weights(model: ml_collections.ConfigDict) -> Weights | None:
    """The weights that `config.model` names; None for "none".

    Raises:
      UserError: they cannot be read, or are not those of the backbone that `config.model` describes.
    """
    if model.weights == "none":
        return None
    backbone = build(model)
    lite = isinstance(backbone, EfficientNetLite)
    path = efficientnet_weights.find() if lite else pathlib.Path(model.weights).expanduser()
    try:
        params = efficientnet_weights.load(path, backbone)[0] if lite else keras_weights.load(path, backbone)
    except UserError as error:  # "weights FILE …": here it is known which key named them
        raise UserError(f"config.model.{error}") from None
    with open(path, "rb") as file:
        return Weights(params, hashlib.file_digest(file, "sha256").hexdigest())
