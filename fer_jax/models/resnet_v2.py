"""ResNetV2 with frozen batch-norm, in the topology and with the layer names of Keras Applications.

The network runs between any two of its cuts, so that what a phase does not train can be computed apart.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1.001e-5
BATCH_STATISTICS = ("scale", "bias", "mean", "var")

Params = Any


class FrozenBatchNorm(nn.Module):
    """Batch-norm in inference mode, never trained; with `calibrate` it measures its own input first."""

    calibrate: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean = self.param("mean", nn.initializers.zeros, width)
        var = self.param("var", nn.initializers.ones, width)
        if self.calibrate:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            for name, value in (("mean", mean), ("var", var)):
                self.sow("measured", name, value, reduce_fn=lambda _, new: new, init_fn=lambda: 0)
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        return x * factor + (bias - mean * factor)


def conv(name: str, width: int, kernel: int, stride: int = 1, use_bias: bool = False) -> nn.Conv:
    """The one place where the form of a convolution is chosen: zero pads of (kernel - 1) / 2, He-normal kernels."""
    pad = (kernel - 1) // 2
    return nn.Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=use_bias,
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=_convolve,
        name=name,
    )


def _convolve(x, kernel, strides, padding, **settings) -> jax.Array:
    """A convolution, as one matrix product where that is faster.

    On XLA:CPU that is every 1×1 one, and a small kernel over few channels: a stem of 5×5×3 to 24 is 5 times faster
    over patches. A larger kernel moves too much memory that way.
    """
    height, width, channels, _ = kernel.shape
    if jax.default_backend() == "cpu" and height * width == 1:
        return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    if jax.default_backend() == "cpu" and channels <= 4 and height * width <= 25:
        patches = _patches(jnp.pad(x, ((0, 0), *padding, (0, 0))), height, width, strides[0])
        return patches @ kernel.reshape(-1, kernel.shape[-1])
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **settings)


def _patches(x: jax.Array, height: int, width: int, stride: int) -> jax.Array:
    """Windows of f32[B, H, W, D] laid side by side, f32[B, H', W', height * width * D]."""
    rows = [_window(x, 1, i, height, stride) for i in range(height)]
    return jnp.concatenate([_window(row, 2, j, width, stride) for row in rows for j in range(width)], axis=-1)


def _window(x: jax.Array, axis: int, offset: int, size: int, stride: int) -> jax.Array:
    """The entry at `offset` in every window of a size along an axis."""
    steps = (x.shape[axis] - size) // stride
    return jax.lax.slice_in_dim(x, offset, offset + stride * steps + 1, stride, axis)


def max_pool(x: jax.Array, size: int = 3, stride: int = 2) -> jax.Array:
    """Maximum over windows of f32[B, H, W, D], no padding.

    Written as a maximum of slices, an axis at a time: the gradient of XLA's own windowed maximum is 10 times slower on
    the CPU. Where two entries tie they share the gradient.
    """
    for axis in (1, 2):
        x = functools.reduce(jnp.maximum, [_window(x, axis, i, size, stride) for i in range(size)])
    return x


class ResNetV2(nn.Module):
    """ResNetV2 (He et al., arXiv 1603.05027) as Keras Applications has it; the defaults are ResNet50V2.

    depths: blocks a stage.
    widths: inner width of a stage's bottlenecks; blocks put out four times that.
    stem_width, stem_kernel: the first convolution, of stride 2.
    stem_pool: whether a 3×3 max pool of stride 2 follows it.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    stem_kernel: int = 7
    stem_pool: bool = True
    calibrate: bool = False

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where the network can be cut, in order: a block's name is the tensor that goes into it."""
        blocks = [f"conv{s + 2}_block{b + 1}" for s, depth in enumerate(self.depths) for b in range(depth)]
        return ("input", *blocks, "post", "post_relu", "features")

    @nn.compact
    def __call__(self, x: jax.Array, start: str = "input", stop: str = "features") -> jax.Array:
        """Runs from one cut to another.

        Args:
          x: the tensor at `start`; images f32[B, H, W, 3] at "input".
          start, stop: names in `cuts`. "post" is what the last block puts out, "post_relu" the feature map after
            batch-norm and ReLU, "features" its global maximum.

        Returns:
          the tensor at `stop`; f32[B, 4 * widths[-1]] at "features".

        Raises:
          ValueError: no such cut, or a stop before the start.
        """
        first, last = self.position(start), self.position(stop)
        if last < first:
            raise ValueError(f"stop {stop!r} comes before start {start!r}; cuts are {', '.join(self.cuts)}")
        for cut in self.cuts[first:last]:
            x = self._from(cut, x)
        return x

    def position(self, cut: str) -> int:
        """Where a cut comes in `cuts`.

        Raises:
          ValueError: no such cut.
        """
        if cut not in self.cuts:
            raise ValueError(f"cut {cut!r} does not exist; it may be one of {', '.join(self.cuts)}")
        return self.cuts.index(cut)

    def _from(self, cut: str, x: jax.Array) -> jax.Array:
        if cut == "input":
            x = conv("conv1_conv", self.stem_width, self.stem_kernel, 2, use_bias=True)(x)
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
        return FrozenBatchNorm(calibrate=self.calibrate, name=name)

    def _block(self, name: str, x: jax.Array) -> jax.Array:
        stage, block = block_position(name)
        width = self.widths[stage]
        # The stride sits in the last block of every stage but the last.
        stride = 2 if block == self.depths[stage] - 1 and stage < len(self.depths) - 1 else 1
        active = nn.relu(self._norm(f"{name}_preact_bn")(x))
        if block == 0:
            shortcut = conv(f"{name}_0_conv", 4 * width, 1, stride, use_bias=True)(active)
        else:
            shortcut = x[:, ::stride, ::stride]
        y = conv(f"{name}_1_conv", width, 1)(active)
        y = nn.relu(self._norm(f"{name}_1_bn")(y))
        y = conv(f"{name}_2_conv", width, 3, stride)(y)
        y = nn.relu(self._norm(f"{name}_2_bn")(y))
        return shortcut + conv(f"{name}_3_conv", 4 * width, 1, use_bias=True)(y)


