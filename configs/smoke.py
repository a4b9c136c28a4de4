"""All three phases in about half a minute on two CPU cores: to see that an installation, a node or a cluster works.

    fer-jax train --config configs/smoke.py --workdir runs/smoke

Few people, classes, pixels and epochs: its accuracies mean nothing.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["faces"]()
    config.update_from_flattened_dict({
        "data.n_subjects": 12,
        "data.image_size": 32,
        # Six basic expressions and three compound ones.
        "data.exclude": ("sadly angry", "sadly surprised", "sadly disgusted", "fearfully angry",
                         "fearfully surprised", "fearfully disgusted", "angrily surprised", "angrily disgusted",
                         "disgustedly surprised", "appalled", "hatred", "awed", "neutral"),
        "protocol.n_folds": 6,
        "protocol.n_orders": 2,
        "model.widths": (4, 4, 6, 6),
        "model.stem_width": 4,
        "model.hidden": (32,),
        "basic.batch_size": 8,
        "basic.head.max_epochs": 1,
        "basic.body.max_epochs": 6,
        "basic.body.learning_rate": 1e-2,
        "memory.share": 0.5,
        "continual.max_epochs": 2,
        "joint.max_epochs": 2,
        "few_shot.shots": (1, 0),
        "few_shot.max_epochs": 2,
        "few_shot.batch_size": 8,
        "few_shot.exemplars": 3,
    })  # fmt: skip
    return config
