"""Layers that the backbones share, each in the form that is fastest where it runs.

Convolution kernels have Keras' layout, [height, width, in, out]; batch-norm is never trained.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

# How a convolution is computed: by the library's own, as matrix products over patches, or as is faster here.
FORMS = ("auto", "library", "product")
BATCH_STATISTICS = ("scale", "bias", "mean", "var")


class FrozenBatchNorm(nn.Module):
    """Batch-norm in inference mode, never trained; with `calibrate` it measures its own input first."""

    epsilon: float
    calibrate: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean = self.param("mean", nn.initializers.zeros, width)
        var = self.param("var", nn.initializers.ones, width)
        if self.calibrate:
            exact = x.astype(jnp.float32)
            mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
            for name, value in (("mean", mean), ("var", var)):
                self.sow("measured", name, value, reduce_fn=lambda _, new: new, init_fn=lambda: 0)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)


def conv(
    name: str,
    width: int,
    kernel: int,
    stride: int = 1,
    use_bias: bool = False,
    same: bool = False,
    form: str = "auto",
    dtype: type | None = None,
) -> nn.Conv:
    """Makes a convolution with He-normal kernels and zero padding, in one of FORMS and a dtype (`models.precision`).

    Pads are (kernel - 1) / 2 on every side, or with `same` those of TensorFlow's SAME, which for a stride are one less
    above and on the left wherever the sum is odd.
    """
    pad = (kernel - 1) // 2
    return nn.Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        padding="SAME" if same else ((pad, pad), (pad, pad)),
        use_bias=use_bias,
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=functools.partial(_convolve, form=form),
        dtype=dtype,
        name=name,
    )


def depthwise_conv(
    name: str,
    width: int,
    kernel: int,
    stride: int = 1,
    same: bool = True,
    form: str = "auto",
    dtype: type | None = None,
) -> nn.Conv:
    """Makes a depthwise convolution, He-normal; kernel [height, width, 1, width].

    Pads are those of `conv`, by default TensorFlow's SAME.
    """
    pad = (kernel - 1) // 2
    return nn.Conv(
        width,
        (kernel, kernel),
        (stride, stride),
        padding="SAME" if same else ((pad, pad), (pad, pad)),
        feature_group_count=width,
        use_bias=False,
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=functools.partial(_convolve, form=form),
        dtype=dtype,
        name=name,
    )


def _convolve(x, kernel, strides, padding, *, feature_group_count=1, form="auto", **settings) -> jax.Array:
    """The one place where the form of a convolution is chosen.

    On XLA:CPU a 1×1 one is a matrix product; a small kernel over few channels (a stem) a matrix product over patches,
    but for its gradient where it has 24 outputs and more (`_stem`); and a depthwise one the sum of its shifted, scaled
    inputs, 8 to 60 times faster forward and up to 70 times in its gradient. A 3×3 one to 2×2 outputs takes a quarter of
    the library's time as a product over patches, to 7×7 four fifths; to 4×4, 8×8 and most others it takes more.
    """
    height, width, channels, outputs = kernel.shape
    depthwise = feature_group_count > 1 and feature_group_count == x.shape[-1] == kernel.shape[-1]
    pads = _explicit(padding, x.shape[1:3], kernel.shape[:2], strides)
    if form == "auto":
        form = "library"
        side = (x.shape[1] + sum(pads[0]) - height) // strides[0] + 1
        stem = channels <= 4 and height * width <= 25
        small = height * width == 1 or (stem and outputs < 24) or side < 4 or side == 7
        if jax.default_backend() == "cpu" and (depthwise or (feature_group_count == 1 and small)):
            form = "product"
        elif jax.default_backend() == "cpu" and stem and side <= 48:
            return _stem(x, kernel, tuple(strides), tuple(pads))
    if form == "library":
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, feature_group_count=feature_group_count, **settings
        )
    if depthwise:
        return _shifted_sum(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel[:, :, 0], strides[0])
    if height * width == 1:
        return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    return _over_patches(x, kernel, strides, pads)


def _over_patches(x, kernel, strides, pads) -> jax.Array:
    """A convolution as a matrix product over patches."""
    height, width = kernel.shape[:2]
    patches = _patches(jnp.pad(x, ((0, 0), *pads, (0, 0))), height, width, strides[0])
    return patches @ kernel.reshape(-1, kernel.shape[-1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _stem(x, kernel, strides, pads) -> jax.Array:
    """A convolution over few channels: a product over patches forward, and in its gradient the library's.

    The library takes 15 ms of CPU time for 32 images of 64 pixels, 5×5×3 to 24, the product 4; of the gradient by the
    kernel the library takes 3, the product 5.
    """
    return _over_patches(x, kernel, strides, pads)


@functools.partial(_stem.defjvp, symbolic_zeros=True)
def _stem_jvp(strides, pads, primals, tangents):
    x, kernel = primals
    pairs = [(tangents[0], kernel), (x, tangents[1])]
    moves = [pair for pair in pairs if not any(isinstance(one, SymbolicZero) for one in pair)]
    library = functools.partial(
        jax.lax.conv_general_dilated, window_strides=strides, padding=pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return _stem(x, kernel, strides, pads), sum(library(*move) for move in moves)


def _explicit(padding, size, kernel, strides) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(size, kernel, strides, padding)
    return list(padding)


def _shifted_sum(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A depthwise convolution of padded [B, H, W, D] with [h, w, D], as a sum over the kernel's entries, in float32."""
    height, width, _ = kernel.shape
    dtype, x, kernel = x.dtype, x.astype(jnp.float32), kernel.astype(jnp.float32)
    rows = [_window(x, 1, i, height, stride) for i in range(height)]
    terms = [_window(row, 2, j, width, stride) * kernel[i, j] for i, row in enumerate(rows) for j in range(width)]
    return functools.reduce(jnp.add, terms).astype(dtype)


def _patches(x: jax.Array, height: int, width: int, stride: int) -> jax.Array:
    """Windows of f32[B, H, W, D] laid side by side, f32[B, H', W', height * width * D]."""
    # Columns first: few channels lie side by side then, before most of the memory is moved.
    wide = jnp.concatenate([_window(x, 2, j, width, stride) for j in range(width)], axis=-1)
    return jnp.concatenate([_window(wide, 1, i, height, stride) for i in range(height)], axis=-1)


def _window(x: jax.Array, axis: int, offset: int, size: int, stride: int) -> jax.Array:
    """The entry at `offset` in every window of a size along an axis."""
    steps = (x.shape[axis] - size) // stride
    return jax.lax.slice_in_dim(x, offset, offset + stride * steps + 1, stride, axis)


def max_pool(x: jax.Array, size: int = 3, stride: int = 2) -> jax.Array:
    """Computes the maximum over windows of f32[B, H, W, D], without padding.

    Written as a maximum of slices, an axis at a time: the gradient of XLA's own windowed maximum is 10 times slower on
    the CPU. Where two entries tie they share the gradient.
    """
    for axis in (1, 2):
        x = functools.reduce(jnp.maximum, [_window(x, axis, i, size, stride) for i in range(size)])
    return x
