"""The TFDS builder of RAF-DB: `Rafdb(config=FileSetConfig(listing=scan(…), image_size=…))`."""

from fer_jax.data.file_builder import FileSetBuilder


class Rafdb(FileSetBuilder):
    """Real-world Affective Faces: 7 basic and 11 compound expressions, official split (Li, Deng and Du, CVPR 2017)."""
