"""Checks that the tensors of a file are those of a network: all of them, no other, each in its shape."""

from collections.abc import Mapping

from fer_jax.errors import UserError

Shape = tuple[int, ...]
NAMED = 4  # names in a message; the others are counted


def check(source: str, found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Compares the shapes of tensors by name with those of a network.

    Args:
      source: what is read, as the message calls it.
      found, expected: shapes by the names that the file uses.

    Raises:
      UserError: one line with every kind of difference: what is missing, what is too much, what has another shape.
    """
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    misshapen = [
        f"{name} is {_words(found[name])}, not {_words(expected[name])}"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    wrong = []
    if missing:
        wrong.append(f"{_listed(missing)} missing")
    if extra:
        wrong.append(f"{_listed(extra)} not of this network")
    if misshapen:
        wrong.append(_listed(misshapen))
    if wrong:
        raise UserError(f"{source} does not fit: {'; '.join(wrong)}")


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
