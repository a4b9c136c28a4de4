"""Computes a JAX function so that every x86-64 processor gives the same bits.

XLA rounds a product and a sum once where the processor can, and its exponentials and sines differ between instruction
sets. Here NumPy computes one operation at a time: sums, products, quotients and roots, which IEEE 754 rounds in one way
only, and all other functions by those. Nothing depends on the processor, on the number of its cores, on the vector
instructions that NumPy chooses, or on XLA's flags.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.extend import core

from fer_jax.errors import UserError

CHUNK = 8192  # values that are computed in double precision at a time, as many as a core's cache holds
LN2 = 0.6931471805599453
# Coefficients from the highest power down: of e^x; of sin(x) / x and of log((1 + s) / (1 - s)) / 2s in squares.
EXP = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
SIN = (1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0)
LOG = (1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0)
# Giles, Approximating the erfinv function (2011), in single precision: in the middle and in the tails.
ERF_INV = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
           -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
ERF_INV_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
                0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def _cpu() -> jax.Device:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        asked = jax.config.jax_platforms
        raise UserError(f"JAX_PLATFORMS is {asked}, but the CPU renders the faces; it may be {asked},cpu") from None


class Program:
    """A JAX function as a list of operations on NumPy arrays; threads may call it at once.

    Raises:
      UserError: this version of JAX computes the function by an operation that has no exact form here.
    """

    def __init__(self, traced: core.ClosedJaxpr):
        """Takes what `jax.make_jaxpr` returns."""
        self._steps, self._start = [], []
        self._inputs = [self._slot() for _ in traced.jaxpr.invars]
        self._outputs = self._add(traced, self._inputs)
        last = {slot: i for i, (_, operands, _) in enumerate(self._steps) for slot in operands}
        # Arrays go when they are read for the last time: the next ones then lie in the same memory, which is fast.
        self._gone = [[] for _ in self._steps]
        for slot in last.keys() - set(self._outputs):
            self._gone[last[slot]].append(slot)

    def __call__(self, *arguments: np.ndarray) -> list[np.ndarray]:
        """Computes the function's outputs."""
        values = list(self._start)
        for slot, argument in zip(self._inputs, arguments, strict=True):
            values[slot] = argument
        with jax.default_device(_cpu()):
            for (function, operands, result), gone in zip(self._steps, self._gone, strict=True):
                values[result] = function(*[values[slot] for slot in operands])
                for slot in gone:
                    values[slot] = None
        return [values[slot] for slot in self._outputs]

    def _slot(self, value=None) -> int:
        self._start.append(value)
        return len(self._start) - 1

    def _add(self, traced: core.ClosedJaxpr, inputs: Sequence[int]) -> list[int]:
        """Adds the operations of a function whose inputs are in these slots; returns its outputs' slots."""
        slots = dict(zip(traced.jaxpr.invars, inputs, strict=True))
        for v, value in zip(traced.jaxpr.constvars, traced.consts, strict=True):
            slots[v] = self._slot(np.asarray(value))

        def slot(v):
            return self._slot(np.asarray(v.val, v.aval.dtype)) if isinstance(v, core.Literal) else slots[v]

        for equation in traced.jaxpr.eqns:
            operands = [slot(v) for v in equation.invars]
            if equation.primitive.name in ("jit", "pjit"):
                slots.update(zip(equation.outvars, self._add(equation.params["jaxpr"], operands), strict=True))
            else:
                (result,) = equation.outvars
                slots[result] = self._slot()
                self._steps.append((_function(equation), operands, slots[result]))
        return [slot(v) for v in traced.jaxpr.outvars]


def _function(equation: core.JaxprEqn) -> Callable:
    name, parameters, result = equation.primitive.name, equation.params, equation.outvars[0].aval
    if name in IEEE:
        return _by_colour(IEEE[name]) if result.ndim == 4 else IEEE[name]
    if name in IN_DOUBLE:
        return functools.partial(_in_double, IN_DOUBLE[name])
    if name in OTHERS:
        return functools.partial(OTHERS[name], **parameters)
    if name in BY_JAX:
        function = jax.jit(functools.partial(equation.primitive.bind, **parameters))
        of_keys = jax.dtypes.issubdtype(result.dtype, jax.dtypes.prng_key)
        return function if of_keys else lambda *operands: np.asarray(function(*operands))
    raise UserError(
        f"jax {jax.__version__} draws faces by the operation {name}, which has no exact form here; it may be a version "
        "of jax that constraints.txt or pyproject.toml names"
    )


