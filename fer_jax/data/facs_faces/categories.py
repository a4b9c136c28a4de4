"""The 22 expression categories and the facial action units seen in them.

Du, Tao and Martinez, Compound facial expressions of emotion, PNAS 2014 (the CFEE study, 230 subjects): core units
are seen in nearly everybody, the others in the given share of subjects.
"""

from typing import NamedTuple

import numpy as np

ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
}
UNITS = tuple(ACTION_UNITS)


class Category(NamedTuple):
    """An expression: its name, core units, and the share of subjects that show each other unit."""

    name: str
    core: tuple[int, ...]
    sometimes: dict[int, float]


CATEGORIES = (
    Category("happy", (12, 25), {6: 0.51}),
    Category("sad", (4, 15), {1: 0.60, 6: 0.50, 11: 0.26, 17: 0.67}),
    Category("fearful", (1, 4, 20, 25), {2: 0.57, 5: 0.63, 26: 0.33}),
    Category("angry", (4, 7, 24), {10: 0.26, 17: 0.52, 23: 0.29}),
    Category("surprised", (1, 2, 25, 26), {5: 0.66}),
    Category("disgusted", (9, 10, 17), {4: 0.31, 24: 0.26}),
    Category("happily surprised", (1, 2, 12, 25), {5: 0.64, 26: 0.67}),
    Category("happily disgusted", (10, 12, 25), {4: 0.32, 6: 0.61, 9: 0.59}),
    Category("sadly fearful", (1, 4, 20, 25), {2: 0.46, 5: 0.24, 6: 0.34, 15: 0.30}),
    Category("sadly angry", (4, 15), {6: 0.26, 7: 0.48, 11: 0.20, 17: 0.50}),
    Category("sadly surprised", (1, 4, 25, 26), {2: 0.27, 6: 0.31}),
    Category("sadly disgusted", (4, 10), {1: 0.49, 6: 0.61, 9: 0.20, 11: 0.35, 15: 0.54, 17: 0.47, 25: 0.43}),
    Category("fearfully angry", (4, 20, 25), {5: 0.40, 7: 0.39, 10: 0.30, 11: 0.33}),
    Category("fearfully surprised", (1, 2, 5, 20, 25), {4: 0.47, 10: 0.35, 11: 0.22, 26: 0.51}),
    Category("fearfully disgusted", (1, 4, 10, 20, 25), {2: 0.64, 5: 0.50, 6: 0.26, 9: 0.28, 15: 0.33}),
    Category("angrily surprised", (4, 25, 26), {5: 0.35, 7: 0.50, 10: 0.34}),
    Category("angrily disgusted", (4, 10, 17), {7: 0.60, 9: 0.57, 24: 0.36}),
    Category("disgustedly surprised", (1, 2, 5, 10), {4: 0.45, 9: 0.37, 17: 0.66, 24: 0.33}),
    Category("appalled", (4, 10), {6: 0.25, 9: 0.56, 17: 0.67, 24: 0.36}),
    Category("hatred", (4, 10), {7: 0.57, 9: 0.27, 17: 0.63, 24: 0.37}),
    Category("awed", (1, 2, 5, 25), {4: 0.21, 20: 0.62, 26: 0.56}),
    Category("neutral", (), {}),
)
NAMES = tuple(category.name for category in CATEGORIES)
N_BASIC = 6
N_COMPOUND = 15


def presence_probability() -> np.ndarray:
    """Returns how often each unit is present in each category, f64[22, 17]: 1 for core units, else its share."""
    table = np.zeros((len(CATEGORIES), len(UNITS)))
    for row, category in zip(table, CATEGORIES, strict=True):
        for unit in category.core:
            row[UNITS.index(unit)] = 1.0
        for unit, share in category.sometimes.items():
            row[UNITS.index(unit)] = share
    return table
