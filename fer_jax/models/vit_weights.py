"""Reads weights of vision transformers by the names that timm, DINOv2 and MAE share, and by those of CLIP and of the
Hugging Face hub.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fer_jax.errors import UserError
from fer_jax.models import torch_names, torch_weights
from fer_jax.models.backbone import Backbone
from fer_jax.models.torch_names import Beside, Entry

Params = Any
Arrays = dict[str, np.ndarray]


class Scheme(NamedTuple):
    """How a kind of file names the tensors of a vision transformer.

    tokens: the class token's name, the positions', and the names that registers may have.
    layers: the modules of a layer of ours; `{}` is the block's number. Queries, keys and values may be three modules.
    scale: the name of layer scale's factors, in the modules that `layers` names.
    beside: the tensors that lie beside the backbone.
    """

    tokens: tuple[str, str, tuple[str, ...]]
    layers: Mapping[str, str | tuple[str, ...]]
    scale: str = "gamma"
    beside: Beside = Beside()

    @property
    def first(self) -> str:
        """The tensor by which the kind is known, with which the network begins."""
        return f"{self.layers['patch']}.weight"


def _layers(patch: str, norm: str, pre_norm: str, block: str, inner: tuple) -> dict[str, str | tuple[str, ...]]:
    """Returns the modules by our layers; `inner` are those of a block in the order of INNER."""
    within = {
        ours: tuple(f"{block}.{one}" for one in theirs) if isinstance(theirs, tuple) else f"{block}.{theirs}"
        for ours, theirs in zip(INNER, inner, strict=True)
    }
    return {"patch": patch, "norm": norm, "pre_norm": pre_norm, **within}


INNER = ("norm1", "qkv", "proj", "scale1", "norm2", "in", "out", "scale2")
_TEXT = (
    r"text\..*|transformer\.resblocks\..*|token_embedding\.weight|positional_embedding|ln_final\..*|text_projection|"
    r"logit_scale|input_resolution|context_length|vocab_size"
)


def _dinov2_hub(query: str, key: str, value: str, projection: str) -> Scheme:
    """Returns the names of DINOv2 in transformers, whose version 5 calls the modules of attention differently."""
    return Scheme(
        ("embeddings.cls_token", "embeddings.position_embeddings", ("embeddings.register_tokens",)),
        _layers("embeddings.patch_embeddings.projection", "layernorm", "", "encoder.layer.{}",
                ("norm1", (query, key, value), projection, "layer_scale1", "norm2", "mlp.fc1", "mlp.fc2",
                 "layer_scale2")),
        scale="lambda1",
        beside=Beside(r"embeddings\.mask_token"),
    )  # fmt: skip


SCHEMES = {
    "timm": Scheme(
        ("cls_token", "pos_embed", ("reg_token", "register_tokens")),
        _layers("patch_embed.proj", "norm", "norm_pre", "blocks.{}",
                ("norm1", "attn.qkv", "attn.proj", "ls1", "norm2", "mlp.fc1", "mlp.fc2", "ls2")),
        beside=Beside(rf"{torch_names.CLASSIFIER}|mask_token|decoder_.*|pre_logits\..*"),
    ),
    "openai": Scheme(
        ("class_embedding", "positional_embedding", ()),
        _layers("conv1", "ln_post", "ln_pre", "transformer.resblocks.{}",
                ("ln_1", "attn.in_proj_", "attn.out_proj", "", "ln_2", "mlp.c_fc", "mlp.c_proj", "")),
        beside=Beside("proj", _TEXT),
    ),
    "clip_hub": Scheme(
        ("embeddings.class_embedding", "embeddings.position_embedding.weight", ()),
        _layers("embeddings.patch_embedding", "post_layernorm", "pre_layrnorm", "encoder.layers.{}",
                ("layer_norm1", tuple(f"self_attn.{one}_proj" for one in "qkv"), "self_attn.out_proj", "",
                 "layer_norm2", "mlp.fc1", "mlp.fc2", "")),
        beside=Beside(r"embeddings\.position_ids", r"text_model\..*|(?:text|visual)_projection\.weight|logit_scale"),
    ),
    "dinov2_hub": _dinov2_hub(*(f"attention.{one}" for one in ("attention.query", "attention.key", "attention.value",
                                                               "output.dense"))),
    "dinov2_hub_since_5": _dinov2_hub(*(f"attention.{one}_proj" for one in "qkvo")),
}  # fmt: skip


def load(path: str | pathlib.Path, model: Backbone) -> Params:
    """Returns the parameters of a `vit.ViT`, f32.

    Positions of the patches alone, as timm's models with registers have them, get a class position of zero.

    Args:
      path: as `torch_weights.load` takes it.
      model: the network that the file must hold.

    Raises:
      UserError: the file cannot be read or has no names of a vision transformer, or its tensors are not the model's.
    """
    path = pathlib.Path(path).expanduser()
    arrays = torch_weights.load(path)
    scheme = _scheme(path, arrays)
    before = torch_names.prefix(path, arrays, scheme.first)
    own = {name.removeprefix(before): array for name, array in arrays.items() if name.startswith(before)}
    if model.pooling == "mean_norm" and "fc_norm.weight" in own:
        scheme = scheme._replace(layers={**scheme.layers, "norm": "fc_norm"})
    shapes = model.shapes()
    wanted = {
        (layer, leaf): _entry(scheme, own, layer, leaf, shape)
        for layer, leaves in shapes.items()
        for leaf, shape in leaves.items()
    }
    arrays |= _with_class_position(own, before, wanted["tokens", "positions"])
    return torch_names.fitted(path, arrays, before, wanted, shapes, scheme.beside)


def _scheme(path: pathlib.Path, arrays: Arrays) -> Scheme:
    """Returns how a file's tensors are named."""
    fits = [scheme for scheme in SCHEMES.values()
            if any(name == scheme.first or name.endswith(f".{scheme.first}") for name in arrays)]  # fmt: skip
    if fits:
        # Two begin alike and differ in the attention of their blocks.
        return next((scheme for scheme in fits if _has_attention_of(scheme, arrays)), fits[0])
    known = ", ".join(scheme.first for scheme in SCHEMES.values())
    raise UserError(f"weights {path} has no patches of a vision transformer; it may have one of {known}")