def _by_colour(function: Callable) -> Callable:
    """Lays pictures [B, H, W, 3] in memory colour by colour: NumPy is slow where the innermost axis is short."""

    def apply(*operands):
        planes = [x.transpose(3, 0, 1, 2) if x.ndim == 4 else x for x in operands]
        return function(*planes).transpose(1, 2, 3, 0)

    return apply


def _in_double(function: Callable, *operands: np.ndarray) -> np.ndarray:
    """Computes a function of flat arrays in double precision and rounds its result to single precision."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    flat = [np.broadcast_to(x, shape).ravel() for x in operands]
    result = np.empty(flat[0].size, np.float32)
    for at in range(0, result.size, CHUNK):
        result[at : at + CHUNK] = function(*(x[at : at + CHUNK].astype(np.float64) for x in flat))
    return result.reshape(shape)


def _polynomial(x, coefficients):
    total = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        total += coefficient
        total *= x
    total += coefficients[-1]
    return total


def _exp(x):
    # What is below e^-60 is nothing: processors may be told to drop numbers that are too small for all their digits.
    gone, x = x < -60.0, np.clip(x, -60.0, 88.0)
    k = np.rint(x * (1 / LN2))
    power = ((k.astype(np.int64) + 1023) << 52).view(np.float64)
    return np.where(gone, 0.0, _polynomial(x - k * LN2, EXP) * power)


def _log(x):
    m, k = np.frexp(x)
    low = m < 0.7071067811865476
    m, k = np.where(low, 2 * m, m), k - low
    s = (m - 1) / (m + 1)
    return 2 * s * _polynomial(s * s, LOG) + k * LN2


def _pow(x, y):
    """Takes x >= 0."""
    positive = x > 0
    return np.where(positive, _exp(y * _log(np.where(positive, x, 1.0))), np.where(y == 0, 1.0, 0.0))


def _sin(x):
    k = np.rint(x * (1 / np.pi))
    r = x - k * np.pi
    return r * _polynomial(r * r, SIN) * (1 - 2 * (k - 2 * np.floor(k / 2)))


def _cos(x):
    return _sin(x + np.pi / 2)


def _erf_inv(x):
    w = -_log((1 - x) * (1 + x))
    tail = np.sqrt(np.maximum(w, 5.0)) - 3
    return x * np.where(w < 5, _polynomial(np.minimum(w, 5.0) - 2.5, ERF_INV), _polynomial(tail, ERF_INV_TAIL))


def _broadcast(x, *, shape, broadcast_dimensions, **_):
    sizes = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[axis] = size
    x = x.reshape(sizes)
    return x if x.shape == shape else np.broadcast_to(x, shape)


def _integer_pow(x, *, y):
    """Multiplies the squares that the bits of y > 0 name, the lowest first."""
    result = None
    while y:
        if y & 1:
            result = x if result is None else result * x
        y >>= 1
        x = x * x if y else x
    return result


def _sum(x, *, axes, **_):
    """Adds one half to the other until one value is left, so that the order does not depend on vector widths."""
    n = len(axes)
    x = np.moveaxis(x, axes, range(n))
    x = x.reshape(-1, *x.shape[n:])
    while len(x) > 1:
        half = (len(x) + 1) // 2
        rest = x[half:]
        x = x[:half].copy()
        x[: len(rest)] += rest
    return x[0]


def _slice(x, *, start_indices, limit_indices, strides):
    steps = strides or (1,) * x.ndim
    return x[tuple(slice(*three) for three in zip(start_indices, limit_indices, steps, strict=True))]


# Operations with one right result, which every processor gives.
IEEE = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt, "neg": np.negative,
    "abs": np.abs, "sign": np.sign, "max": np.maximum, "min": np.minimum, "lt": np.less, "gt": np.greater,
    "or": np.bitwise_or, "shift_right_logical": np.right_shift,
    "select_n": lambda which, false, true: np.where(which, true, false),
}  # fmt: skip
IN_DOUBLE = {"exp": _exp, "pow": _pow, "sin": _sin, "cos": _cos, "erf_inv": _erf_inv}
# Moves, conversions and what is made of the operations above.
OTHERS = {
    "broadcast_in_dim": _broadcast,
    "integer_pow": _integer_pow,
    "reduce_sum": _sum,
    "round": lambda x, **_: np.rint(x),
    "slice": _slice,
    "squeeze": lambda x, *, dimensions: x.squeeze(tuple(dimensions)),
    "convert_element_type": lambda x, *, new_dtype, **_: x.astype(new_dtype),
    "bitcast_convert_type": lambda x, *, new_dtype: x.view(new_dtype),
}
# Whole numbers and moves alone, which XLA computes alike everywhere.
BY_JAX = ("random_seed", "random_fold_in", "random_split", "random_bits", "gather", "concatenate", "iota")
