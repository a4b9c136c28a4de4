"""Reads tensors by name from `.safetensors` and PyTorch files, without PyTorch; the pickles in them are not executed.

A pickle is a program. Here its instructions are only listed (`pickletools.genops`), and those that tensors,
dictionaries and modules need are followed on plain lists and dictionaries. A class or function is a name that is never
looked up. Files are mapped into memory: an array is read when it is used.
"""

import contextlib
import io
import json
import logging
import math
import mmap
import pathlib
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from fer_jax.errors import UserError
from fer_jax.models import tensors

log = logging.getLogger("fer_jax")

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
STORAGES = {
    f"torch {name}Storage": np.dtype(dtype)
    for name, dtype in {
        "Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": _BFLOAT16, "Long": "<i8", "Int": "<i4",
        "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?",
    }.items()
}  # fmt: skip
SAFE_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": _BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
REBUILD = "torch._utils _rebuild_tensor_v2"
PARAMETERS = ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state")
ORDERED_DICT = "collections OrderedDict"
# Modules whose names a saved model or checkpoint may hold beside its tensors; whatever they name is passed over.
HARMLESS = ("torch", "torchvision", "timm", "__torch__", "numpy", "argparse", "collections")
PASSED_OVER = ("functools partial", "_codecs encode", "__builtin__ set", "builtins set")
# What training scripts call the dictionary of tensors in a checkpoint; the first that is there is read. Averages of
# the weights over training (EMA) come after the weights themselves, but for DINO's teacher.
WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "teacher", "net", "weights", "params", "student",
            "state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema")  # fmt: skip
_HEAD = 100  # bytes, by which a file's kind is known
_HEADER_LIMIT = 100_000_000  # bytes, as the safetensors library has it
_PICKLE_LIMIT = 20_000_000  # bytes; of a published network it has less than one million
_MODULES_LIMIT = 10_000
_NAME_LIMIT = 300  # characters
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


class _Object:
    """An instance of a class that is not looked up, and the attributes that the file gives it."""

    def __init__(self):
        self.attributes: dict[str, Any] = {}


class _Refused(Exception):
    """The file holds something that tensors do not need, or contradicts itself."""


class Read(NamedTuple):
    """The tensors of a file by name, and which set of tensors they are where it has several, in words."""

    tensors: dict[str, np.ndarray]
    of_several: str = ""


# What a file says may contradict itself in any way; each way is a damaged file.
_DAMAGED = (_Refused, ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError, OverflowError,
            RecursionError, struct.error, zipfile.BadZipFile, NotImplementedError)  # fmt: skip


@contextlib.contextmanager
def _of(name: str) -> Iterator[None]:
    """Puts a tensor's name before what is wrong with it."""
    if len(name) > _NAME_LIMIT or not name.isprintable():
        raise _Refused(f"{name[:40]!r} is not a tensor's name")
    try:
        yield
    except _DAMAGED as error:
        raise _Refused(f"{name}: {_words(error)}") from None


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[: 2 * _NAME_LIMIT] or type(error).__name__


def load(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Loads all tensors of a file by name, as read-only views of the mapped file in the file's own number types.

    The content says which format it is: `.safetensors`; the zip archive that `torch.save` writes since 1.6,
    TorchScript's among them; or its format before 1.6. A PyTorch file may hold a dictionary of tensors, such a
    dictionary inside a checkpoint (the first of `WRAPPERS`; the log names it where there are others), or a whole
    module, whose tensors are named as its `state_dict()` names them. An archive's checksums are not compared.

    Raises:
      UserError: the file is missing or cut short, is of another format, or names what tensors do not need.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            tensors.check_no_text(f"weights {path}", head)
            kind, read = _kind(head)
            content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8) if head else None
            found, of_several = read(file, content)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"weights {path}: {error.strerror or error}") from None
    except _DAMAGED as error:
        raise UserError(f"weights {path} is no {kind}: {_words(error)}") from None
    if of_several:
        log.info("weights %s: %s", path, of_several)
    return found


def release(array: np.ndarray) -> None:
    """Takes the file of an array that `load` returned out of memory; what is used again is read again."""
    base = array
    while getattr(base, "base", None) is not None:
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _kind(head: bytes):
    """Returns a format in words, and what reads it, by a file's first bytes."""
    if head.startswith(b"PK"):
        return "PyTorch file of tensors", _from_archive
    if head[8:9] == b"{":
        return "safetensors file", _from_safetensors
    return "PyTorch file of tensors", _from_pickles


