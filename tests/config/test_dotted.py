"""What is found by a dotted path, and what is said where it is not."""

import pytest

from fer_jax.config import dotted
from fer_jax.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_mine.py").write_text("def loss(outputs, context):\n    return 7\n\nnumber = 3\n")
    (tmp_path / "broken_of_mine.py").write_text("1 / 0\n")
    dotted._named.clear()
    return tmp_path


def test_a_function_in_the_working_directory_is_found(here):
    assert dotted.function("of_mine.loss", "")(None, None) == 7


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("psmr", "'psmr' does not exist; it may be one of ours"),
        ("of mine.loss", "'of mine.loss' does not exist; it may be one of ours"),
        ("not_there.loss", "'not_there.loss': module not_there cannot be imported (ModuleNotFoundError"),
        ("broken_of_mine.loss", "module broken_of_mine cannot be imported (ZeroDivisionError: division by zero)"),
        ("of_mine.lost", "'of_mine.lost': module of_mine has no lost"),
        ("of_mine.number", "'of_mine.number' is a int; it may be a function"),
    ],
)
def test_what_is_not_there_is_said(here, path, said):
    with pytest.raises(UserError, match=r".") as error:
        dotted.function(path, "one of ours")
    assert said in str(error.value)
