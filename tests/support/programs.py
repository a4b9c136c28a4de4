"""Programs that the extra `dev` installs beside Python."""

import pathlib
import shutil
import sys

import pytest


def program(name: str) -> str:
    """The path of a program; the test fails where it is missing, since `make test` installs it."""
    beside = pathlib.Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    return path or pytest.fail(f"{name} is not installed: pip install '.[dev]'")
