"""Bars in seconds, on machines slower than the one that they were set on."""

import functools
import json

from studies import layers, record


@functools.cache
def slowness() -> float:
    """Returns how many times as long a matrix product takes here as where `make layers` ran last; at least 1.

    Both are processor seconds. Hosts of one kind differ by a factor of two, and a bar would say so and nothing else.
    """
    there = json.loads((record.ROOT / "docs" / "results" / "layers.json").read_text())["peak_per_second"]
    here = layers.peak()
    print(f"a matrix product makes {here / 1e9:.0f} G multiply-adds a processor second here, {there / 1e9:.0f} there")
    return max(1.0, there / here)
