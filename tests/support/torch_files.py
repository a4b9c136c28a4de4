"""Weights that any program can make from names and shapes alone, and files of them; numpy is all that this needs.

`tests/reference/make_torch_vectors.py` puts the same numbers into the reference implementations.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping

import numpy as np


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns standard normal numbers f32 of a shape that depend on a name."""
    seed = list(hashlib.sha256(name.encode()).digest())
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the tensor of a name, of a size that keeps activations near 1."""
    if name.endswith(("num_batches_tracked", "position_ids")):
        return np.zeros(shape, np.int64)
    n = np.asarray(numbers(name, shape))
    if name.endswith("running_var"):
        return 0.5 + np.abs(n)
    scale, offset = np.float32(0.1), np.float32(0)
    if any(part in name for part in ("token", "pos", "class_embedding")):
        scale = np.float32(0.5)
    elif len(shape) > 1:
        scale = np.float32(np.prod(shape[1:]) ** -0.5)
    elif not name.endswith(("bias", "running_mean")):
        offset = np.float32(1)
    return np.asarray(offset + scale * n)


def tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns the tensors of all names."""
    return {name: tensor(name, tuple(shape)) for name, shape in shapes.items()}


def images(size: int, count: int = 2) -> np.ndarray:
    """Returns images f32[count, size, size, 3] as if normalised."""
    return numbers(f"images {size}", (count, size, size, 3))


def write_safetensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a .safetensors file."""
    kinds = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int8": "I8"}
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": kinds[array.dtype.name], "shape": array.shape, "data_offsets": (end, end := end + array.nbytes)
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ravel(array).view(np.uint8).data)
