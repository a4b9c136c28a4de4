"""Split Fashion-MNIST, five tasks of two classes, all methods: about five minutes on two CPU cores.

    fer-jax train --config configs/fashion_mnist.py --workdir runs/fashion

Needs the four IDX files, as Debian's package dataset-fashion-mnist installs them or in a folder of yours
(`--config.data.manual_dir`). The official test set tests; a memory of 1,000 of the 60,000 training pictures, a small
convolutional network trained from its input, one epoch a task, Adam 1e-3, one seed and class order.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({
        "seed": 0,
        "data": {
            "name": "idx",
            "dir": "",
            "manual_dir": "/usr/share/datasets/fashion-mnist",  # where Debian's package has them
            "class_names": ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
                            "ankle boot"),
            "image_size": 28,
            "exclude": (),
            "n_base": 2,
            "residency": "auto",
        },
        "protocol": {
            "name": "stratified",
            "n_folds": 10,
            "folds": (0,),
            "n_orders": 1,
            "orders": (),
            "order_seed": 42,
            "classes_per_increment": 2,
        },
        "model": {"name": "convnet", "widths": (16, 32, 64), "hidden": (), "dropout": 0.0, "weights": "none",
                  "input_range": "auto", "precision": "auto"},
        "augment": {"flip": 0.0, "rotation": 0.0, "zoom": 0.0, "translation": 0.0},
        "basic": {
            "batch_size": 64,
            "l2": 0.0,
            "patience": 1000,
            "min_delta": 0.0,
            "head": {"cut": "head", "learning_rate": 1e-3, "max_epochs": 0},
            "body": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 1},
        },
        "memory": {"mode": "grow", "share": 0.016667, "rule": "auto"},  # 1,000 of 60,000
        "continual": {
            "cut": "input",
            "batch_size": 64,
            "learning_rate": 1e-3,
            "max_epochs": 1,
            "patience": 1000,
            "gamma": 0.1,
            "temperature": 3.0,
            "distill_over": "auto",
            "augment": False,
            "side_by_side": 1,  # class orders that train at once
            "teacher": "auto",
            "loss": "auto",
        },
        "methods": ("kd_psmr", "finetune", "lwf", "ewc", "er", "er_reservoir", "icarl", "derpp", "wa", "bic", "gdumb",
                    "er_ace", "ncm", "slda", "joint"),
        "joint": {"steps": "every", "cut": "input", "learning_rate": 1e-3, "max_epochs": 1},
        "gdumb": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 40},  # up to 60,000 images, as joint training
        "search": {"learning_rates": (), "strengths": (), "increments": 1},
        "feature_cache": {"views": 0, "max_gb": 8.0},
        "few_shot": {"shots": (), "draws": 1, "batch_size": 64, "learning_rate": 1e-3, "max_epochs": 1, "patience": 100,
                     "replay": "auto", "exemplars": 0},
    })  # fmt: skip
