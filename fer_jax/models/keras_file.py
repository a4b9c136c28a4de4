"""Reads a ResNetV2's weights from the files that Keras writes: `.h5`, `.weights.h5` and `.keras`, with h5py alone.

Every tensor of a file is accounted for by the name of its layer. Nothing in a file is executed, and nothing outside it
is read: links and external storage, which HDF5 allows, are refused.
"""

from __future__ import annotations  # of h5py's classes, which are imported when a file is read

import io
import json
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from fer_jax.errors import UserError, import_extra
from fer_jax.models import tensors
from fer_jax.models.backbone import Backbone

if TYPE_CHECKING:
    import h5py

Params = Any
# Makes a backbone of (depths, widths, stem_width, stem_kernel) as a file's layers have them.
Architecture = Callable[[tuple[int, ...], tuple[int, ...], int, int], Backbone]

NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
# `.weights.h5` numbers a layer's tensors in the order in which Keras makes them.
ORDER = {"Conv2D": ("kernel", "bias"), "BatchNormalization": tuple(NORM.values()), "Dense": ("kernel", "bias")}
KINDS = {"conv2d": "Conv2D", "batch_normalization": "BatchNormalization", "dense": "Dense"}
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # of Keras 2.13 on, and of 2.12
NUMBERED = re.compile(rf"({'|'.join(CONTAINERS)})/([a-z0-9_]+?)(?:_(\d+))?/vars/(\d+)")
OPTIMIZER = ("optimizer", "optimizer_weights")  # a saved model's training state; not a part of its network
MEMBER = "model.weights.h5"
LIMITS = {"config.json": 2**23, MEMBER: 2**31}  # bytes; ResNet152V2, the largest of the family, has a tenth of each
HEAD = 100  # bytes, by which text is known
MAX_DEPTH = 20  # groups may contain themselves
MAX_BLOCKS = 36  # a stage of ResNet152V2


def load(path: str | pathlib.Path, model: Backbone | Architecture) -> Params:
    """Returns the parameters of a ResNetV2 backbone, as `resnet_v2.features` takes them.

    Args:
      path: ResNet50V2's `…_notop.h5` or any other legacy file of weights or of a whole model, a `.weights.h5`, a
        `.keras`. The contents decide the format, not the name.
      model: the network that the file must hold, or what makes the one that the file's names and shapes say.

    Returns:
      {layer: {kernel[, bias]} | {scale, bias, mean, var}}, f32.

    Raises:
      UserError: h5py is not installed, no such file, not a file of these, or tensors that are missing, too many,
        misshapen or not finite; they are named by layer.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"weights {path}: {'is a folder' if path.is_dir() else 'no such file'}; it may be a Keras file")
    with path.open("rb") as file:
        tensors.check_no_text(f"weights {path}", file.read(HEAD))
    h5py = import_extra("h5py", "keras", f"weights {path}: a Keras file is read with h5py")
    try:
        if zipfile.is_zipfile(path):
            content, layers = _from_zip(path)
            with h5py.File(io.BytesIO(content), "r") as file:
                return _from_h5(path, file, model, layers)
        with h5py.File(path, "r") as file:
            return _from_h5(path, file, model, None)
    except UserError:
        raise
    # All that h5py and zipfile raise on bytes that are no such file, or not whole.
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError) as error:
        reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"weights {path} is damaged or no Keras file (.h5, .weights.h5, .keras): {reason}") from None


def _from_zip(path: pathlib.Path) -> tuple[bytes, list[tuple[str, str]]]:
    """Returns the weights of a `.keras` file, themselves an HDF5 file, and its layers' classes and names."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for member, limit in LIMITS.items():
            if member not in names:
                raise UserError(f"weights {path} has no {member}; it may be a .keras file")
            size = archive.getinfo(member).file_size
            if size > limit:
                raise UserError(f"weights {path} has a {member} of {size:,} bytes; it may be {limit:,}")
        config = json.loads(archive.read("config.json"))
        content = archive.read(MEMBER)
    return content, [(layer["class_name"], layer["config"]["name"]) for layer in _configured(path, config)]


def _configured(path: pathlib.Path, config: Any) -> list[dict]:
    try:
        layers = config["config"]["layers"]
        if all(isinstance(layer["class_name"], str) and isinstance(layer["config"]["name"], str) for layer in layers):
            return layers
    except (KeyError, TypeError):
        pass
    raise UserError(f"weights {path}: its config.json lists no layers with names; it may be a functional Keras model")


