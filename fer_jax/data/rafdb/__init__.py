"""`rafdb`: Real-world Affective Faces (CVPR 2017), from the folder that its authors send."""

from fer_jax.config.rules import one_of
from fer_jax.data.data_set import DataSet
from fer_jax.data.listing import KEYS
from fer_jax.data.rafdb.builder import Rafdb
from fer_jax.data.rafdb.scan import scan

DATA_SET = DataSet({**KEYS, "data.part": one_of("basic", "compound", "both")}, None)
__all__ = ["DATA_SET", "Rafdb", "scan"]
