"""`unsure.png`: a contact sheet of the pictures whose face a person should look at, with the cropped square drawn in
each.
"""

import io
import os
import pathlib

from PIL import Image, ImageDraw, ImageFont

from fer_jax.data.images import BadImage, printable, read_image
from fer_jax.data.prepare import folder
from fer_jax.data.prepare.summary import reason

SHEET = "unsure.png"
MOST, COLUMNS, SIDE, LABEL = 60, 6, 160, 26
ORDER = ("not found", "several found", "low score")


def write(journal: folder.Journal, root: pathlib.Path) -> None:
    """Writes the sheet into the folder's hidden part, unless nothing is unsure."""
    relative = f"{folder.HIDDEN}/{SHEET}"
    unsure = [record for record in journal.records.values() if reason(record)]
    if not unsure:
        (journal.folder / relative).unlink(missing_ok=True)
        return
    file = io.BytesIO()
    sheet(unsure, root).save(file, "PNG", optimize=True)
    folder.write(journal.folder, relative, file.getvalue())


def sheet(unsure: list[dict], root: pathlib.Path) -> Image.Image:
    """Draws at most MOST records as labelled thumbnails: those without a face first, then several, then low scores."""
    from matplotlib import font_manager  # half a second, and mostly not needed

    unsure = sorted(unsure, key=lambda r: (ORDER.index(reason(r)), os.fsencode(r["file"])))
    shown = unsure[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    canvas = Image.new("RGB", (columns * SIDE, (rows * (SIDE + LABEL)) + LABEL), "white")
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 9)
    draw = ImageDraw.Draw(canvas)
    draw.text((4, LABEL / 2), f"{len(shown)} of {len(unsure)} unsure", fill="black", font=font, anchor="lm")
    for k, record in enumerate(shown):
        left, top = k % columns * SIDE, LABEL + k // columns * (SIDE + LABEL)
        canvas.paste(_thumbnail(root / record["file"], record), (left, top + LABEL))
        score = "" if record.get("score") is None else f", score {record['score']:.2f}"
        name = _shorten(printable(record["file"]), font)
        draw.multiline_text((left + 3, top + 2), f"{name}\n{reason(record)}{score}", fill="black", font=font, spacing=1)
    return canvas


def _shorten(name: str, font: ImageFont.FreeTypeFont) -> str:
    """The end of a name, as much of it as fits."""
    if font.getlength(name) <= SIDE - 6:
        return name
    while name and font.getlength("…" + name) > SIDE - 6:
        name = name[1:]
    return "…" + name


def _thumbnail(path: pathlib.Path, record: dict) -> Image.Image:
    try:
        image = Image.fromarray(read_image(path))
    except BadImage:  # gone since it was prepared
        return Image.new("RGB", (SIDE, SIDE), "grey")
    scale = (SIDE - 4) / max(image.size)
    small = image.resize([max(1, round(v * scale)) for v in image.size], Image.Resampling.BILINEAR)
    left, top, side = (v * scale for v in record["square"])
    ImageDraw.Draw(small).rectangle((left, top, left + side - 1, top + side - 1), outline="red", width=2)
    return small
