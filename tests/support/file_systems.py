"""A file system of a test's own, which may be full or read-only."""

import contextlib
import os
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def file_system(folder, options: str):
    """A memory file system of its own at `folder`, which may be small or read-only."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
