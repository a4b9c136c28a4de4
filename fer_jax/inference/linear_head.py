"""A classifier that is linear in the features, as the head of a network.

Calibration, answers, maps and exports then treat it like any other network. Here is also the file that holds one.
"""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import jax
import numpy as np

from fer_jax.classifiers import Linear
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network

Params = Any
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what reading a damaged npz file raises


def headed(network: Network, backbone: Params, linear: Linear) -> tuple[Network, Params]:
    """Returns a backbone under a linear classifier of its features, as a network and its parameters."""
    head = ExpressionHead((), n_classes=len(linear.bias), dropout=0.0)
    logits = {"kernel": jax.device_put(linear.kernel), "bias": jax.device_put(linear.bias)}
    return dataclasses.replace(network, head=head), {"backbone": backbone, "head": {"logits": logits}}


def read(path: pathlib.Path, stamp: str) -> Linear | None:
    """Returns the saved classifier; None if there is none of this stamp."""
    with contextlib.suppress(*DAMAGE), np.load(path) as saved:
        if str(saved["stamp"]) == stamp:
            return Linear(saved["kernel"], saved["bias"])
    return None


def write(path: pathlib.Path, stamp: str, linear: Linear) -> None:
    """Saves a classifier, completely or not at all; of a folder that cannot be written to, nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}") as folder:
            made = pathlib.Path(folder) / path.name
            np.savez(made, stamp=stamp, kernel=linear.kernel, bias=linear.bias)
            os.replace(made, path)
