"""Vision transformers as timm, DINOv2, MAE and CLIP's image tower have them.

They differ in a few places, which are fields here: registers, layer scale, a norm before the blocks, the activation,
the pooling, and how position embeddings are brought to another input size. `vit_weights` reads their files.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from fer_jax.config.rules import Rule, one_of, optional, whole
from fer_jax.models import preparation, vit_weights
from fer_jax.models.backbone import Backbone, Family, Weights

POOLINGS = ("class", "mean", "mean_norm")
RESAMPLINGS = ("antialiased", "bicubic", "offset")
ACTIVATIONS = ("gelu", "quick_gelu")
HEAD_WIDTH = 64  # of every published size
OFFSET = 0.1  # patches that DINOv2 adds to the new side before it divides
# What a variant's own code has: the fields of `ViT`, and the side of the images that its weights were trained on.
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "timm": ({"input_range": "minus_one_one"}, 224),
    "mae": ({"resampling": "bicubic"}, 224),
    "dinov2": ({"layer_scale": True, "resampling": "offset"}, 518),
    "clip": (
        {"pre_norm": True, "patch_bias": False, "quick_gelu": True, "epsilon": 1e-5, "resampling": "bicubic",
         "input_range": "clip"}, 224,
    ),
}  # fmt: skip
KEYS: dict[str, Rule] = {
    "model.variant": one_of(*VARIANTS).means("Whose vision transformer it is."),
    "model.patch": optional(whole(1), 16).means("Side of a patch, in pixels."),
    "model.width": optional(whole(1), 768).means("Width of a token."),
    "model.depth": optional(whole(1), 12).means("Number of blocks."),
    "model.heads": optional(whole(0), 0).means(
        "Number of attention heads; 0 is one for every 64 of the width."
    ),  # 0: one for every 64 of the width
    "model.registers": optional(whole(0), 0).means("Number of register tokens."),
    "model.grid": optional(whole(0), 0).means(
        "Patches a side that the position embeddings are for; 0 follows the variant."
    ),  # patches a side that position embeddings are for; 0: as the variant has them
    "model.pooling": optional(one_of(*POOLINGS), "class").means(
        "What the features are taken from: the class token or the mean of the patches."
    ),
    "model.resampling": optional(one_of("auto", *RESAMPLINGS), "auto").means(
        "How position embeddings are resized to another grid; auto follows the variant."
    ),
    "model.activation": optional(one_of("auto", *ACTIVATIONS), "auto").means(
        "Activation in a block; auto: CLIP's is quick_gelu, as OpenAI's; OpenCLIP's later weights need gelu."
    ),
    **preparation.KEYS,
}

Params = Any


class ViT(Backbone):
    """A vision transformer (arXiv 2010.11929) with class token; the defaults are timm's ViT-B/16.

    patch: side of a patch in pixels.
    width, depth, heads: D, blocks, attention heads a block.
    grid: patches a side of the images that the position embeddings are for.
    registers: tokens without a position beside the class token (arXiv 2309.16588).
    pooling: the features are the normed class token ("class"), the mean of the normed patch tokens ("mean"), or the
      normed mean of the patch tokens ("mean_norm", timm's `fc_norm`).
    pre_norm: a norm before the first block, as CLIP has it. patch_bias: whether patches have a bias.
    layer_scale: a learned factor of each branch (arXiv 2103.17239).
    quick_gelu: OpenAI's `x sigmoid(1.702 x)` in place of GELU. No file says which it was trained with: OpenCLIP's
      weights from LAION-2B and DataComp have OpenAI's names and GELU, those of its models called `-quickgelu`, such as
      MetaCLIP's, have OpenAI's.
    resampling: position embeddings of another grid are bicubic interpolations: "antialiased" as timm and DINOv2 with
      registers have them, "bicubic" without a filter as MAE and CLIP on the Hugging Face hub, or "offset" as DINOv2
      without registers, whose scale is (side + 0.1) / grid.
    """

    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    grid: int = 14
    registers: int = 0
    pooling: str = "class"
    pre_norm: bool = False
    patch_bias: bool = True
    layer_scale: bool = False
    quick_gelu: bool = False
    epsilon: float = 1e-6
    resampling: str = "antialiased"
    input_range: str = "imagenet"

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order; "pool" is what the last block puts out."""
        return ("input", *(f"block{number + 1}" for number in range(self.depth)), "pool", "features")

    @property
    def map_cuts(self) -> tuple[str, ...]:
        """The cuts whose patch tokens the features depend on: behind the last block, the class token is alone."""
        return self.cuts[: -2 if self.pooling == "class" else -1]

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return self.width

    @property
    def example_size(self) -> int:
        """A side of images that the network takes."""
        return self.patch

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        part = layer.split("_")[0]
        return {"patch": "input", "tokens": "input", "pre": "input", "norm": "pool"}.get(part, part)

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "input":
            return self._embedded(x)
        return self._pooled(x) if cut == "pool" else self._block(cut, x)

    def as_map(self, tensor: jax.Array) -> jax.Array:
        """Returns the patch tokens of [B, T, D] as a map [B, h, w, D]; images and features as they are."""
        if tensor.ndim != 3:
            return tensor
        patches = tensor[:, 1 + self.registers :]
        side = math.isqrt(patches.shape[1])
        return patches.reshape(patches.shape[0], side, side, self.width)

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(self.epsilon, dtype=self.dtype, use_fast_variance=False, name=name)

    def _dense(self, name: str, width: int, use_bias: bool = True) -> nn.Dense:
        return nn.Dense(width, use_bias=use_bias, dtype=self.dtype, name=name)

    def _embedded(self, x: jax.Array) -> jax.Array:
        p, side = self.patch, x.shape[1] // self.patch
        if x.shape[1] % p or x.shape[1] != x.shape[2]:
            raise ValueError(f"images are {x.shape[1]}×{x.shape[2]}; they may be squares of a multiple of {p}")
        patches = x.reshape(x.shape[0], side, p, side, p, 3).transpose(0, 1, 3, 2, 4, 5)
        patches = patches.reshape(x.shape[0], side * side, p * p * 3)
        tokens = self._dense("patch", self.width, self.patch_bias)(patches)
        tokens = Tokens(self.grid, self.registers, self.resampling, name="tokens")(tokens)
        return self._norm("pre_norm")(tokens) if self.pre_norm else tokens

    def _pooled(self, x: jax.Array) -> jax.Array:
        norm, patches = self._norm("norm"), slice(1 + self.registers, None)
        if self.pooling == "mean_norm":
            return norm(x[:, patches].mean(1, dtype=jnp.float32))
        # Each token is normed by itself.
        return norm(x[:, 0]) if self.pooling == "class" else norm(x[:, patches]).mean(1, dtype=jnp.float32)

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        x = x + self._scaled(f"{name}_scale1", self._attended(name, self._norm(f"{name}_norm1")(x)))
        y = self._dense(f"{name}_in", 4 * self.width)(self._norm(f"{name}_norm2")(x))
        y = y * nn.sigmoid(1.702 * y) if self.quick_gelu else nn.gelu(y, approximate=False)
        return x + self._scaled(f"{name}_scale2", self._dense(f"{name}_out", self.width)(y))

    def _scaled(self, name: str, x: jax.Array) -> jax.Array:
        return LayerScale(name=name)(x) if self.layer_scale else x

    def _attended(self, name: str, x: jax.Array) -> jax.Array:
        mixed = attention(self._dense(f"{name}_qkv", 3 * self.width)(x), self.heads)
        return self._dense(f"{name}_proj", self.width)(mixed)


def attention(qkv: jax.Array, heads: int) -> jax.Array:
    """Computes multi-head attention f32[B, T, D] of queries, keys and values f32[B, T, 3 D], without the projection.

    The heads are moved before the tokens: XLA:CPU is slower at products of matrices that do not lie in one piece.
    """
    batch, tokens, width = qkv.shape
    q, k, v = qkv.reshape(batch, tokens, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
    scores = (q @ k.swapaxes(-1, -2)).astype(jnp.float32) / math.sqrt(q.shape[-1])
    mixed = nn.softmax(scores).astype(v.dtype) @ v
    return mixed.swapaxes(1, 2).reshape(batch, tokens, width // 3)


class Tokens(nn.Module):
    """Adds positions to patch tokens [B, side², D], and the class token and registers before them."""

    grid: int
    registers: int
    resampling: str

    @nn.compact
    def __call__(self, patches: jax.Array) -> jax.Array:
        batch, count, width = patches.shape
        normal = nn.initializers.normal(0.02)
        first = self.param("class", normal, (width,))
        positions = self.param("positions", normal, (1 + self.grid**2, width))
        own, others = positions[0], positions[1:].reshape(self.grid, self.grid, width)
        side = math.isqrt(count)
        if side != self.grid:
            matrix = jnp.asarray(resampling_matrix(self.grid, side, self.resampling))
            others = jnp.einsum("ih,hwd,jw->ijd", matrix, others, matrix, precision="highest")
        parts = [jnp.broadcast_to(first + own, (batch, 1, width))]
        if self.registers:
            registers = self.param("registers", normal, (self.registers, width))
            parts.append(jnp.broadcast_to(registers, (batch, self.registers, width)))
        parts.append(patches + others.reshape(count, width).astype(patches.dtype))
        return jnp.concatenate([part.astype(patches.dtype) for part in parts], axis=1)


class LayerScale(nn.Module):
    """A factor for each feature."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.param("gamma", nn.initializers.constant(1e-5), x.shape[-1:]).astype(x.dtype)


def resampling_matrix(old: int, new: int, how: str) -> np.ndarray:
    """Returns the matrix f32[new, old] of PyTorch's bicubic interpolation of a line, without aligned corners.

    Args:
      how: one of RESAMPLINGS. "antialiased" widens Keys' kernel (a = -0.5) where it makes fewer, and leaves what lies
        outside out; the others have a = -0.75 and repeat the edges.

    >>> resampling_matrix(2, 1, "bicubic").tolist()
    [[0.5, 0.5]]
    """
    scale = old / (new + OFFSET) if how == "offset" else old / new
    if how == "antialiased":
        centres, wide = (np.arange(new) + 0.5) * scale, max(scale, 1.0)
        weights = _cubic((np.arange(old)[None] + 0.5 - centres[:, None]) / wide, -0.5)
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    matrix = np.zeros((new, old))
    for row, place in enumerate((np.arange(new) + 0.5) * scale - 0.5):
        for column in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[row, min(max(column, 0), old - 1)] += _cubic(np.asarray(column - place), -0.75)
    return matrix.astype(np.float32)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def architecture(params: Params) -> ViT:
    """Returns the network that parameters belong to, by their names and shapes.

    Parameters do not say four things: heads have a width of 64, the features are the class token, without layer scale
    and norm before the blocks positions are resampled as timm has it, and with such a norm the activation is OpenAI's.
    """
    depth = sum(layer.endswith("_qkv") for layer in params)
    pixels, width = params["patch"]["kernel"].shape
    registers = len(params["tokens"].get("registers", ()))
    clip, scaled = "pre_norm" in params, "block1_scale1" in params
    fields = VARIANTS["clip" if clip else "dinov2" if scaled else "timm"][0] | {
        "layer_scale": scaled,
        "patch_bias": "bias" in params["patch"],
    }
    if registers:
        fields["resampling"] = "antialiased"
    return ViT(
        patch=math.isqrt(pixels // 3),
        width=width,
        depth=depth,
        heads=max(1, width // HEAD_WIDTH),
        grid=math.isqrt(len(params["tokens"]["positions"]) - 1),
        registers=registers,
        **fields,
    )


def features(params: Params, images: jax.Array) -> jax.Array:
    """Computes features f32[B, D], the normed class token, of normalised images f32[B, H, W, 3]; D is 768 for B/16."""
    return architecture(params).apply({"params": params}, images)


def _build(model: ml_collections.ConfigDict) -> ViT:
    fields, trained_on = VARIANTS[model.variant]
    chosen = ("patch", "width", "depth", "heads", "registers", "grid", "pooling", "resampling")
    values = {name: model.get(name, KEYS[f"model.{name}"].default) for name in chosen}
    if values["resampling"] == "auto":
        del values["resampling"]
        if values["registers"]:
            values["resampling"] = "antialiased"
    activation = model.get("activation", "auto")
    if activation != "auto":
        values["quick_gelu"] = activation == "quick_gelu"
    values["heads"] = values["heads"] or max(1, values["width"] // HEAD_WIDTH)
    values["grid"] = values["grid"] or trained_on // values["patch"]
    return ViT(**(fields | values))


def _load_weights(model: ml_collections.ConfigDict, backbone: Backbone) -> Weights:
    return Weights.of(vit_weights.load(model.weights, backbone), model.weights)


def _complaint(model: ml_collections.ConfigDict) -> str | None:
    backbone = _build(model)
    if backbone.width % backbone.heads:
        return f"model.heads is {backbone.heads}; it may be a divisor of model.width, {backbone.width}"
    return preparation.complaint(model)


def _wrong_size(model: ml_collections.ConfigDict, size: int) -> str | None:
    if size % _build(model).patch:
        return f"a multiple of model.patch, {_build(model).patch}"
    return None


FAMILY = Family(_build, KEYS, _load_weights, _complaint, wrong_size=_wrong_size)
