"""The TFDS builder of CFEE: `Cfee(config=FileSetConfig(listing=scan(…), image_size=…))`."""

from fer_jax.data.file_builder import FileSetBuilder


class Cfee(FileSetBuilder):
    """Compound Facial Expressions of Emotion: 230 subjects × 22 categories (Du, Tao and Martinez, PNAS 2014)."""
