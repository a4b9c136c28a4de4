"""EfficientNet-Lite with frozen batch-norm: a second backbone, small enough for two CPU cores.

It is cut and run like `resnet_v2.ResNetV2`; `efficientnet_weights` reads its pretrained ImageNet weights.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.rules import Rule, fits, several, whole
from fer_jax.models import efficientnet_weights
from fer_jax.models.backbone import Backbone, Family, Weights
from fer_jax.models.layers import FrozenBatchNorm, conv, depthwise_conv

EPSILON = 1e-3
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
N_STAGES = len(STRIDES)
_STAGES = Rule(
    (tuple, list),
    lambda v: len(v) == N_STAGES and fits(several(whole(1)), v),
    f"{N_STAGES} whole numbers from 1, one a stage of efficientnet_lite0",
)
KEYS: dict[str, Rule] = {
    # The stem is the architecture's own; the keys are there because all networks of stages have them.
    "model.stem_kernel": Rule((int,), lambda v: v == 3, "3 with efficientnet_lite0").means(
        "Side of the first convolution's kernel, in pixels."
    ),
    "model.stem_pool": Rule((bool,), lambda v: not v, "False with efficientnet_lite0").means(
        "Whether a pooling layer follows the first convolution."
    ),
    "model.stem_width": whole(1).means("Channels of the first convolution."),
    "model.depths": _STAGES.means("Number of blocks in each stage."),
    "model.widths": _STAGES.means("Channels of each stage."),
}


class EfficientNetLite(Backbone):
    """EfficientNet-Lite (Tan and Le, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6).

    The defaults are EfficientNet-Lite0. A stage's kernel, stride (of its first block) and expansion are the
    architecture's own.

    depths: blocks in each of the seven stages.
    widths: what a stage's blocks put out.
    stem_width: the first convolution, 3×3 of stride 2.
    top_width: the last convolution, D.
    """

    input_range = "around_127"

    depths: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    stem_width: int = 32
    top_width: int = 1280

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order.

        "top" is what the last block puts out, "top_relu" the feature map after the last convolution, "features" its
        global average, which is what the ImageNet classifier was trained on (ResNetV2's is the maximum, the method's
        own choice).
        """
        blocks = [f"stage{s + 1}_block{b + 1}" for s, depth in enumerate(self.depths) for b in range(depth)]
        return ("input", *blocks, "top", "top_relu", "features")

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return self.top_width

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        part = layer.split("_")
        return {"stem": "input", "top": "top"}.get(part[0], "_".join(part[:2]))

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "input":
            return self._normed(
                "stem", conv("stem_conv", self.stem_width, 3, 2, same=True, form=self.form, dtype=self.dtype)(x)
            )
        if cut == "top":
            return self._normed("top", conv("top_conv", self.top_width, 1, form=self.form, dtype=self.dtype)(x))
        if cut == "top_relu":
            return x.mean((1, 2), dtype=jnp.float32)
        return self._block(cut, x)

    def _norm(self, name: str) -> FrozenBatchNorm:
        return FrozenBatchNorm(EPSILON, self.calibrate, name=f"{name}_bn")

    def _normed(self, name: str, x: jax.Array) -> jax.Array:
        return nn.relu6(self._norm(name)(x))

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        stage, block = block_position(name)
        width, expansion = self.widths[stage], EXPANSIONS[stage]
        stride = STRIDES[stage] if block == 0 else 1
        y = x
        if expansion > 1:
            expanded = conv(f"{name}_expand_conv", expansion * x.shape[-1], 1, form=self.form, dtype=self.dtype)(y)
            y = self._normed(f"{name}_expand", expanded)
        y = depthwise_conv(
            f"{name}_depthwise_conv", y.shape[-1], KERNELS[stage], stride, form=self.form, dtype=self.dtype
        )(y)
        y = self._normed(f"{name}_depthwise", y)
        y = self._norm(f"{name}_project")(conv(f"{name}_project_conv", width, 1, form=self.form, dtype=self.dtype)(y))
        return x + y if stride == 1 and x.shape[-1] == width else y


def block_position(name: str) -> tuple[int, int]:
    """Parses stage and block, both from 0, from a layer or cut name such as `stage4_block1`."""
    stage, block = name.split("_")[:2]
    return int(stage.removeprefix("stage")) - 1, int(block.removeprefix("block")) - 1


def _build(model: ml_collections.ConfigDict) -> EfficientNetLite:
    return EfficientNetLite(tuple(model.depths), tuple(model.widths), model.stem_width)


def _load_weights(model: ml_collections.ConfigDict, backbone: Backbone) -> Weights:
    path = efficientnet_weights.find()
    return Weights.of(efficientnet_weights.load(path, backbone)[0], path)


def _complaint(model: ml_collections.ConfigDict) -> str | None:
    if model.weights not in ("none", "pretrained"):
        return f"model.weights is {model.weights!r}; with {model.name} it may be 'none' or 'pretrained'"
    return None


FAMILY = Family(_build, KEYS, _load_weights, _complaint, least_image_size=32)
