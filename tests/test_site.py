"""The site of docs/ is built strictly, so that no link is broken, and needs nobody else's server."""

import html
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    # Whoever asks for a name of another machine gets an error: the build fetches nothing.
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_document_is_a_page_and_is_in_the_navigation(site):
    start = (site / "index.html").read_text()
    for document in (ROOT / "docs").glob("*.md"):
        assert (site / document.with_suffix(".html").name).is_file()
        assert f'href="{document.with_suffix(".html").name}"' in start or document.stem == "index"


def test_the_notebook_is_a_page_with_its_code_and_pictures(site):
    text = (site / "tour.html").read_text()
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text())
    drawn = [o for cell in notebook["cells"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert text.count('<img src="data:image/png;base64,') == len(drawn) > 0
    code = "".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"])
    assert code.splitlines()[0] in html.unescape(text)
    assert 'href="tour.html"' in (site / "index.html").read_text()
    assert not (site / "tour.ipynb").exists()
    assert "tour.ipynb" not in (site / "index.html").read_text()


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.glob("*.html"):
        text = path.read_text()
        assert re.findall(r'src="(?:https?:)?//[^"]+"', text) == []
        assert re.findall(r'<link[^>]+href="(?:https?:)?//[^"]+"', text) == []
    for path in (site / "css").glob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?https?:", path.read_text()), path


def test_functions_are_there_with_shapes_and_examples(site):
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text())
    example = "estimate({(0, 7, 0): 0.25, (1, 7, 0): 0.75})"
    for wanted in ("average_incremental_accuracy", "predictive_sort", "i32[m], best first", example):
        assert wanted in text
