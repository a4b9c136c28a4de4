"""Files of tensors are read without running them: right tensors, and one clear line for anything else."""

import collections
import io
import json
import pathlib
import pickle
import struct
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from fer_jax.errors import UserError
from fer_jax.models import torch_weights
from tests.support import torch_files


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


REFERENCE = pathlib.Path(__file__).parents[1] / "reference"
WRITTEN = {
    "rows": NUMBERS.reshape(4, 6), "columns": NUMBERS.reshape(4, 6).T, "part": NUMBERS[2:13:5],
    "half": NUMBERS[:4].astype(np.float16), "brain": NUMBERS[:4].astype(ml_dtypes.bfloat16),
    "double": NUMBERS[:3].astype(np.float64), "count": np.asarray(3), "mask": np.asarray([False, False, True]),
    "scalar": np.float32(2.5), "empty": np.zeros((0, 3), np.float32), "parameter": NUMBERS[:2],
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["torch_zip.pth", "torch_checkpoint.pth", "torch_checkpoint_legacy.pth", "torch_protocol4.pth"]
)
def test_pytorchs_own_files_hold_the_same_tensors(name):
    found = torch_weights.load(REFERENCE / name)
    assert list(found) == list(WRITTEN)
    for tensor_name, expected in WRITTEN.items():
        assert found[tensor_name].dtype == expected.dtype
        np.testing.assert_array_equal(found[tensor_name], expected)
        assert not found[tensor_name].size or not found[tensor_name].flags.writeable


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_checkpoint_legacy.pth"])
def test_what_was_released_is_read_again(name):
    found = torch_weights.load(REFERENCE / name)
    for tensor_name, expected in WRITTEN.items():
        torch_weights.release(found[tensor_name])
        np.testing.assert_array_equal(found[tensor_name], expected)
    torch_weights.release(np.ones(3))  # of no file


def test_a_module_has_the_names_of_its_state_dictionary():
    shapes = {
        "0.weight": (2, 3, 1, 1), "0.bias": (2,), "1.weight": (2,), "1.bias": (2,), "1.running_mean": (2,),
        "1.running_var": (2,), "1.num_batches_tracked": (), "2.1.weight": (2, 2), "2.1.bias": (2,),
    }  # fmt: skip
    expected = torch_files.tensors(shapes)
    found = torch_weights.load(REFERENCE / "torch_module.pt")
    assert set(found) == set(shapes)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    script = torch_weights.load(REFERENCE / "torch_script.pt")
    assert set(script) == {name for name in shapes if not name.startswith("2")}
    for name, array in script.items():
        np.testing.assert_array_equal(array, expected[name].astype(array.dtype))
        assert array.dtype == (np.int64 if name.endswith("tracked") else np.float16)


def archive(path, pickled: bytes, numbers: bytes = b"", compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/7", numbers)


def pickled(value) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(value)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": _Named(_Global("os", "system"), ("true",))}, r"it names 'os\.system', which tensors do not need"),
        ({"a": _Named(_Global("builtins", "getattr"), ())}, r"it names 'builtins\.getattr'"),
        ({"a": tensor(WHOLE, 20, (6,), (1,))}, "reaches outside its 24 numbers"),
        ({"b": tensor(Storage("FloatStorage", "8", 24), 0, (6,), (1,))}, "b: a/data/8 is missing"),
        ({"b": tensor(Storage("FloatStorage", "7", 30), 0, (6,), (1,))}, "b: it is cut short: storage 7 has 96 bytes"),
        ({"b\n": tensor(WHOLE, 0, (6,), (1,))}, r"'b\\n' is not a tensor's name"),
        ({"b": tensor(WHOLE, 0, ("6",), (1,))}, "b: "),
        ({"a": tensor(Storage("QInt8Storage", "7", 24), 0, (6,), (1,))}, "it has a torch.QInt8Storage; it may be one"),
        ({"epoch": 3}, "'epoch' is not a tensor"),
        ({"epoch": 3, "own": {"a": tensor(WHOLE, 0, (6,), (1,))}}, "its tensors are in 'own'; they may be in one of "),
        ([1], "it holds a list, not a dictionary of tensors"),
    ],
)
def test_an_archive_that_holds_something_else_is_one_line(tmp_path, value, said):
    path = tmp_path / "weights.pth"
    archive(path, pickled(value), NUMBERS.tobytes())
    with pytest.raises(UserError, match=said) as error:
        torch_weights.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_archives_cut_anywhere_or_compressed_are_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    content = (REFERENCE / "torch_zip.pth").read_bytes()
    for end in range(2, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match="no PyTorch file of tensors") as error:
            torch_weights.load(path)
        assert "\n" not in str(error.value)


