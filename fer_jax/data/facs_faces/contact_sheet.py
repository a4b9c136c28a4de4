"""A contact sheet of the rendered faces: every category in several people, and every action unit alone.

python -m fer_jax.data.facs_faces.contact_sheet --out docs/faces.png
"""

import argparse
import functools
import pathlib
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.parameters import IDENTITY, NUISANCE, neutral_nuisance, sample_identity
from fer_jax.data.facs_faces.render import render
from fer_jax.data.facs_faces.sampling import Picture, sample_picture

COLUMNS = 11
LABEL_HEIGHT = 24
COLOURS = 128


def _label(text: str, width: int) -> np.ndarray:
    """Dark text on white, centred on up to two lines, u8[LABEL_HEIGHT, width, 3]."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 9)
    image = Image.new("RGB", (width, LABEL_HEIGHT), "white")
    lines = textwrap.wrap(text, int(width / font.getlength("n")))
    ImageDraw.Draw(image).multiline_text(
        (width / 2, LABEL_HEIGHT / 2),
        "\n".join(lines),
        fill="black",
        font=font,
        anchor="mm",
        align="center",
        spacing=1,
    )
    return np.asarray(image)


def _title(text: str, width: int) -> np.ndarray:
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), 12)
    image = Image.new("RGB", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(image).text((4, LABEL_HEIGHT / 2), text, fill="black", font=font, anchor="lm")
    return np.asarray(image)


@functools.partial(jax.jit, static_argnames="size")
def _render_all(picture: Picture, size: int) -> jax.Array:
    return jax.vmap(lambda p: render(*p, size=size))(picture)


def _blocks(labels: list[str], faces: np.ndarray) -> list[np.ndarray]:
    """Labelled columns, wrapped after COLUMNS of them; faces u8[rows, len(labels), S, S, 3]."""
    rows, n, size = faces.shape[:3]
    blocks = []
    for start in range(0, n, COLUMNS):
        blank = COLUMNS - len(labels[start : start + COLUMNS])
        names = [*labels[start : start + COLUMNS], *[""] * blank]
        part = np.pad(faces[:, start : start + COLUMNS], ((0, 0), (0, blank), *((0, 0),) * 3), constant_values=255)
        blocks.append(np.concatenate([_label(name, size) for name in names], axis=1))
        blocks.append(part.transpose(0, 2, 1, 3, 4).reshape(rows * size, COLUMNS * size, 3))
    return blocks


def category_faces(seed: int, n_subjects: int, size: int) -> np.ndarray:
    """Renders the first subjects of a seed in every category as the data set does, but without noise in the picture.

    Returns:
      u8[n_subjects, 22, size, size, 3].
    """
    n = len(categories.NAMES)
    subject, category = np.divmod(np.arange(n_subjects * n), n)
    pictures = jax.vmap(lambda s, c: sample_picture(seed, s, c, 0))(jnp.asarray(subject), jnp.asarray(category))
    quiet = pictures.nuisance.at[:, list(NUISANCE).index("noise")].set(0.0)
    faces = _render_all(pictures._replace(nuisance=quiet), size)
    return np.asarray(jnp.round(faces * 255), np.uint8).reshape(n_subjects, n, size, size, 3)


def unit_faces(seed: int, n_subjects: int, size: int) -> np.ndarray:
    """Renders no unit and then each unit alone at intensity 1, from the front, u8[n_subjects, 18, size, size, 3]."""
    units = np.concatenate([np.zeros((1, len(categories.UNITS))), np.eye(len(categories.UNITS))])
    people = jax.vmap(sample_identity)(jax.random.split(jax.random.key(seed), n_subjects))
    # Nothing that hides a unit: no glasses, no beard.
    names = list(IDENTITY)
    people = people.at[:, names.index("glasses")].set(-1.0).at[:, names.index("beard")].set(-1.0)
    identity = jnp.repeat(people, len(units), axis=0)
    nuisance = jnp.tile(neutral_nuisance(), (len(identity), 1))
    faces = _render_all(Picture(identity, jnp.tile(jnp.asarray(units, jnp.float32), (n_subjects, 1)), nuisance), size)
    return np.asarray(jnp.round(faces * 255), np.uint8).reshape(n_subjects, len(units), size, size, 3)


def contact_sheet(seed: int = 0, n_subjects: int = 4, size: int = 80) -> Image.Image:
    """Draws the whole sheet, in a palette of COLOURS so that the file stays small."""
    width = COLUMNS * size
    units = ["neutral", *(f"{unit} {name}" for unit, name in categories.ACTION_UNITS.items())]
    parts = [
        _title(f"The 22 categories in {n_subjects} people", width),
        *_blocks(list(categories.NAMES), category_faces(seed, n_subjects, size)),
        _title("Each action unit alone, at intensity 1", width),
        *_blocks(units, unit_faces(seed + 1, 2, size)),
    ]
    sheet = Image.fromarray(np.concatenate(parts))
    return sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def main() -> None:
    """Draws the sheet to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--size", type=int, default=80, help="pixels of a face")
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(a.seed, a.subjects, a.size).save(a.out, optimize=True)
    print(f"{a.out}: {a.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
