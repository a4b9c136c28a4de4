"""`image_folder`: any labelled pictures, a folder a class or a table."""

from fer_jax.data.image_folder.builder import ImageFolderFaces
from fer_jax.data.image_folder.scan import scan

__all__ = ["ImageFolderFaces", "scan"]
