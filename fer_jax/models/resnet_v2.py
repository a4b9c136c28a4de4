"""ResNetV2 with frozen batch-norm, in the topology and with the layer names of Keras Applications.

The network runs between any two of its cuts, so that the part that a phase does not train can be computed separately.
Its pretrained weights come from a file that Keras wrote.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.places import expanded
from fer_jax.config.rules import BOOL, Rule, several, whole
from fer_jax.models import keras_file
from fer_jax.models.backbone import Backbone, Family, Weights
from fer_jax.models.layers import FrozenBatchNorm, conv, max_pool

EPSILON = 1.001e-5
KEYS: dict[str, Rule] = {
    "model.depths": several(whole(1), 4).means("Number of blocks in each stage."),
    "model.widths": several(whole(1), 4).means("Channels of each stage."),
    "model.stem_width": whole(1).means("Channels of the first convolution."),
    "model.stem_kernel": whole(1, 15).means("Side of the first convolution's kernel, in pixels."),
    "model.stem_pool": BOOL.means("Whether a pooling layer follows the first convolution."),
}

Params = Any


class ResNetV2(Backbone):
    """ResNetV2 (He et al., arXiv 1603.05027) as in Keras Applications; the defaults are ResNet50V2.

    depths: blocks a stage.
    widths: inner width of a stage's bottlenecks; blocks put out four times that.
    stem_width, stem_kernel: the first convolution, of stride 2.
    stem_pool: whether a 3×3 max pool of stride 2 follows it.
    """

    input_range = "minus_one_one"

    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    stem_kernel: int = 7
    stem_pool: bool = True

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order.

        "post" is what the last block puts out, "post_relu" the feature map after batch-norm and ReLU, "features" its
        global maximum.
        """
        blocks = [f"conv{s + 2}_block{b + 1}" for s, depth in enumerate(self.depths) for b in range(depth)]
        return ("input", *blocks, "post", "post_relu", "features")

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return 4 * self.widths[-1]

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return layer_cut(layer)

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "input":
            x = conv(
                "conv1_conv", self.stem_width, self.stem_kernel, 2, use_bias=True, form=self.form, dtype=self.dtype
            )(x)
            if self.stem_pool:
                # The zeros of the pad take part in the maximum, as they do in Keras.
                x = max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
            return x
        if cut == "post":
            return nn.relu(self._norm("post_bn")(x))
        if cut == "post_relu":
            return x.max((1, 2))
        return self._block(cut, x)

    def _norm(self, name: str) -> FrozenBatchNorm:
        return FrozenBatchNorm(EPSILON, self.calibrate, name=name)

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        stage, block = block_position(name)
        width = self.widths[stage]
        # The stride sits in the last block of every stage but the last.
        stride = 2 if block == self.depths[stage] - 1 and stage < len(self.depths) - 1 else 1
        active = nn.relu(self._norm(f"{name}_preact_bn")(x))
        if block == 0:
            shortcut = conv(f"{name}_0_conv", 4 * width, 1, stride, use_bias=True, form=self.form, dtype=self.dtype)(
                active
            )
        else:
            shortcut = x[:, ::stride, ::stride]
        y = conv(f"{name}_1_conv", width, 1, form=self.form, dtype=self.dtype)(active)
        y = nn.relu(self._norm(f"{name}_1_bn")(y))
        y = conv(f"{name}_2_conv", width, 3, stride, form=self.form, dtype=self.dtype)(y)
        y = nn.relu(self._norm(f"{name}_2_bn")(y))
        return shortcut + conv(f"{name}_3_conv", 4 * width, 1, use_bias=True, form=self.form, dtype=self.dtype)(y)


def block_position(name: str) -> tuple[int, int]:
    """Parses stage and block, both from 0, from a name such as `conv4_block1` or `conv4_block1_2_conv`."""
    stage, block = name.split("_")[:2]
    return int(stage.removeprefix("conv")) - 2, int(block.removeprefix("block")) - 1


def layer_cut(layer: str) -> str:
    """Returns the last cut at or before a layer; training from that cut or an earlier one trains the layer."""
    if layer == "conv1_conv":
        return "input"
    if layer == "post_bn":
        return "post"
    return "_".join(layer.split("_")[:2])


def architecture(params: Params) -> ResNetV2:
    """Returns the network that parameters belong to, by their names and shapes; assumes a stem pool."""
    depths: dict[int, int] = {}
    widths: dict[int, int] = {}
    for layer in params:
        if layer.endswith("_1_conv"):
            stage, block = block_position(layer)
            depths[stage] = max(depths.get(stage, 0), block + 1)
            widths[stage] = params[layer]["kernel"].shape[-1]
    kernel = params["conv1_conv"]["kernel"]
    stages = range(len(depths))
    return ResNetV2(
        depths=tuple(depths[s] for s in stages),
        widths=tuple(widths[s] for s in stages),
        stem_width=kernel.shape[-1],
        stem_kernel=kernel.shape[0],
    )


def features(params: Params, images: jax.Array) -> jax.Array:
    """Computes global-max-pooled features f32[B, D] of images f32[B, H, W, 3]; D is 2048 for ResNet50V2."""
    return architecture(params).apply({"params": params}, images)


def _build(model: ml_collections.ConfigDict) -> ResNetV2:
    return ResNetV2(tuple(model.depths), tuple(model.widths), model.stem_width, model.stem_kernel, model.stem_pool)


def _load_weights(model: ml_collections.ConfigDict, backbone: Backbone) -> Weights:
    path = expanded(model.weights, "config.model.weights")
    return Weights.of(keras_file.load(path, backbone), path)


def _complaint(model: ml_collections.ConfigDict) -> str | None:
    if model.weights == "pretrained":
        return f"model.weights is 'pretrained'; with {model.name} it may be 'none' or the path of a Keras file"
    if len(model.depths) != len(model.widths):
        return f"model.widths has {len(model.widths)} stages; it may have as many as model.depths, {len(model.depths)}"
    return None


FAMILY = Family(_build, KEYS, _load_weights, _complaint, least_image_size=32)
