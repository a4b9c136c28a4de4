"""A model of `fer-jax export --format safetensors`: its weights, and the program that takes them.

Needs jax, numpy and safetensors, nothing else; `fer-jax export` copies this file beside them as model.py.

    import model
    settings, params, program = model.load("FOLDER")
    p = program(params, faces)    # faces f32[B, S, S, 3] in [0, 1], RGB; p f32[B, K]
    settings["classes"]           # K names
"""

import json
import pathlib

from jax import export
from safetensors.numpy import load_file


def load(folder):
    """Returns the settings (a dict), the parameters by name, such as `backbone/conv1_conv/kernel`, and the program.

    The program is a function of parameters and faces, fit for jax.jit; other parameters of the same shapes will do.
    """
    folder = pathlib.Path(folder)
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    program = export.deserialize((folder / "program.stablehlo").read_bytes())
    return settings, load_file(folder / "model.safetensors"), program.call
