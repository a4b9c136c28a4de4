"""The proposed method with what related systems tell of a face in its base task, on the quickstart's faces.

    fer-jax sweep --config configs/bases.py --workdir runs/bases --over fold=2,3,4,5,6

Action units of each image (arXiv 2311.11980), and people between two people (arXiv 2108.07960). One class order.
"""

import pathlib
import runpy

import ml_collections

VARIANTS = ("action_units", "mixed_identities")


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "best.py"))["get_config"]()
    config.update({
        "data": {"twin": "mixed"},
        "protocol": {"orders": (0,)},
        "methods": ("contrastive_replay", *(f"fer_jax.ingredients.contrastive_replay_{name}" for name in VARIANTS)),
        "few_shot": {"shots": ()},
    })  # fmt: skip
    return config
