"""From picture files to batches: decoding, cutting to size, streaming from the host, augmentation."""

import pathlib
import tempfile
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fer_jax import rng
from fer_jax.augment import augment
from fer_jax.bench.record import Bench
from fer_jax.bench.timing import interleaved, warm
from fer_jax.data import residency
from fer_jax.data.images import read_image, square

WIDTH, HEIGHT = 562, 762  # CFEE's pictures
FILES = 16
ON_HOST, BATCHES = 512, 64  # pictures that batches are streamed from, and how many


def write_pictures(folder: pathlib.Path, n: int) -> list[pathlib.Path]:
    """Writes JPEGs of CFEE's size, smooth with some noise, so that they are about as large as photographs (90 kB)."""
    generator = np.random.default_rng(0)
    paths = []
    for k in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (24, 18, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        pixels = (smooth + generator.integers(-6, 7, smooth.shape, np.int16)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{k:03}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def measure(bench: Bench) -> Iterator[dict]:
    """Yields the time of each part of the input pipeline."""
    size, batch = bench.large.data.image_size, bench.large.continual.batch_size
    a = bench.large.augment
    amounts = (a.flip, a.rotation, a.zoom, a.translation)
    images = jax.random.uniform(jax.random.key(0), (batch, size, size, 3), jnp.float32)
    generator = np.random.default_rng(0)
    on_host = generator.integers(0, 256, (ON_HOST, size, size, 3), np.uint8)
    batches = generator.integers(0, ON_HOST, (8 if bench.quick else BATCHES, batch))
    augmented = jax.jit(lambda key, images: augment(key, images, *amounts))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(pathlib.Path(folder), 4 if bench.quick else FILES)
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1000
        pictures = [read_image(path) for path in paths]
        made = {
            "decode": (lambda: [read_image(path) for path in paths], len(paths)),
            "cut to size": (lambda: [square(picture, size) for picture in pictures], len(paths)),
            "stream": (lambda: [jax.device_put(one) for one in residency.stream(on_host, batches)], batches.size),
            "augment": (lambda: augmented(rng.derive(0, "augment"), images), batch),
        }
        warmed = {name: warm(function) for name, (function, _) in made.items()}
        seconds = interleaved(
            {name: function for name, (function, _) in made.items()}, bench.rounds(15), bench.budget(30)
        )
    for name, (_, n) in made.items():
        told = {"what": name, "pixels": size, "of": [WIDTH, HEIGHT], "mean_kilobytes": round(kilobytes, 1)}
        if name == "stream":
            told = {"what": name, "pixels": size, "of": ON_HOST, "batch": batch}
        elif name == "augment":
            told = {"what": name, "pixels": size, "amounts": list(amounts), "batch": batch}
        yield bench.record("input", told, n, seconds[name], warmed[name])
