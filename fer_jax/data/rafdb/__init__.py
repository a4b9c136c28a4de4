"""`rafdb`: Real-world Affective Faces (CVPR 2017), from the folder that its authors send."""

from fer_jax.data.rafdb.builder import Rafdb
from fer_jax.data.rafdb.scan import scan

__all__ = ["Rafdb", "scan"]
