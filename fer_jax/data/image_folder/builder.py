"""The TFDS builder of any pictures: `ImageFolderFaces(config=FileSetConfig(listing=scan(…), image_size=…))`."""

from fer_jax.data.file_builder import FileSetBuilder


class ImageFolderFaces(FileSetBuilder):
    """A user's own labelled pictures."""
