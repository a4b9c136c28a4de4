"""The forms of a table in Markdown."""


def markdown(header: list[str], rows: list[list[str]], words_last: bool = False) -> str:
    """Returns a table in Markdown, numbers to the right: all columns but the first, and the last if it holds words."""
    numbers = len(header) - 1 - words_last
    lines = [header, ["---"] + ["---:"] * numbers + ["---"] * words_last, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words(header: list[str], rows: list[list[str]]) -> str:
    """Returns a table of words in Markdown, all to the left."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])