def test_what_is_compressed_is_not_inflated(tmp_path):
    """A pickle or a storage that would be thousands of times its size."""
    path, value = tmp_path / "weights.pth", pickled({"b": tensor(WHOLE, 0, (6,), (1,))})
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    for of_pickle, of_numbers, said in (
        (deflated, stored, "a/data.pkl is compressed"), (stored, deflated, "b: a/data/7 is compressed")
    ):  # fmt: skip
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a/data.pkl", value, of_pickle)
            file.writestr("a/data/7", NUMBERS.tobytes(), of_numbers)
        with pytest.raises(UserError, match=said):
            torch_weights.load(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"(ios\nsystem\n.", "it uses pickle's INST"),
        (b"(cos\nsystem\no.", r"it names 'os\.system'"),
        (b"\x82\x01.", "it uses pickle's EXT1"),
        (b"Pname\n.", "it uses pickle's PERSID"),
        (b"}]R.", "it calls something that is no function"),
        (b"}u.", "its pickle closes what it did not open"),
        # A module that is its own only part.
        (b"ctorch\nM\n)Rq\0}X\x08\0\0\0_modules}X\x01\0\0\0ah\0ssb.", "it has 10000 modules and more"),
    ],
)
def test_a_pickle_of_another_kind_is_one_line(tmp_path, content, said):
    path = tmp_path / "weights.pth"
    archive(path, content)
    with pytest.raises(UserError, match=said) as error:
        torch_weights.load(path)
    assert "\n" not in str(error.value)


def test_a_pickle_that_is_too_long_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_weights, "_PICKLE_LIMIT", 1000)
    archive(tmp_path / "weights.pth", b"]" * 1002 + b".")
    with pytest.raises(UserError, match="its pickle has more than 1000 bytes"):
        torch_weights.load(tmp_path / "weights.pth")


def entries(dtype: str, shape, *offsets: int) -> dict:
    """The header of one tensor, `a`; by default of 96 bytes."""
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets or (0, 96)}}


def safe(path, header, numbers: bytes = NUMBERS.tobytes()):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


