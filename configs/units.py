"""Action units as the only input: statistics and an MLP answer by them, and no picture is looked at.

    fer-jax train --config configs/units.py --workdir runs/units
    fer-jax train --config configs/units.py --workdir runs/units5 --config.data.units.flips=0.05

Rendered faces, whose units are known, with a detector's errors if they are asked for; docs/units.md has how to join the
tables of OpenFace, py-feat or LibreFace to pictures of your own. `make units` compares error rates, and measures that a
complete run of one method, three class orders and the report takes at most 20 seconds on two cores once faces are
rendered and programs compiled (`studies/units.py`, `run_seconds` in docs/results/units.json).
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["faces"]()
    config.update({
        # Units do not depend on the size of the pictures, which are small so that rendering takes seconds.
        "data": {"image_size": 16, "units": {"flips": 0.0, "noise": 0.0, "input": True}},
        "augment": {"flip": 0.0, "rotation": 0.0, "zoom": 0.0, "translation": 0.0},
        "basic": {"l2": 0.0, "body": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 20}},
        "continual": {"cut": "input", "batch_size": 32, "learning_rate": 1e-3, "max_epochs": 10, "augment": False},
        "methods": ("units_lda", "units_mixture", "units_naive_bayes", "units_ridge"),
        "joint": {"cut": "input"},
        "gdumb": {"cut": "input"},
        "few_shot": {"shots": ()},
    })  # fmt: skip
    # An MLP has other keys than the quickstart's network.
    config.model = {"name": "mlp", "widths": (64,), "hidden": (), "dropout": 0.0, "weights": "none",
                    "input_range": "auto", "precision": "auto"}  # fmt: skip
    return config
