"""Makes the tables of documents again from docs/results."""

import argparse
import pathlib

from studies import documents

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    """Fills the blocks of the documents named."""
    parser = argparse.ArgumentParser(description=documents.__doc__.splitlines()[0])
    parser.add_argument("documents", type=pathlib.Path, nargs="+", metavar="FILE")
    for path in parser.parse_args().documents:
        path.write_text(documents.fill(path.read_text(), RESULTS))


if __name__ == "__main__":
    main()
