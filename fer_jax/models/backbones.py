"""Builds the backbone that a config names, and reads its pretrained weights."""

import ml_collections

from fer_jax.config import names
from fer_jax.errors import UserError
from fer_jax.models.backbone import Backbone, Weights


def build(model: ml_collections.ConfigDict) -> Backbone:
    """Returns the backbone that `config.model` describes."""
    return names.backbone(model.name).build(model)


def load_weights(model: ml_collections.ConfigDict) -> Weights | None:
    """Returns the weights that `config.model` names; None for "none".

    Raises:
      UserError: they cannot be read, or are not those of the backbone that `config.model` describes.
    """
    if model.weights == "none":
        return None
    try:
        return names.backbone(model.name).load_weights(model, build(model))
    except UserError as error:  # "weights FILE …": here it is known which key named them
        raise UserError(f"config.model.{error}") from None
