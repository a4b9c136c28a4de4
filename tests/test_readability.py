"""Documents keep to the rules of docs/style.md that can be counted: short sentences and paragraphs, a purpose first."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Generated from the keys, and a list of docstrings.
GENERATED = {"configuration.md", "api.md"}
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED]
DOCUMENTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "launch" / "README.md"]
MOST_WORDS, MOST_LINES = 35, 6


def paragraphs(text: str) -> list[str]:
    """Returns the running text: paragraphs and items of lists, without code, tables, headings and pictures."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = [block for block in re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", text) if block.strip()]
    return [block for block in blocks if not re.match(r"\s*(\||#|!\[|    )", block)]


def sentences(paragraph: str) -> list[str]:
    """Returns the sentences of a paragraph; a code span counts as a word, and so does a formula without spaces."""
    flat = re.sub(r"`[^`]*`", "code", paragraph)
    flat = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", flat)
    flat = re.sub(r"\b(e\.g|i\.e|al|vs|Fig)\.", r"\1", " ".join(flat.split()))
    return [
        one for one in re.split(r"(?<=[.!?:;])\s+(?=[A-Z*`(\d\"]|code)|(?<=[.!?])\s+", flat) if len(one.split()) > 1
    ]


def words(text: str) -> list[int]:
    """Returns the number of words of every sentence."""
    return [len(one.split()) for paragraph in paragraphs(text) for one in sentences(paragraph)]


def _name(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_sentences_and_paragraphs_are_short(page):
    found = paragraphs(page.read_text())
    assert not [one for paragraph in found for one in sentences(paragraph) if len(one.split()) > MOST_WORDS]
    assert not [one for one in found if one.strip().count("\n") >= MOST_LINES]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "index.md"], ids=_name)
def test_a_page_opens_with_its_purpose(page):
    assert re.match(r"This (page|tutorial) ", paragraphs(page.read_text())[0])


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("One two three. Four five.", [3, 2]),
        ("Call `fer-jax train --config FILE` now; it\nworks.", [5]),
        ("# No\n\n| a | b |\n\n```\ncode code code\n```\n\nYes, it is.", [3]),
        ("See [two words](there.md) here.", [4]),
        ("- One item here.\n- And another one.", [4, 4]),
    ],
)
def test_sentences_are_counted(text, counted):
    assert words(text) == counted
