"""docs/report.png: three parts of a run's page side by side, as a Chromium shows them.

    python -m studies.documents.screenshot runs/results/report/index.html docs/report.png

Needs playwright and a Chromium that is there; none is fetched.
"""

import argparse
import io
import os
import pathlib
import shutil
import sys

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PARTS = ("body", "#confusion", "#looks")  # what stands at the top of each part
VIEW = {"width": 840, "height": 1000}
GAP = 12
COLOURS = 128  # a page of text and few hues: a third of the bytes


def shots(page: pathlib.Path, browser: str) -> list[Image.Image]:
    """A picture of each of PARTS, VIEW in size, without what moves."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=browser, args=options)
        view = opened.new_page(viewport=VIEW, color_scheme="light", reduced_motion="reduce")
        view.goto(page.resolve().as_uri())
        found = []
        for part in PARTS:
            view.locator(part).first.evaluate("(part) => part.scrollIntoView({block: 'start'})")
            found.append(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))
        opened.close()
    return found


def main() -> None:
    """Writes the picture, or says in one line why it cannot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    known = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    if not known.page.is_file():
        sys.exit(f"{known.page} is not there; make results makes it")
    parts = shots(known.page, browser)
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    sheet = Image.new("RGB", (width, VIEW["height"]), "#c8ccd2")
    for i, part in enumerate(parts):
        sheet.paste(part, (i * (VIEW["width"] + GAP), 0))
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(known.out, optimize=True)


if __name__ == "__main__":
    main()