def _from_h5(
    path: pathlib.Path, file: h5py.File, model: Backbone | Architecture, configured: list[tuple[str, str]] | None
) -> Params:
    held = {place: item for place, item in _datasets(path, file) if place.split("/")[0] not in OPTIMIZER}
    if configured is not None or any(place.split("/")[0] in CONTAINERS for place in held):
        named = _by_number(path, file, held, configured)
    else:
        named = _by_layer(path, file, held)
    if not any(name.endswith("_conv/kernel") for name in named):
        raise UserError(f"weights {path} has no layers of a ResNetV2; it may be a file of ResNet50V2 without its top")
    model = model if isinstance(model, Backbone) else model(*_architecture(path, named))
    shapes = model.shapes()
    places = {
        f"{layer}/{NORM[leaf] if 'scale' in leaves else leaf}": (layer, leaf)
        for layer, leaves in shapes.items()
        for leaf in leaves
    }
    expected = {place: shapes[layer][leaf] for place, (layer, leaf) in places.items()}
    tensors.check(f"weights {path}", {name: item.shape for name, item in named.items()}, expected)
    params: Params = {}
    for place, (layer, leaf) in places.items():
        params.setdefault(layer, {})[leaf] = jnp.asarray(_read(path, place, leaf, named[place]))
    return params


def _read(path: pathlib.Path, place: str, leaf: str, item: h5py.Dataset) -> np.ndarray:
    if item.dtype.kind != "f" or item.external or item.is_virtual:
        raise UserError(f"weights {path}: {place} is stored as {item.dtype}; it may be numbers inside the file")
    array = item[()].astype(np.float32)
    tensors.check_numbers(f"weights {path}: {place}", array, leaf)
    return array


