"""docs/deviations.md has a row for every method."""

import pathlib
import re

from fer_jax import methods

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "deviations.md").read_text(encoding="utf-8")


def test_every_method_has_one_row_and_no_row_is_of_another():
    first = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    rows = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    paired = {name for name in methods.METHODS if name.endswith("_paired")}
    assert sorted(rows) == sorted(methods.METHODS.keys() - paired)
    assert all(f"`{name}`" in PAGE for name in paired)


def test_every_paper_that_a_row_of_methods_cites_is_there():
    source = pathlib.Path(methods.__file__).read_text(encoding="utf-8")
    cited = set(re.findall(r"\d{4}\.\d{5}", source[source.index("METHODS = {") :]))
    assert len(cited) > 10
    assert cited - set(re.findall(r"\d{4}\.\d{5}", PAGE)) == set()