def test_safetensors_hold_what_their_own_library_wrote(tmp_path):
    path = tmp_path / "weights.safetensors"
    written = {name: np.ascontiguousarray(array) for name, array in WRITTEN.items()}
    safetensors.numpy.save_file(written, path, {"format": "pt"})
    found = torch_weights.load(path)
    assert set(found) == set(written)
    for name, array in written.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (entries("F32", [23]), r"a: it has 96 bytes, and its shape is \(23,\) of F32"),
        (entries("F16", [24]), r"a: it has 96 bytes, and its shape is \(24,\) of F16"),
        (entries("F32", [25], 0, 100), "a: it is cut short: it ends at byte 100 of 96"),
        (entries("F32", [20], 0, 80), "something follows its last tensor"),
        (entries("F32", [20], 16, 96), "a: it begins at byte 16, and what lies before it ends at 0"),
        (entries("F32", [-24], 0, -96), r"a: its shape is \[-24\] at \[0, -96\]; both may have whole numbers from 0"),
        (entries("F32", [24.0]), r"a: its shape is \[24\.0\] at"),
        (entries("F32", "24"), "a: its shape is 24 at"),
        (entries("F32", [2**70], 0, 2**72), f"a: it is cut short: it ends at byte {2**72}"),
        (entries("F32", [24] + [1] * 70), "a: "),
        (entries("F32", [24], 0, 96, 3), "a: "),
        (entries("F32", [24]) | {"b": entries("F32", [24])["a"]}, "b: it begins at byte 0, .* ends at 96"),
        (entries("F32", [12], 0, 48) | {"b": entries("F32", [13], 44, 96)["a"]}, "b: it begins at byte 44, .* at 48"),
        (entries("F8_E4M3", [96]), "a: it is of F8_E4M3; it may be one of"),
        ({"a": {"dtype": "F32", "shape": [24]}}, "a: it has no data_offsets"),
        (b'{"a":{"dtype":"F32","shape":[24],"data_offsets":[0,96]},"a":{"dtype":"F16","shape":[48],"data_offsets":[0,96]}}',
         "file: a is there twice$"),
        (b'{"a":{"dtype":"F16","dtype":"F32","shape":[24],"data_offsets":[0,96]}}', "file: dtype is there twice$"),
        ({"a": 3}, "a: "),
        ({"a\x1b": {}}, r"'a\\x1b' is not a tensor's name"),
        (b'{"a":' + b"[" * 100_000, "no safetensors file"),
        (b"{" * 40, "no safetensors file"),
        (b"[1]", "no PyTorch file of tensors"),
    ],
)  # fmt: skip
def test_damaged_safetensors_are_one_line(tmp_path, header, said):
    path = tmp_path / "weights.safetensors"
    safe(path, header)
    with pytest.raises(UserError, match=said) as error:
        torch_weights.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_there_twice_is_told(tmp_path):
    path, value = tmp_path / "weights.pth", {"a": tensor(WHOLE, 0, (6,), (1,)), "b": tensor(WHOLE, 6, (6,), (1,))}
    archive(path, pickled(value).replace(b"X\x01\0\0\0b", b"X\x01\0\0\0a"), NUMBERS.tobytes())
    with pytest.raises(UserError, match=r"weights\.pth is no PyTorch file of tensors: a is there twice$"):
        torch_weights.load(path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a/data/7", NUMBERS[::-1].tobytes())
    with pytest.raises(UserError, match=r"file of tensors: a/data/7 is there twice$"):
        torch_weights.load(path)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("state_dict_ema", "state_dict"), "the tensors of state_dict are read, those of state_dict_ema are not"),
        (("model", "model_ema"), "the tensors of model are read, those of model_ema are not"),
        (("student", "teacher"), "the tensors of teacher are read, those of student are not"),
        (("other", "model"), "the tensors of model are read, those of other are not"),
        (("model", "state_dict"), "the tensors of state_dict are read, those of model are not"),
        *(((key,), None) for key in ("model_ema", "state_dict_ema", "params", "params_ema", "student", "teacher")),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_which_of_several_sets_of_tensors_is_read_is_said(tmp_path, logged, keys, said, legacy):
    path = tmp_path / "weights.pth"
    sets = {key: {"a": tensor(WHOLE, i, (6,), (1,))} for i, key in enumerate(keys)}
    value = {"epoch": 3, "arch": "vit", **sets, "scaler": {"scale": 2.0}}
    if legacy:
        write(path, value, {"7": NUMBERS})
    else:
        archive(path, pickled(value), NUMBERS.tobytes())
    found = torch_weights.load(path)
    taken = said.split(" ")[3] if said else keys[0]
    np.testing.assert_array_equal(found["a"], NUMBERS[keys.index(taken) :][:6])
    assert logged.messages == ([f"weights {path}: {said}"] if said else [])


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_an_optimizers_numbers_is_read(tmp_path, logged, legacy):
    path, more = tmp_path / "weights.pth", Storage("DoubleStorage", "8", 2)
    value = {
        "epoch": 9, "state_dict": {"name": "vit"}, "model": {"state_dict": {"a": tensor(WHOLE, 0, (4, 6), (6, 1))}},
        "optimizer": {"state": {0: {"momentum_buffer": tensor(more, 0, (2,), (1,))}}, "param_groups": [{"lr": 0.1}]},
    }  # fmt: skip
    moments = np.asarray([1.0, 2.0])
    if legacy:
        write(path, value, {"8": moments, "7": NUMBERS})
    else:
        archive(path, pickled(value), NUMBERS.tobytes())
    found = torch_weights.load(path)
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(4, 6))
    assert not logged.messages
    if legacy:
        write(path, value, {"8": moments[:1], "7": NUMBERS})
        with pytest.raises(UserError, match="a tensor beside them: storage 8 has 1 numbers, 2 were announced"):
            torch_weights.load(path)
        value["optimizer"]["again"] = tensor(Storage("FloatStorage", "8", 2), 0, (2,), (1,))
        write(path, value, {"8": moments, "7": NUMBERS})
        with pytest.raises(UserError, match="storage 8 is announced in two ways"):
            torch_weights.load(path)


PAGE = "is a web page (HTML); a link to the file itself may give the file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 346284714\n",
         "is a Git LFS pointer, not the file that it stands for; `git lfs pull` fetches that"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>\xc3\xa4", PAGE),
        (b"<html lang='en'>", PAGE),
        (b"Entry not found", "is text that begins with 'Entry not found'; it may be a file of tensors"),
        (b'{"error": {"x": 1}}', "is text that begins with '{\"error\": {\"x\": 1}}'; it may be a file of tensors"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_what_a_download_left_in_a_files_place_is_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        torch_weights.load(tmp_path / name)
    assert str(error.value) == f"weights {tmp_path / name} {said}"


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
        ({"a": tensor(WHOLE, 0, (6,), (1,))}, {"7": NUMBERS[:20]}, "a: storage 7 has 20 numbers, 24 were announced"),
        ({"a": tensor(WHOLE, 0, (6,), (1,))}, {"7": NUMBERS, "8": NUMBERS}, "it has a storage 8 that no tensor is in"),
        ({"a": tensor(WHOLE, 0, (2**40,), (0,))}, {"7": NUMBERS}, "reaches outside its 24 numbers"),
        ({"a": "text"}, {}, "'a' is not a tensor"),
        ({"a": tensor(WHOLE, 0, (6,), (1,))}, {}, "a: storage 7 is missing"),
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