def _has_attention_of(scheme: Scheme, arrays: Arrays) -> bool:
    places = scheme.layers["qkv"]
    first = (places if isinstance(places, str) else places[0]).format(0)
    return any(first in name for name in arrays)


def _entry(scheme: Scheme, arrays: Arrays, layer: str, leaf: str, shape: tuple[int, ...]) -> Entry:
    own, positions, registers = scheme.tokens
    if layer == "tokens":
        present = [name for name in registers if name in arrays]
        name = {"class": own, "positions": positions}.get(leaf) or (present or [*registers, "register_tokens"])[0]
        # A class token may be [D], [1, D] or [1, 1, D], positions with or without the axis of the batch.
        lead = (1,) * max(0, arrays[name].ndim - len(shape)) if name in arrays else ()
        return Entry((name,), (*lead, *shape))
    block, _, inner = layer.partition("_")
    place = scheme.layers[inner if block.startswith("block") else layer]
    number = int(block.removeprefix("block")) - 1 if block.startswith("block") else 0
    places = tuple(one.format(number) for one in ((place,) if isinstance(place, str) else place))
    if leaf == "gamma":
        return Entry((f"{places[0]}.{scheme.scale}",), shape)
    if layer == "patch" and leaf == "kernel":
        side = math.isqrt(shape[0] // 3)
        return Entry((f"{places[0]}.weight",), (shape[1], 3, side, side))
    one = torch_names.entry(places, leaf, shape)
    return one._replace(names=tuple(name.replace("_.", "_") for name in one.names))  # in_proj_weight has no point


def _with_class_position(arrays: Arrays, before: str, positions: Entry) -> Arrays:
    """Returns the positions by their whole name with a class position of zero, if a file has those of patches alone."""
    (name,), shape = positions
    found = arrays.get(name)
    if found is None or found.shape != (*shape[:-2], shape[-2] - 1, shape[-1]):
        return {}
    none = np.zeros((*shape[:-2], 1, shape[-1]), found.dtype)
    return {f"{before}{name}": np.concatenate([none, found], axis=-2)}
