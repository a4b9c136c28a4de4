"""The TFDS builder of pictures at large: `ImageFolderFaces(config=FileSetConfig(listing=scan(…), image_size=…))`."""

from fer_jax.data.file_builder import FileSetBuilder


class ImageFolderFaces(FileSetBuilder):
    """Labelled pictures of the user's own."""
