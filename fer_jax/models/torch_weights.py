"""Reads tensors from a PyTorch `.pth` file, without PyTorch and without executing the pickles in it.

A pickle is a program. Here its instructions are only listed (`pickletools.genops`), and the few that a dictionary of
tensors needs are followed on plain lists and dictionaries; anything else in the file is refused.
"""

import math
import pathlib
import pickletools
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fer_jax.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
STORAGES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
REBUILD = "torch._utils _rebuild_tensor_v2"
ORDERED_DICT = "collections OrderedDict"
_MARK = object()


class _Name(NamedTuple):
    """What the file calls a class or function; never looked up."""

    name: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(Exception):
    """The file holds something else than a dictionary of tensors."""


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Loads the tensors of a state dictionary saved in PyTorch's format before 1.6, by name.

    The format: pickles of a magic number, of a version, of the machine, of the dictionary (tensors as views of numbered
    storages) and of the storages' order; then each storage's count, int64, and its little-endian numbers.

    Raises:
      UserError: the file is missing or cut short, is of another format, or holds anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except OSError as error:
        raise UserError(f"weights {path}: {error.strerror}") from None
    except (_Refused, ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError, OverflowError,
            struct.error) as error:  # fmt: skip
        # What the file says may contradict itself in any way; each way is a damaged file.
        why = str(error) or type(error).__name__
        raise UserError(f"weights {path} is no PyTorch file of tensors in the format before 1.6: {why}") from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _unpickled(file) != MAGIC:
        raise _Refused("it does not begin with PyTorch's number")
    _unpickled(file)
    if not _unpickled(file)["little_endian"]:
        raise _Refused("its numbers are big-endian")
    tensors = _unpickled(file)
    storages: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
            raise _Refused(f"{name!r} is not a tensor")
        storages[tensor.storage.key] = tensor.storage
    contents = {key: _storage(file, storages[key]) for key in _unpickled(file)}
    if file.read(1):
        raise _Refused("something follows its last tensor")
    return {name: _view(tensor, contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    (size,) = struct.unpack("<q", file.read(8))
    if size != storage.size:
        raise _Refused(f"storage {storage.key} has {size} numbers, {storage.size} were announced")
    content = file.read(size * storage.dtype.itemsize)
    if len(content) < size * storage.dtype.itemsize:
        raise _Refused("it is cut short")
    return np.frombuffer(content, storage.dtype)


def _view(tensor: _Tensor, content: np.ndarray) -> np.ndarray:
    """The numbers of one tensor, copied; a view that reaches outside its storage is refused."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise _Refused(f"a tensor of shape {shape} has strides {strides} and offset {tensor.offset}")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 in shape or last >= len(content) or math.prod(shape) > len(content):
        raise _Refused(f"a tensor of shape {shape} reaches outside its {len(content)} numbers")
    size = content.itemsize
    view = np.lib.stride_tricks.as_strided(content[tensor.offset :], shape, [size * stride for stride in strides])
    return view.copy()


def _unpickled(file: BinaryIO) -> Any:
    """The value of the next pickle, of plain values, names, storages and tensors; nothing is called or imported."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def popped_to_mark() -> list[Any]:
        at = max(i for i, value in enumerate(stack) if value is _MARK)
        taken = stack[at + 1 :]
        del stack[at:]
        return taken

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                stack.append(_MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "GLOBAL":
                stack.append(_Name(_known(argument)))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[opcode.name]())
            case "TUPLE":
                stack.append(tuple(popped_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(opcode.name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = popped_to_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                values = popped_to_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "BINPERSID":
                stack.append(_announced(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_reduced(stack.pop(), arguments))
            case "BUILD":
                stack.pop()  # a state dictionary's version numbers, kept as an attribute of the dictionary
            case _:
                raise _Refused(f"it uses pickle's {opcode.name}, which tensors do not need")
    raise _Refused("it is cut short")


def _known(name: str) -> str:
    if name not in (*STORAGES, REBUILD, ORDERED_DICT):
        raise _Refused(f"it names {name.replace(' ', '.')!r}, which tensors do not need")
    return name


def _announced(persistent_id: tuple) -> _Storage:
    kind, storage, key, _, size, view = persistent_id
    if kind != "storage" or view is not None:
        raise _Refused("it refers to something else than a storage")
    return _Storage(key, STORAGES[storage.name], size)


def _reduced(function: _Name, arguments: tuple) -> Any:
    if function.name == ORDERED_DICT and not arguments:
        return {}
    if function.name == REBUILD and isinstance(arguments[0], _Storage):
        return _Tensor(*arguments[:4])
    raise _Refused(f"it calls {function.name.replace(' ', '.')!r}, which tensors do not need")
