"""Checks that a file has tensors, and those of a network: all of them, no other, each in its shape, of numbers."""

from collections.abc import Mapping

import numpy as np

from fer_jax.errors import UserError

Shape = tuple[int, ...]
TEXT = 8  # bytes of text that are no beginning of a file of tensors
NAMED = 4  # names in a message; the others are counted


def check(source: str, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Compares the shapes of tensors by name with those of a network.

    Args:
      source: what is read, as the message calls it.
      found, expected: shapes by the names that the file uses.

    Raises:
      UserError: one line with every kind of difference: what is missing, what is too much, what has another shape.
    """
    missing = [name for name in expected if name not in shapes]
    extra = [name for name in shapes if name not in expected]
    misshapen = [
        f"{name} is {_words(shapes[name])}, not {_words(expected[name])}"
        for name in expected
        if name in shapes and tuple(shapes[name]) != tuple(expected[name])
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


def check_numbers(name: str, values: np.ndarray, leaf: str) -> None:
    """Checks the numbers f32 of a tensor that makes the parameter `leaf`, such as a kernel or a "var".

    Args:
      name: the file and the tensor, as the message calls them.

    Raises:
      UserError: they are not finite, or a variance is below 0.
    """
    if not np.isfinite(values).all():
        raise UserError(f"{name} has numbers that are not finite in float32")
    if leaf == "var" and values.min() < 0:
        raise UserError(f"{name} has {values.min():g}; it may have variances, which are from 0")


def check_no_text(source: str, head: bytes) -> None:
    """Checks by the first bytes of a file that it is not what downloads leave in its place.

    Raises:
      UserError: it is a pointer of Git LFS, a web page, or other text.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"version https://git-lfs"):
        raise UserError(f"{source} is a Git LFS pointer, not the file that it stands for; `git lfs pull` fetches that")
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{source} is a web page (HTML); a link to the file itself may give the file")
    if len(text) >= TEXT and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in text):
        raise UserError(f"{source} is text that begins with {text[:40].decode()!r}; it may be a file of tensors")


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
