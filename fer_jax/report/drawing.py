"""The style of the report's figures, and how a figure gets into the page and into files.

Inside the page a figure is SVG that takes the page's own text colour, so that light, dark and paper need one copy.
"""

import io
import pathlib
import re
from typing import NamedTuple

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from fer_jax.runs import files

# As wide as a phone's page at 9 points: text stays readable where the figure is not scrolled.
WIDTH = 5.2
# Each has a contrast of 3 : 1 or more on white and on the page's dark ground (WCAG 2.1, 1.4.11).
COLOURS = ("#2f7fc1", "#d0661a", "#23915b", "#d0463f", "#8a63c8", "#a0694f", "#cc4f9c", "#7d7d7d", "#15929c", "#86861a")
MARKERS = ("o", "s", "^")
LINES = ("-", "--", ":")
STYLE = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "svg.hashsalt": "fer_jax",
}
GREY = "#9aa1ab"  # of what is not highlighted
NAMED = "named:"  # an id that begins so is a name, which the page shows where the pointer rests
INK = "#010101"  # black that stays black in the dark, on grounds of the figure's own


class Picture(NamedTuple):
    """A figure in the page.

    svg: markup. alt: what it shows, for who cannot see it. files: names of the same figure beside the page.
    """

    svg: str
    alt: str
    files: tuple[str, ...]


def look(number: int) -> dict[str, str]:
    """Returns the colour, line and marker of series `number` in a figure; no two series differ by colour alone."""
    turn, colour = divmod(number, len(COLOURS))
    return {
        "color": COLOURS[colour],
        "linestyle": LINES[turn % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def save(figure: Figure, folder: pathlib.Path, name: str, alt: str) -> Picture:
    """Writes `name`.png and `name`.pdf, and returns the figure as the page shows it."""
    with matplotlib.rc_context(STYLE):
        names = save_files(figure, folder, name)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Picture(inline(text.getvalue(), name, alt), alt, names)


def save_files(figure: Figure, folder: pathlib.Path, name: str) -> tuple[str, ...]:
    """Writes `name`.png and `name`.pdf; returns these names."""
    with matplotlib.rc_context(STYLE):
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once; each file would do it again
        for kind, more in (("png", {"dpi": 150}), ("pdf", {"metadata": {"CreationDate": None}})):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, **more)
            files.write(folder / f"{name}.{kind}", drawn.getvalue())
    return f"{name}.png", f"{name}.pdf"


def inline(svg: str, name: str, alt: str) -> str:
    """Returns Matplotlib's SVG for use in the page: unique ids, black as the page's text colour, no fixed size."""
    start = svg.index("<svg")
    text = re.sub(r"<metadata>.*?</metadata>", "", svg[start:], flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">.*?</style>', "", text, flags=re.DOTALL)
    text = re.sub(rf'<g id="{NAMED}([^"]+)">', r"<g><title>\1</title>", text)
    prefix = re.sub(r"\W+", "_", name)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = text.replace("#000000", "currentColor")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    view = re.search(r'viewBox="([^"]+)"', text)[1]
    width = float(view.split()[2])
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view}" '
        f'role="img" aria-label="{label}" style="max-width: {1.75 * width:.0f}px" fill="currentColor">'
    )
    return head + text[text.index(">") + 1 :].strip()


def slug(name: str) -> str:
    """Returns the name with all characters replaced that do not fit a file name or an id."""
    return re.sub(r"[^\w.+=-]+", "_", name)