def block_position(name: str) -> tuple[int, int]:
    """Stage and block, both from 0, of a layer or cut name such as `conv4_block1` or `conv4_block1_2_conv`."""
    stage, block = name.split("_")[:2]
    return int(stage.removeprefix("conv")) - 2, int(block.removeprefix("block")) - 1


def layer_cut(layer: str) -> str:
    """The last cut at or before a layer: training from that cut or an earlier one trains the layer."""
    if layer == "conv1_conv":
        return "input"
    if layer == "post_bn":
        return "post"
    return "_".join(layer.split("_")[:2])


def architecture(params: Params) -> ResNetV2:
    """The network that parameters belong to, read off their names and shapes; a stem pool is assumed."""
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
    """Global-max-pooled features f32[B, D] of images f32[B, H, W, 3]; D is 2048 for ResNet50V2."""
    return architecture(params).apply({"params": params}, images)


def calibrate_batch_norm(model: ResNetV2, params: Params, images: jax.Array) -> Params:
    """Sets every batch-norm's mean and variance to those of its input on images f32[B, H, W, 3].

    The method never trains batch-norm, which is right for pretrained weights; a network that starts from random
    ones gets its statistics here, in one pass, each layer behind already calibrated ones.
    """
    _, found = model.clone(calibrate=True).apply({"params": params}, images, mutable=["measured"])
    measured = found["measured"]
    return {layer: {**leaves, **measured.get(layer, {})} for layer, leaves in params.items()}


def parameter_count(params: Params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def multiply_adds(model: ResNetV2, image_size: int, start: str = "input", stop: str = "features") -> int:
    """Multiply-adds of the convolutions between two cuts, for one square image."""
    total, size, width = 0, image_size, 3
    chosen = model.cuts[model.position(start) : model.position(stop)]
    for cut in model.cuts[: model.position(stop)]:
        if cut == "input":
            size = (size + 1) // 2
            cost = size**2 * model.stem_kernel**2 * width * model.stem_width
            width = model.stem_width
            size = (size + 1) // 2 if model.stem_pool else size
        elif cut.startswith("post"):
            continue
        else:
            stage, block = block_position(cut)
            inner = model.widths[stage]
            last = block == model.depths[stage] - 1 and stage < len(model.depths) - 1
            out = (size + 1) // 2 if last else size
            cost = size**2 * width * inner + out**2 * (9 * inner**2 + 4 * inner**2)
            if block == 0:
                cost += out**2 * width * 4 * inner
            width, size = 4 * inner, out
        total += cost if cut in chosen else 0
    return total
