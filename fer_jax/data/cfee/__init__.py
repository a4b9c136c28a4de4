"""`cfee`: the release of Du, Tao and Martinez (PNAS 2014), from the folder that its authors send."""

from ml_collections import ConfigDict

from fer_jax.data.arrays import FaceArrays
from fer_jax.data.cfee.scan import scan
from fer_jax.data.data_set import FILE_KEYS, DataSet


def _load(config: ConfigDict) -> FaceArrays:
    from fer_jax.data import file_builder, from_tfds
    from fer_jax.data.cfee.builder import Cfee

    listed = scan(from_tfds.manual_dir(config), tuple(config.base_classes), config.on_bad_image)
    return file_builder.load(Cfee, listed, config)


DATA_SET = DataSet(FILE_KEYS, _load)

__all__ = ["DATA_SET", "scan"]
