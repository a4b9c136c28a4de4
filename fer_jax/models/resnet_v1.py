"""ResNet of version 1.5 with frozen batch-norm, as torchvision and timm have it; reads their files."""

import functools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from fer_jax.config.rules import Rule, optional, several, whole
from fer_jax.models import preparation, torch_names, torch_weights
from fer_jax.models.backbone import Backbone, Family, Params, Weights
from fer_jax.models.layers import FrozenBatchNorm, conv, max_pool

EPSILON = 1e-5
KEYS: dict[str, Rule] = {
    "model.depths": optional(several(whole(1), 4), (3, 4, 6, 3)).means("Number of blocks in each stage."),
    "model.widths": optional(several(whole(1), 4), (64, 128, 256, 512)).means("Channels of each stage."),
    "model.stem_width": optional(whole(1), 64).means("Channels of the first convolution."),
    **preparation.KEYS,
}


class ResNetV1(Backbone):
    """ResNet (He et al., arXiv 1512.03385), version 1.5: a stage's stride is in the 3×3 convolution of its first block.

    The defaults are ResNet-50.

    depths: blocks a stage.
    widths: inner width of a stage's bottlenecks; blocks put out four times that.
    stem_width: the first convolution, 7×7 of stride 2, which a 3×3 max pool of stride 2 follows.
    """

    input_range = "imagenet"

    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64

    @property
    def cuts(self) -> tuple[str, ...]:
        """The cuts, in order; "features" is the mean of "map" over positions, as the ImageNet classifier sees it."""
        blocks = [f"stage{s + 1}_block{b + 1}" for s, depth in enumerate(self.depths) for b in range(depth)]
        return ("input", *blocks, "map", "features")

    @property
    def feature_width(self) -> int:
        """D, the number of features."""
        return 4 * self.widths[-1]

    def layer_cut(self, layer: str) -> str:
        """Returns the last cut at or before a layer."""
        return "input" if layer.startswith("stem") else "_".join(layer.split("_")[:2])

    def advance(self, cut: str, x: jax.Array) -> jax.Array:
        """Computes the tensor at the cut after this one."""
        if cut == "input":
            x = conv("stem_conv", self.stem_width, 7, 2, form=self.form, dtype=self.dtype)(x)
            # Behind the ReLU a pad of zeros changes no maximum.
            return max_pool(jnp.pad(nn.relu(self._norm("stem_bn")(x)), ((0, 0), (1, 1), (1, 1), (0, 0))))
        return x.mean((1, 2), dtype=jnp.float32) if cut == "map" else self._block(cut, x)

    def _norm(self, name: str) -> FrozenBatchNorm:
        return FrozenBatchNorm(EPSILON, self.calibrate, name=name)

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        stage, block = (int(part.lstrip("stageblock")) - 1 for part in name.split("_"))
        width, stride = self.widths[stage], 2 if block == 0 and stage else 1
        layer = functools.partial(conv, form=self.form, dtype=self.dtype)
        y = nn.relu(self._norm(f"{name}_bn1")(layer(f"{name}_conv1", width, 1)(x)))
        y = nn.relu(self._norm(f"{name}_bn2")(layer(f"{name}_conv2", width, 3, stride)(y)))
        y = self._norm(f"{name}_bn3")(layer(f"{name}_conv3", 4 * width, 1)(y))
        if block == 0:
            x = self._norm(f"{name}_shortcut_bn")(layer(f"{name}_shortcut_conv", 4 * width, 1, stride)(x))
        return nn.relu(x + y)


def places(layers: Params) -> dict[str, str]:
    """Returns what torchvision and timm call each layer."""
    inner = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}
    found = {"stem_conv": "conv1", "stem_bn": "bn1"}
    for layer in layers:
        if not layer.startswith("stem"):
            stage, block, part = layer.split("_", 2)
            number = int(block.removeprefix("block")) - 1
            found[layer] = f"layer{stage.removeprefix('stage')}.{number}.{inner.get(part, part)}"
    return found


def load(path: str | pathlib.Path, model: ResNetV1 | None = None) -> Params:
    """Returns the parameters of a ResNetV1 from a file with the names of torchvision and timm; ResNet-50's by default.

    Raises:
      UserError: the file cannot be read, or its tensors are not the model's; they are named.
    """
    path, shapes = pathlib.Path(path).expanduser(), (model or ResNetV1()).shapes()
    arrays = torch_weights.load(path)
    # The stem's conv1 has a name that every block has too.
    before = torch_names.prefix(path, arrays, "layer1.0.conv1.weight")
    return torch_names.fitted(
        path, arrays, before, torch_names.entries(shapes, places(shapes)), shapes, torch_names.Beside()
    )


def features(params: Params, images: jax.Array) -> jax.Array:
    """Computes features f32[B, D] of normalised images f32[B, H, W, 3]; D is 2048 for ResNet-50."""
    layers = [layer for layer in params if layer.endswith("_conv1")]
    stages = sorted({layer.split("_")[0] for layer in layers})
    model = ResNetV1(
        tuple(sum(layer.startswith(f"{stage}_") for layer in layers) for stage in stages),
        tuple(params[f"{stage}_block1_conv1"]["kernel"].shape[-1] for stage in stages),
        params["stem_conv"]["kernel"].shape[-1],
    )
    return model.apply({"params": params}, images)


def _build(model: ml_collections.ConfigDict) -> ResNetV1:
    given = [model.get(name, KEYS[f"model.{name}"].default) for name in ("depths", "widths", "stem_width")]
    return ResNetV1(tuple(given[0]), tuple(given[1]), given[2])


def _load_weights(model: ml_collections.ConfigDict, backbone: Backbone) -> Weights:
    return Weights.of(load(model.weights, backbone), model.weights)


def _complaint(model: ml_collections.ConfigDict) -> str | None:
    backbone = _build(model)
    if len(backbone.depths) != len(backbone.widths):
        return f"model.widths has {len(backbone.widths)} stages; it may have {len(backbone.depths)}, as model.depths"
    return preparation.complaint(model)


FAMILY = Family(_build, KEYS, _load_weights, _complaint, least_image_size=32)
