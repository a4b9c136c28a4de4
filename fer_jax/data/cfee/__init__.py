"""`cfee`: the release of Du, Tao and Martinez (PNAS 2014), from the folder that its authors send."""

from fer_jax.data.cfee.builder import Cfee
from fer_jax.data.cfee.scan import scan
from fer_jax.data.data_set import DataSet
from fer_jax.data.listing import KEYS

DATA_SET = DataSet(KEYS, None)
__all__ = ["DATA_SET", "Cfee", "scan"]
