"""How long the sentences of the documents are, beside those of an earlier commit, and which are the longest.

    python -m studies.documents.prose --before 7ef92cc

Code, tables, headings and pictures do not count; a code span and a formula without spaces count as one word.
"""

import argparse
import pathlib
import re
import tempfile

from studies import record

ROOT = record.ROOT
# Generated from the keys, and a list of docstrings.
GENERATED = {"configuration.md", "api.md"}
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED]
DOCUMENTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "launch" / "README.md"]
LONG, WORST = 30, 10


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


def summary(text: str) -> str:
    """Returns how many sentences a text has, their mean length, and the share of those over 30 words."""
    found = words(text)
    mean, share = sum(found) / len(found), sum(count > LONG for count in found) / len(found)
    return f"{len(found)} sentences of {mean:.1f} words, {100 * share:.0f} % over {LONG}"


def worst(pages: dict[str, str]) -> list[str]:
    """Returns the longest sentences of all pages, each with its page and number of words."""
    every = [(len(one.split()), page, one) for page, text in pages.items()
             for paragraph in paragraphs(text) for one in sentences(paragraph)]  # fmt: skip
    return [f"{count} words, {page}: {one}" for count, page, one in sorted(every, reverse=True)[:WORST]]


def main() -> None:
    """Prints a line a page, and the longest sentences before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, metavar="COMMIT")
    commit = parser.parse_args().before
    names = [str(page.relative_to(ROOT)) for page in DOCUMENTS]
    after = {name: (ROOT / name).read_text() for name in names}
    with tempfile.TemporaryDirectory() as folder:
        record.unpack(commit, pathlib.Path(folder))
        before = {name: text for name in names
                  if (path := pathlib.Path(folder) / name).exists() and words(text := path.read_text())}  # fmt: skip
    for name in names:
        was = summary(before[name]) if name in before else "no such page"
        print(f"{name}: before: {was}; after: {summary(after[name])}")
    for when, pages in (("before", before), ("after", after)):
        print(f"\nThe longest sentences {when}:", *worst(pages), sep="\n- ")


if __name__ == "__main__":
    main()
