"""The paper's experiment in minutes on two CPU cores: rendered faces, a small ResNetV2, all three phases.

    fer-jax train --config configs/quickstart.py --workdir runs/quickstart

Reproduces the shape of arXiv 2308.06197 (base task, fifteen increments, few shots), not its numbers: the faces are
drawn from action units, the network is small and starts without pretrained weights. `contrastive_replay`, the method
that we recommend (docs/method.md), stands beside the paper's `kd_psmr`, both bounds, and few shots that need no
training.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = faces()
    config.update({
        "methods": ("contrastive_replay", "kd_psmr", "finetune", "finetune_blind", "joint"),
        # `contrastive_replay` trains the whole network; for time three epochs an increment, where studies have four.
        "deep": {"cut": "input", "batch_size": 32, "learning_rate": 8e-4, "max_epochs": 3},
        "basic": {"body": {"max_epochs": 28}},
        # The others train from `continual.cut` on cached views of what lies below it.
        "continual": {"side_by_side": 3},
        "feature_cache": {"views": 8},
        # Few shots are answered from the features of the recommended method's base model.
        "few_shot": {"base": "contrastive_mixup", "answers": ("class_mean", "teen", "composition"), "taken": 0.15},
    })  # fmt: skip
    return config


def faces() -> ml_collections.ConfigDict:
    """Returns the faces, the network and the settings that the studies on them share (configs/best.py and others)."""
    return ml_collections.ConfigDict({
        "seed": 0,
        "data": {
            "name": "facs_faces",
            "dir": "",  # "" is TFDS's own: $TFDS_DATA_DIR, else tensorflow_datasets in the home folder
            "n_subjects": 230,
            "image_size": 64,
            "images_per_cell": 1,  # images a subject and category
            "seed": 0,
            "version": "2.0.0",  # of the rendering: the same bytes on every x86-64 machine
            "exclude": ("neutral",),
            "n_base": 6,
            "residency": "auto",  # by size; or "device", "host": docs/data.md
        },
        "protocol": {
            "name": "held_out",  # or "published"
            "n_folds": 10,
            "folds": (0,),
            "n_orders": 3,
            "orders": (),  # which of them, by number; () is all
            "order_seed": 42,
            "classes_per_increment": 1,
        },
        "model": {
            "name": "resnet_v2",  # or "efficientnet_lite0", as in configs/efficientnet.py
            "depths": (1, 1, 1, 1),
            "widths": (16, 32, 48, 64),
            "stem_width": 24,
            "stem_kernel": 5,
            "stem_pool": True,
            "hidden": (512, 128),
            "dropout": 0.0,
            "weights": "none",  # or the path of a Keras file that fits the keys above
            "input_range": "auto",  # by protocol: held_out what the backbone's weights expect, published "zero_one"
            "precision": "auto",  # by device: "bfloat16" on accelerators, "float32" on the CPU
        },
        # Half the paper's: on 64 pixels its zoom and translation blur away what a unit changes.
        "augment": {"flip": 0.5, "rotation": 0.005, "zoom": 0.02, "translation": 0.02},
        "basic": {
            "batch_size": 32,
            "l2": 1e-5,
            "patience": 100,
            "min_delta": 0.01,
            "head": {"cut": "head", "learning_rate": 1e-3, "max_epochs": 0},
            "body": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 40},
        },
        "memory": {"mode": "grow", "share": 0.3, "rule": "auto"},
        "continual": {
            "cut": "conv5_block1",
            "batch_size": 16,
            "learning_rate": 2e-3,  # chosen on validation subjects: docs/results/tuning.json
            "max_epochs": 5,
            "patience": 100,
            "gamma": 0.1,
            "temperature": 3.0,
            "distill_over": "auto",  # by protocol: held_out the "teacher"'s classes, published all "known" ones
            "augment": True,
            "side_by_side": 1,  # class orders that train at once
            "teacher": "auto",  # by method; or "base", "previous"
            "loss": "auto",  # by method; or the dotted path of your own: docs/extending.md
        },
        "methods": ("kd_psmr", "finetune", "finetune_blind", "joint"),
        "joint": {"steps": "last", "cut": "input", "learning_rate": 1e-3, "max_epochs": 15},  # or "every"
        "gdumb": {"cut": "conv5_block1", "learning_rate": 2e-3, "max_epochs": 15},
        "search": {"learning_rates": (), "strengths": (), "increments": 2},  # a method's settings, per class order
        "feature_cache": {"views": 0, "max_gb": 8.0},  # 0: the trunk runs in every step
        "few_shot": {
            "shots": (1, 3, 5, 0),  # 0: all of them
            "draws": 2,  # of all shots there is one
            "batch_size": 32,
            "learning_rate": 1e-3,
            "max_epochs": 6,
            "patience": 100,
            "replay": "auto",  # by protocol: held_out "memory" of the base classes, published "none"
            "exemplars": 18,  # a base class; 0 is as many as the continual phase keeps
        },
    })  # fmt: skip
