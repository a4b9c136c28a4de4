"""Base objective by classifier: what the base model is trained by, and what then answers from its features.

    fer-jax sweep --config configs/objectives.py --workdir runs/objectives --over \\
        basic.objective=cross_entropy,mixup,contrastive,contrastive_mixup,subject_contrastive,class_action_units \\
        --over fold=2,3,4,5,6

Nothing is trained after the base task, and of the statistics only those of streaming LDA depend on the class order, a
little, so there is one.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["faces"]()
    config.update({
        "protocol": {"orders": (0,)},
        "methods": ("ncm", "slda", "ranpac", "klda", "fecam", "composition"),
        "few_shot": {"shots": ()},
    })  # fmt: skip
    return config
