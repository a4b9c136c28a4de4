"""The config of measurements at toy size."""

import pathlib
import runpy

from fer_jax import config as configs
from fer_jax.bench.world import with_small_network

ROOT = pathlib.Path(__file__).parents[2]


def tiny(**changes):
    """A convolutional network on pictures of 16 × 16, ten subjects, nine classes."""
    config = runpy.run_path(str(ROOT / "configs" / "smoke.py"))["get_config"]()
    config = with_small_network(config, (4, 6))
    config.update_from_flattened_dict({
        "model.dropout": 0.2, "data.image_size": 16, "data.n_subjects": 10, "continual.batch_size": 8,
        "protocol.n_folds": 5, **changes,
    })  # fmt: skip
    configs.check(config)
    return configs.resolve(config)
