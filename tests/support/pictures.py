"""The config of measurements at toy size."""

import pathlib
import runpy

from fer_jax import config as configs
from fer_jax.bench.world import with_small_network

ROOT = pathlib.Path(__file__).parents[2]


def tiny(**changes):
    """A convolutional network on pictures of 16 × 16, ten subjects, nine classes; resolved."""
    config = small(**changes)
    configs.check(config)
    return configs.resolve(config)


def small(**changes):
    """The same as a config file gives it."""
    config = runpy.run_path(str(ROOT / "configs" / "smoke.py"))["get_config"]()
    config = with_small_network(config, (4, 6))
    config.update_from_flattened_dict({
        "model.dropout": 0.2, "data.image_size": 16, "data.n_subjects": 10, "continual.batch_size": 8,
        "protocol.n_folds": 5, **changes,
    })  # fmt: skip
    return config


def tiny_file(folder: pathlib.Path) -> pathlib.Path:
    """Writes the config of `tiny` as a file for a command that is started in the repository's root."""
    path = folder / "tiny.py"
    path.write_text("from tests.support import pictures\n\n\ndef get_config():\n    return pictures.small()\n")
    return path
