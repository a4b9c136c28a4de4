"""Documents keep to the rules of docs/style.md that can be counted: short sentences and paragraphs, a purpose first."""

import pathlib
import re

import pytest

from studies.documents.prose import DOCUMENTS, PAGES, ROOT, paragraphs, sentences, words

MOST_WORDS, MOST_LINES = 35, 6


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
