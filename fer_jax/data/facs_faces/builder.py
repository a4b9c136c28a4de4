"""The TFDS builder of rendered faces: no download, no TensorFlow, the same bytes from the same fields."""

import dataclasses
import functools
import io
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fer_jax import protocol
from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.render import render
from fer_jax.data.facs_faces.sampling import sample_picture

BATCH = 64


@dataclasses.dataclass
class FacsFacesConfig(tfds.core.BuilderConfig):
    """The settings of the rendering; the name is made from the fields, so caches of different settings never meet.

    n_subjects: people; adding some does not change the others.
    image_size: pixels of the square pictures.
    images_per_cell: pictures of each subject in each of the 22 categories.
    seed: of everything drawn.
    intensity: present units have an intensity from U(low, high).
    """

    name: str = ""
    n_subjects: int = 230
    image_size: int = 64
    images_per_cell: int = 1
    seed: int = 0
    intensity: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self):
        for field, low in (("n_subjects", 1), ("image_size", 16), ("images_per_cell", 1), ("seed", 0)):
            value = getattr(self, field)
            if not isinstance(value, int) or value < low:
                raise ValueError(f"facs_faces {field} is {value!r}; it may be a whole number from {low}")
        low, high = self.intensity
        if not 0 < low <= high <= 1:
            raise ValueError(f"facs_faces intensity is {self.intensity}; it may be 0 < low <= high <= 1")
        plain = (self.n_subjects, self.images_per_cell, self.seed, self.intensity) == (230, 1, 0, (0.5, 1.0))
        if plain and self.image_size in (64, 224):
            self.name = {64: "quick", 224: "full"}[self.image_size]
        else:
            self.name = (
                f"s{self.n_subjects}_p{self.image_size}_i{self.images_per_cell}_r{self.seed}"
                f"_u{round(1000 * low)}-{round(1000 * high)}"
            )


class FacsFaces(tfds.core.GeneratorBasedBuilder):
    """Faces of the 22 expression categories, rendered from action-unit intensities.

    One split, "faces", in the order of subject, category, image: the project makes its own subject folds. `metadata`
    has the Bayes accuracy for the six basic categories, for all 21, and after each step of ten class orders.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (FacsFacesConfig(), FacsFacesConfig(image_size=224))

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description=FacsFaces.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(categories.NAMES)),
                    "subject": np.int32,
                    "number": np.int32,
                    "action_units": tfds.features.Tensor(shape=(len(categories.UNITS),), dtype=np.float32),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(self._metadata()),
        )

    def _metadata(self) -> dict:
        orders = protocol.class_orders(categories.N_COMPOUND)
        c = self.builder_config
        return {
            "bayes": {
                "basic": bayes.bayes_accuracy(np.arange(categories.N_BASIC)),
                "all": bayes.bayes_accuracy(np.arange(categories.N_BASIC + categories.N_COMPOUND)),
                "class_orders": orders.tolist(),
                "by_order_and_step": bayes.bayes_table(orders).tolist(),
            },
            "settings": {
                "n_subjects": c.n_subjects, "image_size": c.image_size, "images_per_cell": c.images_per_cell,
                "seed": c.seed, "intensity": list(c.intensity),
            },
        }  # fmt: skip

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager
        return {"faces": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        c = self.builder_config
        n = c.n_subjects * len(categories.NAMES) * c.images_per_cell
        cells = np.stack(
            np.unravel_index(np.arange(n), (c.n_subjects, len(categories.NAMES), c.images_per_cell)), axis=1
        )
        for start in range(0, n, BATCH):
            rows = cells[start : start + BATCH]
            # One compiled shape: the last batch repeats its last row.
            filled = jnp.asarray(np.pad(rows, ((0, BATCH - len(rows)), (0, 0)), mode="edge"))
            pictures, units = _draw(c.seed, filled, c.image_size, tuple(c.intensity))
            for i, (picture, present) in enumerate(zip(np.asarray(pictures), np.asarray(units), strict=True)):
                if i < len(rows):
                    subject, category, number = (int(v) for v in rows[i])
                    yield (
                        start + i,
                        {
                            "image": _png(picture),
                            "label": category,
                            "subject": subject,
                            "number": number,
                            "action_units": present,
                        },
                    )


def draw(seed: int, cells: np.ndarray, image_size: int = 64, intensity: tuple[float, float] = (0.5, 1.0)):
    """Renders pictures of cells i[B, 3] (subject, category, number).

    Returns:
      u8[B, image_size, image_size, 3] and the intensities of the action units, f32[B, 17].
    """
    return _draw(seed, jnp.asarray(cells), image_size, intensity)


@functools.partial(jax.jit, static_argnames=("image_size", "intensity"))
def _draw(seed, cells, image_size, intensity):
    def one(cell):
        picture = sample_picture(seed, *cell, intensity=intensity)
        image = render(*picture, size=image_size)
        return jnp.round(image * 255).astype(jnp.uint8), picture.action_units

    return jax.vmap(one)(cells)


def _png(picture: np.ndarray) -> io.BytesIO:
    """Encoded by Pillow: TFDS would import TensorFlow to encode an array."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=6)
    file.seek(0)
    return file
