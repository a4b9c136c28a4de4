"""Files of weights as Keras writes them."""

import pathlib

import h5py
import numpy as np


def write_legacy(path: pathlib.Path, rows) -> None:
    """(layer, weight, array) rows as Keras' save_weights writes them."""
    layers: dict[str, list] = {}
    for layer, weight, array in rows:
        layers.setdefault(layer, []).append((f"{layer}/{weight}:0", array))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        file.create_group("input_1").attrs["weight_names"] = np.asarray([], "S1")
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, array in weights:
                group[name] = array
