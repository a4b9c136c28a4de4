"""A process without progress ends, with one line; one that goes on does not."""

import subprocess
import sys

import pytest

STUCK = """
import time
from fer_jax.runs.watchdog import Watchdog
with Watchdog({seconds}, "stuck").watching() as watchdog:
    for _ in range(10):
        time.sleep(0.2)
        if {fed}: watchdog.feed()
print("over")
"""


@pytest.mark.parametrize(("seconds", "fed", "code"), [(1, False, 75), (1.5, True, 0), (0, False, 0)])
def test_it_ends_what_is_stuck(seconds, fed, code):
    done = subprocess.run(
        [sys.executable, "-c", STUCK.format(seconds=seconds, fed=fed)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (code, "fer-jax: stuck\n" if code else "")
    assert done.stdout == ("" if code else "over\n")
