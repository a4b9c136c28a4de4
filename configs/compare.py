"""Every method on rendered faces under one protocol: the quickstart's faces and network, two class orders.

    fer-jax sweep --config configs/compare.py --workdir runs/compare --over fold=2,3,4,5,6
    fer-jax report --workdir runs/compare

Five folds of two orders take an hour on two CPU cores. Each method's learning rate, and the weight of its own term if
it has one, is chosen for every class order in its first two increments, on validation people. All methods train the
same tail on the same cached views of the frozen trunk's output.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["faces"]()
    config.update_from_flattened_dict({
        "protocol.n_orders": 2,
        "methods": ("kd_psmr", "finetune", "lwf", "ewc", "er", "er_reservoir", "icarl", "derpp", "wa", "bic", "gdumb",
                    "er_ace", "er_paired", "derpp_paired", "er_ace_paired", "ncm", "slda", "joint",
                    # The paper's method, but it reads all new images as experience replay does.
                    "fer_jax.ingredients.kd_psmr_all_new"),
        # For time; on validation people batches of 32 do as well (docs/results/tuning.json).
        "continual.batch_size": 32,
        "continual.max_epochs": 4,
        "continual.side_by_side": 2,
        "search.learning_rates": (1.5e-4, 5e-4, 1.5e-3, 4e-3, 1.2e-2),
        "search.strengths": (0.01, 0.1, 1.0, 10.0, 100.0),
        "feature_cache.views": 8,
        # The same tail as all others train, at every step.
        "joint.steps": "every",
        "joint.cut": "conv5_block1",
        "joint.learning_rate": 1e-3,
        "joint.max_epochs": 16,
        "few_shot.shots": (),
    })  # fmt: skip
    return config
