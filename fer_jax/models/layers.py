"""Layers that the backbones share, each in the form that is fastest where it runs.

Convolution kernels have Keras' layout, [height, width, in, out]; batch-norm is never trained.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

# How a convolution is computed: by the library's own, as matrix products over patches, or as is faster here.
FORMS = ("auto", "library", "product")
Pads = tuple[tuple[int, int], ...]  # before and after, by axis
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
        exact = (x.astype(jnp.float32), kernel[:, :, 0].astype(jnp.float32))
        return _shifted_sum(*exact, strides[0], tuple(pads)).astype(x.dtype)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted_sum(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """A depthwise convolution of [B, H, W, D] with [h, w, D], as a sum over the kernel's entries.

    It has a gradient and no forward derivative (`jax.jvp`).
    """
    add_row, total = _rows(x, kernel, stride, pads)
    return functools.reduce(lambda total, i: add_row(i, total), range(len(kernel)), total)


def _shifted_sum_forward(x, kernel, stride, pads):
    # XLA:CPU keeps what comes out of a loop. Without the loop it computed each output anew wherever it was read, for
    # each entry of the kernel, and the gradient of the whole network took 3.5 times as long.
    add_row, total = _rows(x, kernel, stride, pads)
    return jax.lax.fori_loop(0, len(kernel), add_row, total), (x, kernel)


def _rows(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> tuple[Callable, jax.Array]:
    """Returns what adds the share of a kernel's row to a sum, and the sum of none; B may be symbolic."""
    (height, width, depth), x = kernel.shape, jnp.pad(x, ((0, 0), *pads, (0, 0)))
    down, across = ((side - size) // stride + 1 for side, size in zip(x.shape[1:3], (height, width), strict=True))

    def add_row(i: int | jax.Array, total: jax.Array) -> jax.Array:
        row = _row(x, i, down, stride)
        for j in range(width):
            total = total + _window(row, 2, j, width, stride) * kernel[i, j]
        return total

    return add_row, jnp.zeros((x.shape[0], down, across, depth), x.dtype)


def _row(x: jax.Array, i: int | jax.Array, steps: int, stride: int) -> jax.Array:
    """Returns the rows of padded [B, H, W, D] that row i of a kernel sees in its windows."""
    return jax.lax.dynamic_slice_in_dim(x, i, stride * (steps - 1) + 1, 1)[:, ::stride]


def _shifted_sum_backward(stride, pads, saved, slope):
    x, kernel = saved
    # The gradient by x is a sum over the flipped kernel, of the slope with zeros between and around.
    around = []
    for axis in range(2):
        size, side, reach = kernel.shape[axis], x.shape[1 + axis], stride * (slope.shape[1 + axis] - 1) + 1
        low = size - 1 - pads[axis][0]
        around.append((low, side + size - 1 - low - reach, stride - 1))
    wide = jax.lax.pad(slope, jnp.zeros((), slope.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    add_by_x, zero = _rows(wide, kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))
    (height, width, _), padded = kernel.shape, jnp.pad(x, ((0, 0), *pads, (0, 0)))

    def add_row(i, carry):
        by_x, by_kernel = carry
        seen = _row(padded, i, slope.shape[1], stride)
        by_row = [jnp.sum(_window(seen, 2, j, width, stride) * slope, (0, 1, 2)) for j in range(width)]
        return add_by_x(i, by_x), jax.lax.dynamic_update_index_in_dim(by_kernel, jnp.stack(by_row), i, 0)

    return jax.lax.fori_loop(0, height, add_row, (zero, jnp.zeros_like(kernel)))


_shifted_sum.defvjp(_shifted_sum_forward, _shifted_sum_backward)


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
