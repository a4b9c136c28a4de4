"""The paper's ingredients apart, on rendered faces: distillation on and off, memory rules, teachers, masks.

    fer-jax sweep --config configs/ablation.py --workdir runs/ablation --over fold=2,3,4,5,6

Fourteen variants of `kd_psmr` (`fer_jax/ingredients.py`) and itself, under the protocol of configs/compare.py: five
folds of two class orders, the learning rate of the quickstart for all.
"""

import pathlib
import runpy

import ml_collections

VARIANTS = (
    *(f"{rule}_{teacher}_{mask}" for rule in ("predictive_sort", "random", "herding")
      for teacher in ("base", "previous") for mask in ("masked", "padded")),
    *(f"{rule}_alone" for rule in ("predictive_sort", "random", "herding")),
)  # fmt: skip


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "compare.py"))["get_config"]()
    config.methods = ("kd_psmr", *(f"fer_jax.ingredients.{name}" for name in VARIANTS[1:]))
    config.search.learning_rates = ()
    config.search.strengths = ()
    return config
