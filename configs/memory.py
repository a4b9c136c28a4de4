"""The proposed method with smaller exemplar memories, on the base models and class orders of configs/best.py.

    fer-jax sweep --config configs/memory.py --workdir runs/memory --over fold=2,3,4,5,6 \\
        --over memory.share=0.15,0.03

or: make memory. The share of the training images that is remembered is 0.3 in configs/best.py, the paper's.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "best.py"))["get_config"]()
    config.update({"methods": ("contrastive_replay",), "few_shot": {"shots": ()}})
    return config
