"""scikit-learn's digits, class-incremental, as other libraries run them: seconds a method on two CPU cores.

    fer-jax train --config configs/digits.py:4+6x1 --workdir runs/digits
    fer-jax train --config configs/digits.py:5x2 --workdir runs/digits5x2

`4+6x1` begins with four digits and adds one at a time, `5x2` adds two at a time. 1,797 pictures of 8 × 8, a fifth of
every digit held out, MLP 64-128-128-10, Adam 1e-3, 20 epochs a task, a memory of 30 % of the training pictures; every
fit ends after its last epoch, nothing is chosen.
"""

import ml_collections

STREAMS = {"4+6x1": (4, 1), "5x2": (2, 2)}


def get_config(stream: str = "4+6x1") -> ml_collections.ConfigDict:
    if stream not in STREAMS:
        raise ValueError(f"{stream!r} is no stream; it may be one of {', '.join(STREAMS)}")
    n_base, per_increment = STREAMS[stream]
    return ml_collections.ConfigDict({
        "seed": 0,
        "data": {"name": "digits", "dir": "", "image_size": 8, "exclude": (), "n_base": n_base, "residency": "auto"},
        "protocol": {
            "name": "stratified",
            "n_folds": 5,
            "folds": (0,),
            "n_orders": 3,
            "orders": (),
            "order_seed": 42,
            "classes_per_increment": per_increment,
        },
        "model": {"name": "mlp", "widths": (128, 128), "hidden": (), "dropout": 0.0, "weights": "none",
                  "input_range": "auto", "precision": "auto"},
        "augment": {"flip": 0.0, "rotation": 0.0, "zoom": 0.0, "translation": 0.0},
        "basic": {
            "batch_size": 32,
            "l2": 0.0,
            "patience": 1000,
            "min_delta": 0.0,
            "head": {"cut": "head", "learning_rate": 1e-3, "max_epochs": 0},
            "body": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 20},
        },
        "memory": {"mode": "grow", "share": 0.3, "rule": "auto"},
        "continual": {
            "cut": "input",
            "batch_size": 32,
            "learning_rate": 1e-3,
            "max_epochs": 20,
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
                    "er_ace", "er_paired", "derpp_paired", "er_ace_paired", "ncm", "slda", "joint",
                    "contrastive_replay"),
        "joint": {"steps": "every", "cut": "input", "learning_rate": 1e-3, "max_epochs": 20},
        "gdumb": {"cut": "input", "learning_rate": 1e-3, "max_epochs": 20},
        "deep": {"cut": "input", "batch_size": 32, "learning_rate": 1e-3, "max_epochs": 20},
        "search": {"learning_rates": (), "strengths": (), "increments": 1},
        "feature_cache": {"views": 0, "max_gb": 8.0},
        "few_shot": {"shots": (), "draws": 1, "batch_size": 32, "learning_rate": 1e-3, "max_epochs": 1, "patience": 100,
                     "replay": "auto", "exemplars": 0},
    })  # fmt: skip
