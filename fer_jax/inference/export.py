"""`fer-jax export`: writes a trained model for use without this package, and its model card.

Every format takes faces f32[B, S, S, 3] in [0, 1] and gives calibrated probabilities f32[B, K] of the known classes.
Each is read back the way its users do and compared before success is reported.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from fer_jax.errors import ExportError, UserError
from fer_jax.inference import model_card
from fer_jax.inference.trained import Trained
from fer_jax.runs.files import check_folder

Params = Any
PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-4
CHECKED = 4  # images of the comparison
OPSET = 21  # of ONNX, 2024: older runtimes read no newer one


class Exported(NamedTuple):
    """The written files by name, the largest difference of probabilities when read back, and the removed files of an
    earlier export in another format.
    """

    files: tuple[str, ...]
    difference: float
    removed: tuple[str, ...] = ()


def known_columns(trained: Trained) -> Params:
    """Returns the parameters with only the known classes' columns of the head, K of C."""
    known, head = np.flatnonzero(trained.class_mask), trained.params["head"]
    logits = {"kernel": head["logits"]["kernel"][:, known], "bias": head["logits"]["bias"][known]}
    return {"backbone": trained.params["backbone"], "head": {**head, "logits": logits}}


def program(trained: Trained, temperature: float) -> Callable[[Params, jax.Array], jax.Array]:
    """Returns the model as a function of `known_columns` and faces f32[B, S, S, 3] in [0, 1].

    The function gives calibrated probabilities f32[B, K].
    """
    network = trained.network
    network = dataclasses.replace(network, head=network.head.clone(n_classes=len(trained.known_names)))

    def probabilities(params: Params, images: jax.Array) -> jax.Array:
        logits, _ = network.tail(params, network.trunk(params, images, "head"), "head")
        return jax.nn.softmax(logits / temperature)

    return probabilities


def function(trained: Trained, temperature: float) -> Callable[[jax.Array], jax.Array]:
    """Returns `program` with the model's own parameters bound."""
    return functools.partial(program(trained, temperature), known_columns(trained))


def write(trained: Trained, calibration: dict, kind: str, out: pathlib.Path) -> Exported:
    """Writes a model in one of FORMATS, its settings `model.json` and its card `README.md` into a folder.

    All is written and checked in a temporary folder beside it, so that what fails leaves nothing. An export that was
    in the folder is replaced.

    Args:
      calibration: as `calibration.of` returns it.
      kind: stablehlo, onnx or safetensors.

    Raises:
      UserError: as `check` says.
      ExportError: what was written gives other probabilities than the model.
    """
    check(kind, out)
    save, read = FORMATS[kind]
    temperature = calibration["temperature"]
    target = out.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        made = pathlib.Path(folder)
        described = json.dumps(settings(trained, calibration), indent=1)
        (made / "model.json").write_text(f"{described}\n", encoding="utf-8")
        names = (*save(trained, temperature, made), "model.json", "README.md")
        # onnxruntime multiplies in float32, an accelerator may round first; the other forms have JAX's own precision.
        with jax.default_matmul_precision("highest") if kind == "onnx" else contextlib.nullcontext():
            difference = _difference(function(trained, temperature), read(made), trained.image_size)
        if not difference <= TOLERANCE:
            raise ExportError(f"the model for {out} gives other probabilities than the run's, by {difference:.2g}")
        card = model_card.text(trained, calibration, kind, difference)
        (made / "README.md").write_text(card, encoding="utf-8")
        target.mkdir(exist_ok=True)
        removed = tuple(sorted(old for old in OURS - set(names) if (target / old).exists()))
        for name in names:
            os.replace(made / name, target / name)
        for old in removed:  # last, so that there is a model at any time
            (target / old).unlink()
    return Exported(tuple(sorted(names)), difference, removed)


def check(kind: str, out: pathlib.Path) -> None:
    """Checks the format, its packages and the folder, before a model is read.

    Raises:
      UserError: no such format, a package that it needs is missing, or a folder that is a file or has files of others.
    """
    if kind not in FORMATS:
        raise UserError(f"--format is {kind!r}; it may be one of {', '.join(FORMATS)}")
    check_folder("--out", out)
    there = set(out.iterdir()) if out.exists() else set()
    ours = {path for path in there if path.name == "__pycache__" or (path.name in OURS and path.is_file())}
    if foreign := there - ours if _is_export(out) else there:
        raise UserError(f"--out {out} has {min(foreign).name}, which is not of an export; it may be a folder, new, "
                        "empty or of an export")  # fmt: skip
    for package in NEEDED[kind]:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--format {kind} needs {package}; install it with pip install -e '.[export]'")


