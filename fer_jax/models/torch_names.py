"""The parameters of a backbone, put together from a file's tensors by name; each tensor is used once or named.

PyTorch's kernels are [out, in, height, width] and [out, in]; ours are [height, width, in, out] and [in, out].
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.errors import UserError
from fer_jax.models import tensors, torch_weights

NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = ".num_batches_tracked"  # PyTorch's own, of training; it says nothing here
CLASSIFIER = r"(?:fc|head|classifier)\..*"

Params = Any
Shape = tuple[int, ...]
Shapes = Mapping[str, Mapping[str, Shape]]


class Entry(NamedTuple):
    """The names of the tensors that make one parameter, joined along their first axis, and the shape of each."""

    names: tuple[str, ...]
    shape: Shape


def entry(place: str | tuple[str, ...], leaf: str, shape: Shape) -> Entry:
    """Returns the entry of a parameter of ours with a shape, in the module or modules that the file calls `place`."""
    places = (place,) if isinstance(place, str) else place
    names = tuple(f"{one}.{'weight' if leaf == 'kernel' else NORM[leaf]}" for one in places)
    theirs = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    return Entry(names, (theirs[0] // len(places), *theirs[1:]))


def entries(shapes: Shapes, places: Mapping[str, str]) -> dict[tuple[str, str], Entry]:
    """Returns the entries of all parameters, by the module that the file calls each layer."""
    return {
        (layer, leaf): entry(places[layer], leaf, shape)
        for layer, leaves in shapes.items()
        for leaf, shape in leaves.items()
    }


class Beside(NamedTuple):
    """Regular expressions for whole names of tensors that a file may have beside the backbone, such as a classifier's.

    within: behind the prefix of the backbone's own names, such as `module.backbone.`. outside: behind less of it, such
      as `module.` or nothing.
    """

    within: str = CLASSIFIER
    outside: str = CLASSIFIER


CLASSIFIERS = Beside()


def prefix(path: pathlib.Path, arrays: Mapping[str, np.ndarray], first: str) -> str:
    """Returns what stands before the name of a well-known tensor, such as `module.` or `backbone.`, or nothing.

    Raises:
      UserError: there is no such tensor, or several.
    """
    found = [name for name in arrays if name == first or name.endswith(f".{first}")]
    if len(found) != 1:
        many = f"{len(found)} tensors" if found else "no tensor"
        raise UserError(f"weights {path} has {many} called {first}, with which the network begins; it may have one")
    return found[0].removesuffix(first)


def fitted(
    path: pathlib.Path,
    arrays: Mapping[str, np.ndarray],
    before: str,
    wanted: Mapping[tuple[str, str], Entry],
    shapes: Shapes,
    beside: Beside = CLASSIFIERS,
) -> Params:
    """Returns the parameters f32 of a backbone with these shapes, {layer: {leaf: array}}.

    Args:
      arrays: the tensors of the file by name.
      before: the prefix of the backbone's own names, as `prefix` returns it.
      wanted: of each parameter, the tensors that it is made of, without that prefix.

    Raises:
      UserError: a tensor is missing, of another shape, of whole numbers, not finite, a variance below 0, or neither the
        backbone's nor beside it; one line names it. Or all numbers are 0.
    """
    expected = {f"{before}{name}": one.shape for one in wanted.values() for name in one.names}
    found = {name: array.shape for name, array in arrays.items()
             if name in expected or not _beside(name, before, expected, beside)}  # fmt: skip
    tensors.check(f"weights {path}", found, expected)
    for name in expected:
        if not jnp.issubdtype(arrays[name].dtype, jnp.floating):
            raise UserError(f"weights {path}: {name} is of {arrays[name].dtype}; it may be of float numbers only")
    params: Params = {}
    something = False
    for (layer, leaf), one in wanted.items():
        parts = [arrays[f"{before}{name}"] for name in one.names]
        value = _ours(parts, leaf, shapes[layer][leaf])
        torch_weights.release(parts[0])  # else the whole file lies in memory beside the parameters
        tensors.check_numbers(f"weights {path}: {before}{one.names[0]}", value, leaf)
        something = something or bool(value.any())
        params.setdefault(layer, {})[leaf] = jax.device_put(value)  # jnp.asarray compiles a program a shape
    if not something:
        raise UserError(f"weights {path}: every number is 0; the file was written before its tensors were filled")
    return params


def _beside(name: str, before: str, expected: Mapping[str, Shape], beside: Beside) -> bool:
    """Returns True for a tensor that says nothing of the backbone: of what lies beside it, or a counter of its own."""
    if name.endswith(COUNTER):
        return f"{name.removesuffix(COUNTER)}.{NORM['mean']}" in expected
    if name.startswith(before):
        return re.fullmatch(beside.within, name.removeprefix(before)) is not None
    parts = before.split(".")
    starts = [".".join(parts[:n]) + "." * (n > 0) for n in range(len(parts) - 1)]
    return any(name.startswith(one) and re.fullmatch(beside.outside, name.removeprefix(one)) for one in starts)


def _ours(parts: list[np.ndarray], leaf: str, shape: Shape) -> np.ndarray:
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if leaf == "kernel":
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    with np.errstate(over="ignore"):  # infinity is told by name
        # A copy in every case: JAX may take the memory over, and that of the file is not ours.
        return np.array(array, np.float32, order="C").reshape(shape)
