"""Bars in seconds, on machines slower than the one that they were set on."""

import functools

from studies import layers

# Multiply-adds a processor second of a float32 matrix product where the bars were set.
PEAK = 110e9


@functools.cache
def slowness() -> float:
    """Returns how many times as long a matrix product takes here as where the bars were set; at least 1.

    Hosts of one kind differ by a factor of two, and a bar would say so and nothing else.
    """
    here = layers.peak()
    print(f"a matrix product makes {here / 1e9:.0f} G multiply-adds a processor second here, {PEAK / 1e9:.0f} there")
    return max(1.0, PEAK / here)