def settings(trained: Trained, calibration: dict) -> dict:
    """Returns what users of a model must know: its classes, the size of its faces, its temperature."""
    return {
        "classes": list(trained.known_names),
        "image_size": trained.image_size,
        "temperature": calibration["temperature"],
        "backbone": trained.config.model.name,
        "model_sha256": trained.digest,
    }


def _is_export(folder: pathlib.Path) -> bool:
    try:
        return "model_sha256" in json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _serialized(exported: Callable, trained: Trained, *before: Any) -> bytes:
    """Returns a jitted function as StableHLO for PLATFORMS; it takes what comes before, then any number of faces."""
    size = trained.image_size
    faces = jax.ShapeDtypeStruct(jax_export.symbolic_shape(f"b, {size}, {size}, 3"), jnp.float32)
    return jax_export.export(jax.jit(exported), platforms=PLATFORMS)(*before, faces).serialize()


def _save_stablehlo(trained: Trained, temperature: float, out: pathlib.Path) -> tuple[str, ...]:
    (out / "model.stablehlo").write_bytes(_serialized(function(trained, temperature), trained))
    return ("model.stablehlo",)


def _read_stablehlo(out: pathlib.Path) -> Callable:
    return jax_export.deserialize((out / "model.stablehlo").read_bytes()).call


def _save_onnx(trained: Trained, temperature: float, out: pathlib.Path) -> tuple[str, ...]:
    import onnx

    size = trained.image_size
    with _quiet():
        from jax2onnx import to_onnx

        model = to_onnx(
            function(trained, temperature), [("batch", size, size, 3)], model_name="fer_jax", opset=OPSET,
            input_names=["faces"], output_names=["probabilities"],
        )  # fmt: skip
    onnx.helper.set_model_props(model, {"classes": json.dumps(trained.known_names)})
    onnx.checker.check_model(model)
    onnx.save(model, out / "model.onnx")
    return ("model.onnx",)


def _read_onnx(out: pathlib.Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"faces": np.asarray(images)})[0]


def _save_safetensors(trained: Trained, temperature: float, out: pathlib.Path) -> tuple[str, ...]:
    from safetensors.numpy import save_file

    from fer_jax.inference import exported_model  # needs safetensors, too

    params = known_columns(trained)
    structure = jax.tree.structure(params)
    flat = {
        "/".join(key.key for key in path): np.ascontiguousarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    save_file(flat, out / "model.safetensors", metadata={"classes": json.dumps(trained.known_names)})
    (out / "model.safetensors").chmod(0o644)  # the library makes it its owner's alone
    names, nested = list(flat), program(trained, temperature)

    def of_flat(flat: dict[str, jax.Array], images: jax.Array) -> jax.Array:
        return nested(jax.tree.unflatten(structure, [flat[name] for name in names]), images)

    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in flat.items()}
    (out / "program.stablehlo").write_bytes(_serialized(of_flat, trained, shapes))
    shutil.copyfile(exported_model.__file__, out / "model.py")
    return ("model.safetensors", "program.stablehlo", "model.py")


def _read_safetensors(out: pathlib.Path) -> Callable:
    from fer_jax.inference import exported_model

    _, params, call = exported_model.load(out)
    return functools.partial(call, params)


OURS = {"README.md", "model.json", "model.stablehlo", "model.onnx", "model.safetensors", "program.stablehlo",
        "model.py"}  # fmt: skip
NEEDED = {"stablehlo": (), "onnx": ("jax2onnx", "onnx", "onnxruntime"), "safetensors": ("safetensors",)}
FORMATS = {
    "stablehlo": (_save_stablehlo, _read_stablehlo),
    "onnx": (_save_onnx, _read_onnx),
    "safetensors": (_save_safetensors, _read_safetensors),
}


def _difference(probabilities: Callable, read: Callable, size: int) -> float:
    images = np.random.default_rng(0).random((CHECKED, size, size, 3), np.float32)
    return float(np.abs(np.asarray(jax.jit(probabilities)(images)) - np.asarray(read(images))).max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax2onnx tells on stdout what it patches, and warns of parts of other libraries that it cannot convert."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
