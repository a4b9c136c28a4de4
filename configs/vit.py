"""Every classifier of the method table on a frozen vision transformer's features of rendered faces of 112 pixels.

    fer-jax train --config configs/vit.py --workdir runs/vit \
        --config.model.weights=FILE --config.model.source='where FILE came from'

docs/weights.md says where to get files, and the settings of each kind. The config is DINOv2's ViT-S/14. Without weights
it runs on a random network's features, and its accuracies mean nothing. It is timed so, since no file was available: a
test (`make test-slow`) fails if it takes more than five minutes on two CPU cores, rendering and compilation included.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = runpy.run_path(str(pathlib.Path(__file__).parent / "quickstart.py"))["get_config"]()
    config.model = {
        "name": "vit",
        "variant": "dinov2",  # or "timm", "mae", "clip"
        "patch": 14,
        "width": 384,  # S; B has 768
        "depth": 12,
        "pooling": "class",  # or "mean", "mean_norm"
        "hidden": (),
        "dropout": 0.0,
        "weights": "none",
        "source": "",  # where the file came from; the model card repeats it
        "input_range": "auto",
        # What DINOv2 was trained on. A face is cut out already, so that nothing more is cropped.
        "input": {
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "size": 0,  # as the images are: 112 pixels are 8 × 8 patches; 224 would enlarge them
            "crop": 1.0,
            "interpolation": "bicubic",
        },
        "precision": "auto",
    }
    config.update_from_flattened_dict({
        "data.image_size": 112,
        "protocol.n_orders": 1,
        "data.n_subjects": 30,  # few enough for two CPU cores
        # The backbone stays frozen in all phases. The base task passes each epoch's images through it; later phases
        # read one plain and two augmented views of every image from the cache.
        "basic.head.cut": "head",
        "basic.head.max_epochs": 5,
        "basic.body.cut": "head",
        "basic.body.max_epochs": 0,
        "continual.cut": "head",
        "joint.cut": "head",
        "gdumb.cut": "head",
        "feature_cache.views": 2,
        "methods": ("ncm", "slda", "ranpac", "klda", "fecam", "composition", "icarl", "kd_psmr", "joint"),
        "few_shot.shots": (),
    })  # fmt: skip
    return config