def _from_safetensors(file: BinaryIO, content: np.ndarray) -> Read:
    """Reads a header of JSON and the numbers behind it (huggingface/safetensors, format of 2023)."""
    del file
    (length,) = struct.unpack("<Q", content[:8].tobytes())
    there = min(_HEADER_LIMIT, len(content) - 8)
    if length > there:
        raise _Refused(f"its header says that it has {length} bytes; it may have up to {there}")
    header, content = json.loads(content[8 : 8 + length].tobytes(), object_pairs_hook=_once), content[8 + length :]
    header.pop("__metadata__", None)
    places = {}
    for name, entry in header.items():
        with _of(name):
            places[name] = _place(entry)
    views, end = {}, 0
    for name, (begin, stop, dtype, shape) in sorted(places.items(), key=lambda item: item[1][:2]):
        with _of(name):
            if begin != end:
                raise _Refused(f"it begins at byte {begin}, and what lies before it ends at {end}")
            if stop > len(content):
                raise _Refused(f"it is cut short: it ends at byte {stop} of {len(content)}")
            views[name], end = content[begin:stop].view(dtype).reshape(shape), stop
    if end != len(content):
        raise _Refused("something follows its last tensor")
    return Read({name: views[name] for name in header})


def _once(pairs: Iterable[tuple], found: dict | None = None) -> dict:
    """Returns a dictionary of pairs, added to what is there; no key may be there twice."""
    found = {} if found is None else found
    for key, value in pairs:
        if key in found:
            raise _Refused(f"{str(key)[:_NAME_LIMIT]} is there twice")
        found[key] = value
    return found


def _place(entry: Mapping[str, Any]) -> tuple[int, int, np.dtype, tuple[int, ...]]:
    """Returns a tensor's first byte and the one after its last, its number type and shape, as a header has them."""
    for key in ("dtype", "shape", "data_offsets"):
        if key not in entry:
            raise _Refused(f"it has no {key}")
    shape, (begin, stop) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)):
        raise _Refused(f"its shape is {entry['shape']} at {entry['data_offsets']}; both may have whole numbers from 0")
    if entry["dtype"] not in SAFE_DTYPES:
        raise _Refused(f"it is of {entry['dtype']}; it may be one of {', '.join(SAFE_DTYPES)}")
    dtype = np.dtype(SAFE_DTYPES[entry["dtype"]])
    if stop - begin != math.prod(shape) * dtype.itemsize:
        raise _Refused(f"it has {stop - begin} bytes, and its shape is {shape} of {entry['dtype']}")
    return begin, stop, dtype, shape


