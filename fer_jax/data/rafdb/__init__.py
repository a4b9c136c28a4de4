"""`rafdb`: Real-world Affective Faces (CVPR 2017), from the folder that its authors send."""

from ml_collections import ConfigDict

from fer_jax.config.rules import one_of
from fer_jax.data.arrays import FaceArrays
from fer_jax.data.data_set import FILE_KEYS, DataSet
from fer_jax.data.rafdb.scan import PARTS, scan


def _load(config: ConfigDict) -> FaceArrays:
    from fer_jax.data import file_builder, from_tfds
    from fer_jax.data.rafdb.builder import Rafdb

    listed = scan(from_tfds.manual_dir(config), config.part, tuple(config.base_classes), config.on_bad_image)
    return file_builder.load(Rafdb, listed, config)


DATA_SET = DataSet({**FILE_KEYS, "data.part": one_of(*PARTS).means("Which expressions to read.")}, _load)

__all__ = ["DATA_SET", "scan"]