def _datasets(path: pathlib.Path, group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group by its place, following nothing that leads elsewhere."""
    import h5py

    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise UserError(f"weights {path}: {prefix}{key} is a link; it may be numbers inside the file")
        item = group[key]
        if isinstance(item, h5py.Group):
            if prefix.count("/") > MAX_DEPTH:
                raise UserError(f"weights {path}: {prefix}{key} is nested too deeply")
            yield from _datasets(path, item, f"{prefix}{key}/")
        elif isinstance(item, h5py.Dataset):
            if item.shape is None:
                raise UserError(f"weights {path}: {prefix}{key} is empty; it may be numbers inside the file")
            yield f"{prefix}{key}", item


def _by_layer(path: pathlib.Path, file: h5py.File, held: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Datasets of a legacy file as `layer/tensor`; the file's own lists say what must be there."""
    root = "model_weights" if "model_weights" in file else ""
    group = file[root] if root else file
    listed = _names(group, "layer_names")
    named: dict[str, h5py.Dataset] = {}
    for place, item in held.items():
        inside = place.removeprefix(f"{root}/") if root else place
        layer, _, _ = inside.partition("/")
        # `conv1_conv/conv1_conv/kernel:0`; a copy made by Keras may say `conv1_conv/conv1_conv_1/kernel:0`.
        name = f"{layer}/{inside.rsplit('/', 1)[-1].partition(':')[0]}"
        if name in named:
            raise UserError(f"weights {path} has {name} twice")
        named[name] = item
    for layer in listed:
        if layer not in group:
            raise UserError(f"weights {path} lists layer {layer} and does not have it; it may be a whole file")
        for weight in _names(group[layer], "weight_names"):
            name = f"{layer}/{weight.rsplit('/', 1)[-1].partition(':')[0]}"
            if name not in named:
                raise UserError(f"weights {path} lists {name} and does not have it; it may be a whole file")
    return named


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute; Keras cuts a long one into `…0`, `…1`, …"""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs and attribute not in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    names = [name for part in parts for name in np.asarray(group.attrs[part]).reshape(-1)]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _by_number(
    path: pathlib.Path, file: h5py.File, held: dict[str, h5py.Dataset], configured: list[tuple[str, str]] | None
) -> dict[str, h5py.Dataset]:
    """Datasets of `layers/conv2d_7/vars/0` as `layer/tensor`.

    Such a file numbers its layers by class, in the model's order. Their names are in the `.keras` archive's
    config.json; or in the file itself, as an attribute, if a late Keras 3 wrote it; else in the order of ResNetV2.
    """
    groups: dict[tuple[str, int], dict[int, h5py.Dataset]] = {}
    unknown: dict[str, h5py.Dataset] = {}
    for place, item in held.items():
        match = NUMBERED.fullmatch(place)
        if match and match[2] in KINDS:
            groups.setdefault((KINDS[match[2]], int(match[3] or 0)), {})[int(match[4])] = item
        else:
            unknown[place] = item
    if configured is not None:
        names = _counted(configured)
        lost = next((name for key, name in names.items() if key not in groups), None)
        if lost:
            raise UserError(f"weights {path} lists layer {lost} in its config.json and has no weights of it")
    else:
        own = {key: item[min(item)].parent.attrs.get("name") for key, item in groups.items()}
        names = {key: name for key, name in own.items() if isinstance(name, str)}
        names = names if len(names) == len(own) else _ordered(groups)
    named = dict(unknown)
    for key, items in groups.items():
        for number, item in items.items():
            order = ORDER[key[0]]
            tensor = order[number] if number < len(order) else str(number)
            name = f"{names.get(key, item.parent.parent.name.strip('/'))}/{tensor}"
            if name in named:
                raise UserError(f"weights {path} has {name} twice")
            named[name] = item
    return named


def _counted(layers: list[tuple[str, str]]) -> dict[tuple[str, int], str]:
    """Names of the layers that have weights, by class and number."""
    counts = dict.fromkeys(ORDER, 0)
    names = {}
    for kind, name in layers:
        if kind in ORDER:
            names[kind, counts[kind]] = name
            counts[kind] += 1
    return names


def _ordered(groups: dict[tuple[str, int], dict[int, h5py.Dataset]]) -> dict[tuple[str, int], str]:
    """Names of numbered layers by Keras' order of a ResNetV2: in every block 1, 2, the shortcut if there is one, 3.

    Of the 1×1 convolutions only the shortcut and the third have a bias, so two of these in a row begin a stage.
    """
    convs = sorted(number for kind, number in groups if kind == "Conv2D")
    names: dict[tuple[str, int], str] = {}
    order, stage, block, rest = ["conv1_conv"], 1, 0, convs[1:]
    while len(rest) >= 3:
        shortcut = len(rest) >= 4 and all(1 in groups["Conv2D", number] for number in rest[2:4])
        stage, block = (stage + 1, 1) if shortcut else (stage, block + 1)
        order += [f"conv{stage}_block{block}_{part}_conv" for part in ("1", "2", *(("0",) if shortcut else ()), "3")]
        rest = rest[4 if shortcut else 3 :]
    names |= {("Conv2D", number): name for number, name in zip(convs, order, strict=False)}
    blocks = dict.fromkeys("_".join(name.split("_")[:2]) for name in order[1:])
    norms = [f"{block}_{part}_bn" for block in blocks for part in ("preact", "1", "2")] + ["post_bn"]
    counted = sorted(number for kind, number in groups if kind == "BatchNormalization")
    return names | {("BatchNormalization", number): name for number, name in zip(counted, norms, strict=False)}


def _architecture(
    path: pathlib.Path, named: dict[str, h5py.Dataset]
) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Returns depths, widths, stem width and stem kernel by a file's names, even where tensors are missing."""
    blocks = [m for name in named if (m := re.fullmatch(r"conv([2-9])_block(\d+)_[a-z0-9]+_(?:conv|bn)/\w+", name))]
    stages = sorted({int(m[1]) for m in blocks})
    stem = named.get("conv1_conv/kernel")
    if stem is None or len(stem.shape) != 4:
        raise UserError(f"weights {path} does not fit: conv1_conv/kernel missing or not of four dimensions")
    if stages != list(range(2, 2 + len(stages))) or not stages:
        raise UserError(f"weights {path} does not fit: it has stages {stages}; they may be 2, 3, …")
    depths = tuple(max(int(m[2]) for m in blocks if int(m[1]) == stage) for stage in stages)
    if max(depths) > MAX_BLOCKS:
        raise UserError(f"weights {path} does not fit: a stage has {max(depths)} blocks; it may have {MAX_BLOCKS}")
    return depths, tuple(_width(path, named, s) for s in stages), stem.shape[3], stem.shape[0]


def _width(path: pathlib.Path, named: dict[str, h5py.Dataset], stage: int) -> int:
    """A stage's inner width, by the majority of its tensors that have it last: one may be misshapen."""
    inner = re.compile(rf"conv{stage}_block\d+_[12]_(?:conv|bn)/\w+")
    seen = [item.shape[-1] for name, item in named.items() if inner.fullmatch(name) and item.shape]
    if not seen:
        raise UserError(f"weights {path} does not fit: conv{stage}_block1_1_conv/kernel missing")
    return max(set(seen), key=seen.count)
