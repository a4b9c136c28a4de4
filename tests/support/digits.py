"""A fold of the digits that all methods learn in seconds."""

import dataclasses
import pathlib
import runpy

import jax.numpy as jnp
import numpy as np

from fer_jax import config as configs
from fer_jax import protocol
from fer_jax.data import standard
from fer_jax.phases.fold import Fold, build_network
from fer_jax.runs.checkpoints import Saving
from fer_jax.runs.progress import Progress

ROOT = pathlib.Path(__file__).parents[2]


def fold_of(tmp_path, more: int = 0, **changes) -> Fold:
    """Twenty pictures of every digit, or `more` of each than of the one before; a base of four, two more at a time."""
    config = runpy.run_path(str(ROOT / "configs" / "digits.py"))["get_config"]()
    config.update_from_flattened_dict({
        "protocol.classes_per_increment": 2, "basic.body.max_epochs": 3, "continual.max_epochs": 2,
        "joint.max_epochs": 2, "gdumb.max_epochs": 2, "model.widths": (16, 8), "continual.batch_size": 8, **changes,
    })  # fmt: skip
    configs.check(config)
    config = configs.resolve(config)
    data = standard.digits()
    rows = np.sort(np.concatenate([np.flatnonzero(data.label == c)[: 20 + more * c] for c in range(10)]))
    data = dataclasses.replace(data, image=data.image[rows], label=data.label[rows], subject=np.arange(len(rows)))
    split = protocol.split(data.subject, 0, 5, "stratified", label=data.label)
    # Floats, so that there can be what is not a number among them.
    images, labels = jnp.asarray(data.image, jnp.float32), jnp.asarray(data.label)
    network = build_network(config, 10)
    return Fold(config, data, network, images, labels, 0, split, tmp_path, Progress(), Saving())
