"""Trees of files laid out as the CFEE release is, to be read by `fer_jax.data.cfee`; no picture of it is in them."""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.builder import draw

# Ids 1 to 22 in an order that is neither the alphabet's nor the study's: base classes and neutral lie mixed.
SHEET_NAMES = (
    "Neutral", "Happy", "Sad", "Angry", "Surprised", "Disgusted", "Fearful", "Happily surprised", "Happily disgusted",
    "Sadly angry", "Angrily disgusted", "Appalled", "Hatred", "Angrily surprised", "Sadly surprised",
    "Disgustedly surprised", "Fearfully surprised", "Awed", "Sadly fearful", "Fearfully disgusted", "Fearfully angry",
    "Sadly disgusted",
)  # fmt: skip
BASE = ("happy", "sad", "fearful", "angry", "surprised", "disgusted")


def units(name: str) -> tuple[int, ...]:
    """The action units that the sheet gives a category; none for one of another name than the study's."""
    known = {category.name: category.core for category in categories.CATEGORIES}
    return known.get(name.strip().lower(), ())


def write_sheet(path: pathlib.Path, names: tuple[str, ...] = SHEET_NAMES, sheet: str = "summary") -> None:
    """The annotation sheet, in the format of the path's extension: a header, then id, name, one unit a cell."""
    rows = [["Category", "Name", "AUs"], *([i, name, *units(name)] for i, name in enumerate(names, 1))]
    if path.suffix == ".xls":
        import xlwt

        book = xlwt.Workbook()
        page = book.add_sheet(sheet)
        for r, row in enumerate(rows):
            for c, cell in enumerate(row):
                page.write(r, c, cell)
        book.save(str(path))
    else:
        import openpyxl

        book = openpyxl.Workbook()
        book.active.title = sheet
        for row in rows:
            book.active.append(row)
        book.save(path)


def write_tree(root: pathlib.Path, pictures: dict[tuple[int, int], np.ndarray], sheet: str = ".xls") -> None:
    """Writes u8[H, W, 3] pictures by (subject, category id) as JPEG under the release's names, and the sheet."""
    for (subject, category), picture in pictures.items():
        folder = root / "CFEE_Database_230" / f"Group{1 + subject // 10}" / f"Images{1 + subject // 10}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{category:02}_{101 + subject:03}_IMG_{1000 + subject}.jpg"
        Image.fromarray(picture).save(folder / name, quality=95)
    write_sheet(root / f"AU_annotation_all_subjects{sheet}")


def rendered(n_subjects: int, size: int, names: tuple[str, ...] = SHEET_NAMES) -> dict[tuple[int, int], np.ndarray]:
    """Faces rendered from action units by (subject, category id)."""
    wanted = [(s, c) for s in range(n_subjects) for c, name in enumerate(SHEET_NAMES, 1) if name in names]
    cells = np.asarray([(s, categories.NAMES.index(SHEET_NAMES[c - 1].lower()), 0) for s, c in wanted])
    faces = [draw(0, cells[i : i + 44], size)[0] for i in range(0, len(cells), 44)]
    return dict(zip(wanted, np.concatenate(faces), strict=True))


def noise(n_subjects: int, height: int = 24, width: int = 20) -> dict[tuple[int, int], np.ndarray]:
    """Pictures of noise by (subject, category id), no two alike: quick, where it does not matter what is in them."""
    generator = np.random.default_rng(0)
    cells = [(s, c) for s in range(n_subjects) for c in range(1, 1 + len(SHEET_NAMES))]
    return {cell: generator.integers(0, 256, (height, width, 3), np.uint8) for cell in cells}


def data_config(root: pathlib.Path, prepared: pathlib.Path, **changes) -> ml_collections.ConfigDict:
    """The data keys of a config that reads a tree."""
    plain = {"name": "cfee", "dir": str(prepared), "manual_dir": str(root), "image_size": 32, "on_bad_image": "error",
             "base_classes": BASE, "n_base": 6, "exclude": ("neutral",)}  # fmt: skip
    return ml_collections.ConfigDict({**plain, **changes})
