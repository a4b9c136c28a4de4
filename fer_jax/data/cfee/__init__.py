"""`cfee`: the release of Du, Tao and Martinez (PNAS 2014), from the folder that its authors send."""

from fer_jax.data.cfee.builder import Cfee
from fer_jax.data.cfee.scan import scan

__all__ = ["Cfee", "scan"]
