"""The proposed method taken apart: each of its parts as it is in other methods, on the quickstart's faces.

    fer-jax sweep --config configs/parts.py --workdir runs/parts --over fold=2,3,4,5,6

Ten variants of `contrastive_replay` (`fer_jax/ingredients.py`) and itself, one class order. What other classifiers
answer under the same network stands beside each.
"""

import pathlib
import runpy

import ml_collections

PARTS = (
    "cross_entropy",
    "mixup",
    "contrastive",
    "random",
    "predictive_sort",
    "tail",
    "distilled",
    "constant",
    "best_epoch",
    "plain",
)


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "best.py"))["get_config"]()
    config.update({
        "protocol": {"orders": (0,)},
        "methods": ("contrastive_replay", *(f"fer_jax.ingredients.contrastive_replay_{part}" for part in PARTS)),
        "few_shot": {"shots": ()},
    })  # fmt: skip
    return config
