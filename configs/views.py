"""What training on cached views of the trunk's output costs in accuracy: the paper's method on the quickstart's faces.

    fer-jax sweep --config configs/views.py --workdir runs/views --over feature_cache.views=0,4,8,16,32 \\
        --over fold=2,3,4,5,6

Two class orders under the quickstart's settings; `feature_cache.views` is what the sweep varies, 0 the exact mode.
docs/performance.md has what came out; `make views` makes it.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["faces"]()
    config.update_from_flattened_dict({
        "protocol.n_orders": 2,
        "methods": ("kd_psmr",),
        "continual.side_by_side": 2,
        "few_shot.shots": (),
    })  # fmt: skip
    return config
