"""PyTorch files are read without running them: right tensors, and one clear line for anything else."""

import collections
import pickle
import struct
import types

import numpy as np
import pytest

from fer_jax.errors import UserError
from fer_jax.models import torch_weights


class _Named:
    """Pickles as a call of something in another module."""

    def __init__(self, name: str, arguments: tuple):
        self.name, self.arguments = name, arguments


class _Global:
    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Pickler(pickle._Pickler):
    """Writes what torch.save did before 1.6, without torch: names, calls and storages by their own opcodes."""

    def save(self, value, *args, **kwargs):
        if isinstance(value, _Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Named):
            self.save(value.name)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(value, Storage):
            self.save(("storage", _Global("torch", value.kind), value.key, "cpu", value.size, None))
            self.write(pickle.BINPERSID)
        else:
            super().save(value, *args, **kwargs)


Storage = collections.namedtuple("Storage", "kind key size")
REBUILD = _Global("torch._utils", "_rebuild_tensor_v2")


def tensor(storage: Storage, offset: int, shape: tuple, strides: tuple) -> _Named:
    hooks = _Named(_Global("collections", "OrderedDict"), ())
    return _Named(REBUILD, (storage, offset, shape, strides, False, hooks))


def write(path, tensors: dict, contents: dict[str, np.ndarray], magic: int = torch_weights.MAGIC, tail: bytes = b""):
    with open(path, "wb") as file:
        for value in (magic, 1001, {"little_endian": True, "protocol_version": 1001}, tensors, list(contents)):
            _Pickler(file, 2).dump(value)
        for numbers in contents.values():
            file.write(struct.pack("<q", numbers.size) + numbers.tobytes())
        file.write(tail)


NUMBERS = np.arange(24, dtype=np.float32)
WHOLE = Storage("FloatStorage", "7", 24)


def test_tensors_are_views_of_their_storages(tmp_path):
    path = tmp_path / "weights.pth"
    count = Storage("LongStorage", "8", 1)
    tensors = {
        "rows": tensor(WHOLE, 0, (4, 6), (6, 1)),
        "columns": tensor(WHOLE, 0, (6, 4), (1, 6)),
        "part": tensor(WHOLE, 2, (3,), (5,)),
        "count": tensor(count, 0, (), ()),
    }
    write(path, tensors, {"7": NUMBERS, "8": np.asarray([3], np.int64)})
    found = torch_weights.load(path)
    assert list(found) == list(tensors)
    np.testing.assert_array_equal(found["rows"], NUMBERS.reshape(4, 6))
    np.testing.assert_array_equal(found["columns"], NUMBERS.reshape(4, 6).T)
    np.testing.assert_array_equal(found["part"], [2, 7, 12])
    assert found["count"] == 3


def test_nothing_in_a_file_is_executed(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "executed"
    for module, name, argument in (
        ("os", "system", f"touch {trace}"),
        ("builtins", "eval", f"open({str(trace)!r}, 'w')"),
    ):
        write(path, {"a": _Named(_Global(module, name), (argument,))}, {})
        with pytest.raises(UserError, match=rf"it names '{module}\.{name}', which tensors do not need"):
            torch_weights.load(path)
        with open(path, "wb") as file:
            pickle.dump(torch_weights.MAGIC, file, 2)
            file.write(f"c{module}\n{name}\n(S{argument!r}\ntR.".encode())
        with pytest.raises(UserError, match="which tensors do not need"):
            torch_weights.load(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("tensors", "contents", "said"),
    [
        ({"a": tensor(WHOLE, 20, (6,), (1,))}, {"7": NUMBERS}, "reaches outside its 24 numbers"),
        ({"a": tensor(WHOLE, 0, (6,), (-1,))}, {"7": NUMBERS}, "has strides"),
        ({"a": tensor(WHOLE, -4, (6,), (1,))}, {"7": NUMBERS}, "offset -4"),
        ({"a": tensor(WHOLE, 0, (6,), (1,))}, {"7": NUMBERS[:20]}, "storage 7 has 20 numbers, 24 were announced"),
        ({"a": tensor(WHOLE, 0, (2**40,), (0,))}, {"7": NUMBERS}, "reaches outside its 24 numbers"),
        ({"a": "text"}, {}, "'a' is not a tensor"),
        ({"a": tensor(WHOLE, 0, (6,), (1,))}, {}, "no PyTorch file of tensors"),
    ],
)
def test_what_contradicts_itself_is_told(tmp_path, tensors, contents, said):
    path = tmp_path / "weights.pth"
    write(path, tensors, contents)
    with pytest.raises(UserError, match=said) as error:
        torch_weights.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [2**59, 2**61, 2**62])
def test_announced_sizes_beyond_all_memory_are_told(tmp_path, size):
    path = tmp_path / "weights.pth"
    announced = types.SimpleNamespace(size=size, tobytes=lambda: b"")
    write(path, {"a": tensor(Storage("FloatStorage", "7", size), 0, (6,), (1,))}, {"7": announced})
    with pytest.raises(UserError, match="is no PyTorch file of tensors") as error:
        torch_weights.load(path)
    assert not str(error.value).endswith(": ")


def test_files_cut_anywhere_and_other_files_are_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    write(path, {"a": tensor(WHOLE, 0, (4, 6), (6, 1))}, {"7": NUMBERS})
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match="no PyTorch file of tensors") as error:
            torch_weights.load(path)
        assert "\n" not in str(error.value)
    path.write_bytes(content + b"x")
    with pytest.raises(UserError, match="something follows its last tensor"):
        torch_weights.load(path)
    write(path, {}, {}, magic=7)
    with pytest.raises(UserError, match="does not begin with PyTorch's number"):
        torch_weights.load(path)
    for other in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match=str(other)):
            torch_weights.load(other)
