"""The TFDS builder of rendered faces: no download, no TensorFlow, the same bytes from the same fields on x86-64."""

import concurrent.futures
import dataclasses
import functools
import io
import os
from collections.abc import Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fer_jax import protocol
from fer_jax.data.facs_faces import bayes, categories
from fer_jax.data.facs_faces.exact import Program
from fer_jax.data.facs_faces.render import render
from fer_jax.data.facs_faces.sampling import TWINS, sample_picture, sample_twin

BATCH = 64  # pictures that are rendered before any is written
PIXELS = 2**16  # of the pictures that one thread renders at a time


@dataclasses.dataclass
class FacsFacesConfig(tfds.core.BuilderConfig):
    """The settings of the rendering; the name is made from the fields, so caches of different settings never meet.

    n_subjects: people; adding some does not change the others.
    image_size: pixels of the square pictures.
    images_per_cell: pictures of each subject in each of the 22 categories.
    seed: of everything drawn.
    intensity: present units have an intensity from U(low, high).
    twin: a second picture of each picture's units: none; swapped, of another person; or mixed, of a person between two.
    """

    name: str = ""
    n_subjects: int = 230
    image_size: int = 64
    images_per_cell: int = 1
    seed: int = 0
    intensity: tuple[float, float] = (0.5, 1.0)
    twin: str = "none"

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
        if self.twin not in TWINS:
            raise ValueError(f"facs_faces twin is {self.twin!r}; it may be one of {', '.join(TWINS)}")
        if self.twin != "none":
            self.name += f"_{self.twin}"


class FacsFaces(tfds.core.GeneratorBasedBuilder):
    """Faces of the 22 expression categories, rendered from action-unit intensities.

    One split, "faces", in the order of subject, category, image: the project makes its own subject folds. `metadata`
    has the Bayes accuracy for the six basic categories, for all 21, and after each step of ten class orders.

    Version 1.0.0 can be read where it was prepared, for workdirs that were begun with it.
    """

    VERSION = tfds.core.Version("2.0.0")
    SUPPORTED_VERSIONS: ClassVar = [tfds.core.Version("1.0.0")]
    RELEASE_NOTES: ClassVar = {
        "2.0.0": "The same bytes on every machine; two or three values in 100,000 differ by one from those of 1.0.0.",
        "1.0.0": "Rendered by XLA: between processors about one value in 100,000 differs by one.",
    }
    BUILDER_CONFIGS = (FacsFacesConfig(), FacsFacesConfig(image_size=224))

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description=FacsFaces.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": image,
                    "label": tfds.features.ClassLabel(names=list(categories.NAMES)),
                    "subject": np.int32,
                    "number": np.int32,
                    "action_units": tfds.features.Tensor(shape=(len(categories.UNITS),), dtype=np.float32),
                    **({} if self.builder_config.twin == "none" else {f"twin_{self.builder_config.twin}": image}),
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
            pictures, units = draw(c.seed, rows, c.image_size, tuple(c.intensity))
            twins = None if c.twin == "none" else draw(c.seed, rows, c.image_size, tuple(c.intensity), c.twin)[0]
            for i, (row, picture, present) in enumerate(zip(rows.tolist(), pictures, units, strict=True)):
                subject, category, number = row
                yield (
                    start + i,
                    {
                        "image": _png(picture),
                        "label": category,
                        "subject": subject,
                        "number": number,
                        "action_units": present,
                        **({} if twins is None else {f"twin_{c.twin}": _png(twins[i])}),
                    },
                )


def draw(
    seed: int,
    cells: np.ndarray,
    image_size: int = 64,
    intensity: tuple[float, float] = (0.5, 1.0),
    twin: str = "none",
) -> tuple[np.ndarray, np.ndarray]:
    """Renders pictures of cells i[B, 3] (subject, category, number) on the host, to the same bits on x86-64.

    twin: one of `sampling.TWINS`; the twins of these pictures are rendered, not they.

    Returns:
      u8[B, image_size, image_size, 3] and the intensities of the action units, f32[B, 17].
    """
    at_once = min(BATCH, max(1, PIXELS // image_size**2))
    program = _program(at_once, image_size, intensity, twin)
    groups = [cells[at : at + at_once] for at in range(0, len(cells), at_once)]

    def one(group):
        return program(np.int32(seed), _filled(group, at_once))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        pictures, units = zip(*threads.map(one, groups), strict=True)
    return np.concatenate(pictures)[: len(cells)], np.concatenate(units)[: len(cells)]


def _filled(cells: np.ndarray, n: int) -> np.ndarray:
    """Repeats the last cell until there are n, so that all batches have one shape."""
    return np.pad(cells, ((0, n - len(cells)), (0, 0)), mode="edge").astype(np.int32)


@functools.cache
def _program(n: int, image_size: int, intensity: tuple[float, float], twin: str = "none") -> Program:
    function = functools.partial(_pictures, image_size=image_size, intensity=intensity, twin=twin)
    return Program(jax.make_jaxpr(function)(np.int32(0), np.zeros((n, 3), np.int32)))


def _pictures(seed, cells, image_size, intensity, twin="none"):
    def one(cell):
        if twin == "none":
            picture = sample_picture(seed, *cell, intensity=intensity)
        else:
            picture = sample_twin(seed, *cell, kind=twin, intensity=intensity)
        image = render(*picture, size=image_size)
        return jnp.round(image * 255).astype(jnp.uint8), picture.action_units

    return jax.vmap(one)(cells)


def _png(picture: np.ndarray) -> io.BytesIO:
    """Encoded by Pillow: TFDS would import TensorFlow to encode an array."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=6)
    file.seek(0)
    return file