def _from_archive(file: BinaryIO, content: np.ndarray) -> Read:
    """Reads a zip archive: data.pkl with everything but the numbers, which are files of their own."""
    with zipfile.ZipFile(file) as archive:
        entries = _once((entry.filename, entry) for entry in archive.infolist())
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Refused(f"it has {len(pickles)} files data.pkl; it may have one, in a folder")
    root = pickles[0].removesuffix("data.pkl")

    def stored(name: str) -> np.ndarray:
        # As PyTorch stores it: what is compressed could be of any size.
        if f"{root}{name}" not in entries:
            raise _Refused(f"{root}{name} is missing")
        entry = entries[f"{root}{name}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"{root}{name} is compressed")
        lengths = struct.unpack("<HH", content[entry.header_offset + 26 :][:4].tobytes())
        begin = entry.header_offset + 30 + sum(lengths)
        return content[begin : begin + entry.file_size]

    if f"{root}byteorder" in entries and stored("byteorder").tobytes() != b"little":
        raise _Refused("its numbers are big-endian")
    places, of_several = _tensors(_unpickled(io.BytesIO(stored("data.pkl").tobytes())))
    return Read(_views(places, lambda storage: _numbers(storage, stored(f"data/{storage.key}"))), of_several)


def _from_pickles(file: BinaryIO, content: np.ndarray | None) -> Read:
    """Reads the format before 1.6.

    Pickles of a magic number, of a version, of the machine, of the dictionary (tensors as views of numbered storages)
    and of the storages' order; then each storage's count, int64, and its little-endian numbers.
    """
    file.seek(0)
    if _unpickled(file) != MAGIC:
        raise _Refused("it does not begin with PyTorch's number")
    _unpickled(file)
    if not _unpickled(file)["little_endian"]:
        raise _Refused("its numbers are big-endian")
    announced: dict[str, _Storage] = {}  # those of an optimizer's numbers among them, whose tensors are not read
    places, of_several = _tensors(_unpickled(file, announced))
    names = {tensor.storage.key: name for name, tensor in places.items()}
    order, at, stored = _unpickled(file), file.tell(), {}
    for key in order:
        if key not in announced:
            raise _Refused(f"it has a storage {key} that no tensor is in")
        storage = announced[key]
        with _of(names.get(key, "a tensor beside them")):
            (size,) = struct.unpack("<q", content[at : at + 8].tobytes())
            if size != storage.size:
                raise _Refused(f"storage {key} has {size} numbers, {storage.size} were announced")
            at, end = at + 8, at + 8 + size * storage.dtype.itemsize
            stored[key], at = _numbers(storage, content[at:end]), end
    if at != len(content):
        raise _Refused("something follows its last tensor")

    def numbers(storage: _Storage) -> np.ndarray:
        if storage.key not in stored:
            raise _Refused(f"storage {storage.key} is missing")
        return stored[storage.key]

    return Read(_views(places, numbers), of_several)


def _numbers(storage: _Storage, content: np.ndarray) -> np.ndarray:
    if len(content) != storage.size * storage.dtype.itemsize:
        raise _Refused(f"it is cut short: storage {storage.key} has {len(content)} bytes")
    return content.view(storage.dtype)


def _views(places: Mapping[str, _Tensor], numbers: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    views = {}
    for name, tensor in places.items():
        with _of(name):
            views[name] = _view(tensor, numbers(tensor.storage))
    return views


def _tensors(found: Any) -> tuple[dict[str, _Tensor], str]:
    """Returns the tensors of what a file holds, by name, and in words which are taken where there are several sets."""
    if isinstance(found, _Object):
        return _of_module(found), ""
    if not isinstance(found, dict):
        raise _Refused(f"it holds a {type(found).__name__.strip('_').lower()}, not a dictionary of tensors")
    sets = [] if any(isinstance(value, _Tensor) for value in found.values()) else _sets(found)
    taken = next((key for key in WRAPPERS if key in sets), None)
    if taken is not None:
        tensors, of_several = _tensors(found[taken])
        others = ", ".join(str(key)[:_NAME_LIMIT] for key in sets if key != taken)
        return tensors, f"the tensors of {taken} are read, those of {others} are not" if others else of_several
    if sets:
        names = ", ".join(repr(key)[:40] for key in sets)
        raise _Refused(f"its tensors are in {names}; they may be in one of {', '.join(WRAPPERS)}")
    for name, tensor in found.items():
        if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
            raise _Refused(f"{str(name)[:40]!r} is not a tensor")
    return found, ""


def _sets(found: dict, depth: int = 3) -> list:
    """Returns the keys of a checkpoint under which there are tensors by name, or a module, or another checkpoint."""

    def has(key: Any, value: Any) -> bool:
        if isinstance(value, _Object):
            return bool(_of_module(value))
        if not isinstance(value, dict):
            return False
        inner = depth > 1 and key in WRAPPERS and _sets(value, depth - 1)
        return bool(inner) or any(isinstance(one, _Tensor) for one in value.values())

    return [key for key, value in found.items() if has(key, value)]


def _of_module(module: _Object) -> dict[str, _Tensor]:
    """Returns a module's parameters and buffers, and those of the modules in it, by name.

    PyTorch keeps them in dictionaries of their own; a TorchScript module has them as its attributes.
    """
    found: dict[str, _Tensor] = {}
    waiting = [("", module)]
    for _ in range(_MODULES_LIMIT):  # modules that lie in each other have no end
        if not waiting:
            return found
        prefix, module = waiting.pop()
        groups = [module.attributes.get(key) for key in ("_parameters", "_buffers", "_modules")]
        groups = [group for group in groups if isinstance(group, dict)] or [module.attributes]
        members = [(f"{prefix}{name}", value) for group in groups for name, value in group.items()]
        found |= {name: value for name, value in members if isinstance(value, _Tensor)}
        waiting += reversed([(f"{name}.", value) for name, value in members if isinstance(value, _Object)])
    raise _Refused(f"it has {_MODULES_LIMIT} modules and more")


def _view(tensor: _Tensor, content: np.ndarray) -> np.ndarray:
    """Returns the numbers of one tensor; a view that reaches outside its storage is refused."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise _Refused(f"a tensor of shape {shape} has strides {strides} and offset {tensor.offset}")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, content.dtype)
    if last >= len(content) or math.prod(shape) > len(content):
        raise _Refused(f"a tensor of shape {shape} reaches outside its {len(content)} numbers")
    size = content.itemsize
    begin = content[tensor.offset :]
    return np.lib.stride_tricks.as_strided(begin, shape, [size * stride for stride in strides], writeable=False)


class _Stack(list):
    """The values of a pickle machine."""

    def to_mark(self) -> list[Any]:
        """Removes and returns the values above the last mark, and the mark."""
        at = next((i for i in reversed(range(len(self))) if self[i] is _MARK), None)
        if at is None:
            raise _Refused("its pickle closes what it did not open")
        taken = self[at + 1 :]
        del self[at:]
        return taken


_PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
          "BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING", "INT", "FLOAT", "LONG", "UNICODE"}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}


def _unpickled(file: BinaryIO, announced: dict[str, _Storage] | None = None) -> Any:
    """Returns the value of the next pickle, of plain values, names, storages, tensors and objects; nothing is called or
    imported.

    announced: takes the storages that it names, by key.
    """
    announced = {} if announced is None else announced
    stack, memo, begin = _Stack(), {}, file.tell()
    for opcode, argument, position in pickletools.genops(file):
        if position - begin > _PICKLE_LIMIT:
            raise _Refused(f"its pickle has more than {_PICKLE_LIMIT} bytes")
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])
            case name if name in _PLAIN:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case "BINPERSID":
                storage = _announced(stack.pop())
                if announced.setdefault(storage.key, storage) != storage:
                    raise _Refused(f"storage {storage.key} is announced in two ways")
                stack.append(storage)
            case name:
                _follow(name, argument, stack)
    raise _Refused("it is cut short")


def _follow(opcode: str, argument: Any, stack: _Stack) -> None:
    """Follows an instruction that takes values from the stack."""
    match opcode:
        case "MARK":
            stack.append(_MARK)
        case "GLOBAL":
            stack.append(_Name(_known(argument)))
        case "STACK_GLOBAL":
            name = stack.pop()
            stack.append(_Name(_known(f"{stack.pop()} {name}")))
        case "TUPLE":
            stack.append(tuple(stack.to_mark()))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            length = int(opcode[-1])
            stack[-length:] = [tuple(stack[-length:])]
        case "APPEND":
            value = stack.pop()
            _items(stack[-1], list).append(value)
        case "APPENDS" | "ADDITEMS":
            values = stack.to_mark()
            _items(stack[-1], list).extend(values)
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            _once([(key, value)], _items(stack[-1], dict))
        case "SETITEMS":
            values = stack.to_mark()
            _once(zip(values[::2], values[1::2], strict=True), _items(stack[-1], dict))
        case "REDUCE" | "NEWOBJ":
            arguments = stack.pop()
            stack.append(_reduced(stack.pop(), arguments))
        case "BUILD":
            state = stack.pop()
            # The attributes of a dictionary are a state dictionary's version numbers.
            if isinstance(stack[-1], _Object) and isinstance(state, dict):
                stack[-1].attributes.update(state)
        case _:
            raise _Refused(f"it uses pickle's {opcode}, which tensors do not need")


def _items(value: Any, kind: type) -> Any:
    """Returns the items of a list or dictionary; an object that is one by its class keeps none."""
    return kind() if isinstance(value, _Object) else value


def _known(name: str) -> str:
    module = name.split(" ")[0].split(".")[0]
    if module not in HARMLESS and name not in PASSED_OVER:
        raise _Refused(f"it names {name.replace(' ', '.')!r}, which tensors do not need")
    return name


def _announced(persistent_id: tuple) -> _Storage:
    kind, storage, key, _, size, *view = persistent_id
    if kind != "storage" or any(one is not None for one in view):
        raise _Refused("it refers to something else than a storage")
    if storage.name not in STORAGES:
        raise _Refused(f"it has a {storage.name.replace(' ', '.')}; it may be one of {', '.join(STORAGES)}")
    return _Storage(key, STORAGES[storage.name], size)


def _reduced(function: _Name, arguments: tuple) -> Any:
    """Returns what a call stands for: a tensor, a dictionary, or an object of which nothing is known but its name."""
    if not isinstance(function, _Name):
        raise _Refused("it calls something that is no function")
    if function.name == ORDERED_DICT:
        return dict(*arguments)
    if function.name == REBUILD and isinstance(arguments[0], _Storage):
        return _Tensor(*arguments[:4])
    if function.name in PARAMETERS and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if function.name.startswith("torch.jit._pickle ") and arguments:
        return arguments[0]  # a list, and the type of its items
    return _Object()
