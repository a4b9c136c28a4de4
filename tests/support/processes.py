"""Whether a process that a test did not start itself is still there."""

import pathlib
import time


def gone(number: int, within: float = 10.0) -> bool:
    """Waits until a process has ended, for some seconds at most; one that nobody has waited for yet has ended, too."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False
