"""EfficientNet-B0 with frozen batch-norm, as timm has it and expression models pretrained on faces ship it."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.rules import BOOL, Rule, optional
from fer_jax.models import preparation, torch_names, torch_weights
from fer_jax.models.backbone import Backbone, Family, Params, Weights
from fer_jax.models.efficientnet import EXPANSIONS, KERNELS, STRIDES, EfficientNetLite, block_position
from fer_jax.models.layers import FrozenBatchNorm, conv, depthwise_conv

KEYS: dict[str, Rule] = {
    "model.tensorflow": optional(BOOL, True).means(
        "Whether padding and epsilon are TensorFlow's, as in timm's tf_efficientnet_b0."
    ),  # padding and epsilon of TensorFlow, as timm's tf_efficientnet_b0
    **preparation.KEYS,
}
REDUCTION = 4  # of a block's input by squeeze-and-excitation
INNER = {"depthwise_conv": "conv_dw", "squeeze": "se.conv_reduce", "excite": "se.conv_expand"}
# A block without expansion numbers its convolutions and norms otherwise.
EXPANDED = {"expand_conv": "conv_pw", "expand_bn": "bn1", "depthwise_bn": "bn2", "project_conv": "conv_pwl",
            "project_bn": "bn3"}  # fmt: skip
PLAIN = {"depthwise_bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
STEM = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}


class EfficientNetB0(EfficientNetLite):
    """EfficientNet (Tan and Le, arXiv 1905.11946) with squeeze-and-excitation and SiLU; the defaults are B0.

    tensorflow: TensorFlow's padding and epsilon, which timm's `tf_efficientnet_b0` has; `efficientnet_b0` has
      PyTorch's.
    """

    input_range = "imagenet"

    tensorflow: bool = True

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "input":
            same = self.tensorflow
            x = conv("stem_conv", self.stem_width, 3, 2, same=same, form=self.form, dtype=self.dtype)(x)
            return self._normed("stem", x)
        return super().advance(cut, x)

    def _norm(self, name: str) -> FrozenBatchNorm:
        return FrozenBatchNorm(1e-3 if self.tensorflow else 1e-5, self.calibrate, name=f"{name}_bn")

    def _normed(self, name: str, x: jax.Array) -> jax.Array:
        return nn.silu(self._norm(name)(x))

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        stage, block = block_position(name)
        width, stride, form = self.widths[stage], STRIDES[stage] if block == 0 else 1, self.form
        y = x
        if EXPANSIONS[stage] > 1:
            wide = conv(f"{name}_expand_conv", EXPANSIONS[stage] * x.shape[-1], 1, form=form, dtype=self.dtype)
            y = self._normed(f"{name}_expand", wide(y))
        y = depthwise_conv(
            f"{name}_depthwise_conv", y.shape[-1], KERNELS[stage], stride, self.tensorflow, form, self.dtype
        )(y)
        y = self._normed(f"{name}_depthwise", y)
        squeezed = y.mean((1, 2), dtype=jnp.float32)
        squeezed = nn.silu(
            nn.Dense(max(1, x.shape[-1] // REDUCTION), dtype=self.dtype, name=f"{name}_squeeze")(squeezed)
        )
        gate = nn.sigmoid(nn.Dense(y.shape[-1], dtype=self.dtype, name=f"{name}_excite")(squeezed))
        y = y * gate[:, None, None].astype(y.dtype)
        y = self._norm(f"{name}_project")(conv(f"{name}_project_conv", width, 1, form=form, dtype=self.dtype)(y))
        return x + y if stride == 1 and x.shape[-1] == width else y


def places(layers: Params) -> dict[str, str]:
    """Returns what timm calls each layer."""
    found = dict(STEM)
    for layer in layers:
        if layer not in STEM:
            stage, block = block_position(layer)
            part = layer.split("_", 2)[2]
            inner = INNER | (EXPANDED if EXPANSIONS[stage] > 1 else PLAIN)
            found[layer] = f"blocks.{stage}.{block}.{inner[part]}"
    return found


def load(path: str | pathlib.Path, model: EfficientNetB0 | None = None) -> Params:
    """Returns the parameters of an EfficientNet-B0 from a file with timm's names.

    Raises:
      UserError: the file cannot be read, or its tensors are not the model's; they are named.
    """
    path, shapes = pathlib.Path(path).expanduser(), (model or EfficientNetB0()).shapes()
    arrays = torch_weights.load(path)
    before = torch_names.prefix(path, arrays, "conv_stem.weight")
    wanted = torch_names.entries(shapes, places(shapes))
    for (layer, leaf), one in wanted.items():
        if layer.endswith(("_squeeze", "_excite")) and leaf == "kernel":  # there a 1×1 convolution
            wanted[layer, leaf] = one._replace(shape=(*one.shape, 1, 1))
    return torch_names.fitted(path, arrays, before, wanted, shapes)


def features(params: Params, images: jax.Array, tensorflow: bool = True) -> jax.Array:
    """Computes features f32[B, 1280] of normalised images f32[B, H, W, 3]."""
    return EfficientNetB0(tensorflow=tensorflow).apply({"params": params}, images)


def _build(model: ml_collections.ConfigDict) -> EfficientNetB0:
    return EfficientNetB0(tensorflow=model.get("tensorflow", True))


def _load_weights(model: ml_collections.ConfigDict, backbone: Backbone) -> Weights:
    return Weights.of(load(model.weights, backbone), model.weights)


FAMILY = Family(_build, KEYS, _load_weights, preparation.complaint, least_image_size=32)
