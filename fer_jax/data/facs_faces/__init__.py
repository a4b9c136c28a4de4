"""`facs_faces`: faces rendered from facial action units, the data set that ships with the package."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from fer_jax.config.rules import whole
from fer_jax.data import classes
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.facs_faces import categories


def _load(config: ConfigDict) -> FaceArrays:
    from fer_jax.data import from_tfds
    from fer_jax.data.facs_faces.builder import FacsFaces, FacsFacesConfig

    builder_config = FacsFacesConfig(
        n_subjects=config.n_subjects,
        image_size=config.image_size,
        images_per_cell=config.images_per_cell,
        seed=config.seed,
    )
    # TFDS wants its own object for a configuration that has a name of its own.
    builder_config = FacsFaces.builder_configs.get(builder_config.name, builder_config)
    data = from_tfds.read(FacsFaces(config=builder_config, data_dir=from_tfds.data_dir(config)), config)
    metadata = {**data.metadata, "action_units": list(categories.UNITS)}
    if classes.excluded(config, data.class_names) != ("neutral",):
        # The builder's Bayes accuracies are of the 21 expressions, not of another choice of classes.
        del metadata["bayes"]
    presence = categories.presence_probability().astype(np.float32)
    return dataclasses.replace(data, metadata=metadata, class_targets={"action_units": presence})


def _complaint(config: ConfigDict) -> str | None:
    n_folds, n_subjects = config.protocol.n_folds, config.data.n_subjects
    if n_folds > n_subjects:
        return f"protocol.n_folds is {n_folds}; it may be at most data.n_subjects, {n_subjects}"
    return None


_KEYS = {"data.n_subjects": whole(3), "data.images_per_cell": whole(1), "data.seed": whole(0, 2**31 - 1)}
DATA_SET = DataSet(_KEYS, _load, _complaint)

__all__ = ["DATA_SET"]
