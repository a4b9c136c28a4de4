"""`facs_faces`: faces rendered from facial action units, the data set that ships with the package."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from fer_jax.config.rules import one_of, optional, whole
from fer_jax.data import classes
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import DataSet
from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.sampling import TWINS
from fer_jax.errors import UserError

VERSIONS = ("2.0.0", "1.0.0")  # of the pixels, newest first; `builder` says what changed


def _load(config: ConfigDict) -> FaceArrays:
    from fer_jax.data import from_tfds
    from fer_jax.data.facs_faces.builder import FacsFaces, FacsFacesConfig

    builder_config = FacsFacesConfig(
        n_subjects=config.n_subjects,
        image_size=config.image_size,
        images_per_cell=config.images_per_cell,
        seed=config.seed,
        twin=config.get("twin", "none"),
    )
    # TFDS wants its own object for a configuration that has a name of its own.
    builder_config = FacsFaces.builder_configs.get(builder_config.name, builder_config)
    builder = from_tfds.make(FacsFaces, builder_config, config, config.version)
    if config.version != VERSIONS[0] and not pathlib.Path(builder.data_dir).exists():
        raise UserError(
            f"config.data.version is {config.version}, as where a config has none; that is read where it was prepared, "
            f"and not in {builder.data_dir}; it may be {VERSIONS[0]}"
        )
    data = from_tfds.read(builder, config)
    metadata = {**data.metadata, "action_units": list(categories.UNITS)}
    if config.version != VERSIONS[0]:
        metadata["notes"] = [f"version {config.version} has other bytes on other processors; {VERSIONS[0]} has not"]
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


_KEYS = {
    "data.n_subjects": whole(3).means("Number of subjects to render."),
    "data.images_per_cell": whole(1).means("Number of images of each subject and class."),
    "data.seed": whole(0).means("Seed that the faces are drawn from."),
    "data.twin": optional(one_of(*TWINS), "none").means(
        "A second picture of the same expression: of another subject (swapped), or of one between two (mixed)."
    ),
    # A config without it is older than the key and means what it meant.
    "data.version": optional(one_of(*VERSIONS), VERSIONS[-1]).means("Version of the renderer."),
}
DATA_SET = DataSet(_KEYS, _load, _complaint)

__all__ = ["DATA_SET"]
