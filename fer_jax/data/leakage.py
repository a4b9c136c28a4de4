"""Near-duplicates: pictures of one photograph under two subjects, which a split can put on both sides.

A copy may be encoded again, resized, shifted by a few pixels or mirrored. Pictures whose perceptual hashes are alike
are compared pixel by pixel under every small shift. Only pictures of different subjects are: those of one subject are
never on two sides. Where subjects are unknown every picture is a subject of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_jax.data.arrays import FaceArrays

SIDE = 64  # of the grey picture that is compared
SHIFT = 4  # pixels of it, in each direction
SMOOTH = 4  # times that it is smoothed by (1, 2, 1) / 4, since a resized copy lacks what is fine
BITS = 8  # frequencies of the hash in each direction; it has BITS² - 1 bits
MOST_BITS = 10  # by which the hashes of a pair may differ to be compared
COARSE = 4  # by which the picture is reduced for a first comparison
MOST_COARSE, MOST_DIFFERENCE = 0.5, 0.25  # in the first comparison and in the second, in standard deviations
FLAT = 0.05  # grey values: a picture that varies less shows nothing, and all such pictures are alike
_BLOCK = 512  # hashes compared at a time, few enough for a processor's cache


class Pair(NamedTuple):
    """Two near-duplicates: their rows, first < second, and how far they differ, in standard deviations of a picture."""

    first: int
    second: int
    difference: float


def near_duplicates(image: np.ndarray, subject: np.ndarray) -> list[Pair]:
    """Finds the near-duplicates among pictures of different subjects.

    Args:
      image: u8[N, H, W, 3], cut to the face.
      subject: i32[N].

    Returns:
      pairs, in the order of their rows.
    """
    grey = greys(image)
    small = grey.reshape(len(grey), SIDE // COARSE, COARSE, SIDE // COARSE, COARSE).mean((2, 4))
    centre = hashes(grey[:, SHIFT:-SHIFT, SHIFT:-SHIFT])
    moved = [hashes(one) for one in _moved(grey, SHIFT, 2)]
    pairs = []
    for rows, others in _alike(moved, centre, subject):
        near = differences(small[rows], small[others], SHIFT // COARSE) <= MOST_COARSE
        rows, others = rows[near], others[near]
        difference = differences(grey[rows], grey[others], SHIFT)
        near = difference <= MOST_DIFFERENCE
        triples = zip(rows[near].tolist(), others[near].tolist(), difference[near].tolist(), strict=True)
        pairs += [Pair(*one) for one in triples]
    return sorted(pairs)


def greys(image: np.ndarray) -> np.ndarray:
    """Returns pictures u8[N, H, W, 3] as f32[N, SIDE, SIDE], grey and smooth."""
    grey = np.empty((len(image), SIDE, SIDE), np.float32)
    for begin in range(0, len(image), _BLOCK):
        block = image[begin : begin + _BLOCK]
        small = [Image.fromarray(one).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR) for one in block]
        grey[begin : begin + len(block)] = _smooth(np.stack(small).astype(np.float32))
    return grey


def _smooth(grey: np.ndarray) -> np.ndarray:
    for _ in range(SMOOTH):
        for axis in (1, 2):
            wide = np.pad(grey, [(int(a == axis),) * 2 for a in range(3)], mode="edge").swapaxes(axis, 2)
            grey = ((wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]) / 4).swapaxes(axis, 2)
    return grey


def hashes(grey: np.ndarray) -> np.ndarray:
    """Computes perceptual hashes u64[N] of f32[N, S, S]: the signs of the lowest frequencies, BITS² - 1 bits.

    A frequency is above or below the median of all (Zauner, 2010).
    """
    side = grey.shape[-1]
    basis = np.cos(np.pi * (np.arange(side) + 0.5) * np.arange(BITS)[:, None] / side).astype(np.float32)
    spectrum = np.einsum("fh,nhw,gw->nfg", basis, grey, basis, optimize=True).reshape(len(grey), -1)[:, 1:]
    rounding = FLAT * side  # so that what is rounded in a flat picture's spectrum sets no bit
    bits = spectrum > np.median(spectrum, 1, keepdims=True) + rounding
    return (bits.astype(np.uint64) << np.arange(bits.shape[1], dtype=np.uint64)).sum(1, dtype=np.uint64)


def _moved(grey: np.ndarray, shift: int, step: int = 1) -> Iterator[np.ndarray]:
    """Yields pictures f32[N, S, S] and their mirror images, cut at places up to 2 · shift, f32[N, S - 2 · shift, …]."""
    size = grey.shape[-1] - 2 * shift
    for side in (grey, grey[:, :, ::-1]):
        for y in range(0, 2 * shift + 1, step):
            for x in range(0, 2 * shift + 1, step):
                yield side[:, y : y + size, x : x + size]


def _alike(moved: list[np.ndarray], centre: np.ndarray, subject: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows i[P] and later rows i[P] of other subjects whose hashes differ by at most MOST_BITS.

    Args:
      moved: hashes of all pictures, cut and mirrored in every way; centre: those of their centres.
    """
    n = len(centre)
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        for left in range(begin, n, _BLOCK):
            right = min(left + _BLOCK, n)
            near = np.zeros((end - begin, right - left), bool)
            for one in moved:
                near |= np.bitwise_count(one[begin:end, None] ^ centre[None, left:right]) <= MOST_BITS
            near &= subject[begin:end, None] != subject[None, left:right]
            rows, others = np.nonzero(near)
            rows, others = rows + begin, others + left
            yield from _chunks(rows[others > rows], others[others > rows])


def _chunks(rows: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for at in range(0, len(rows), _BLOCK):
        yield rows[at : at + _BLOCK], others[at : at + _BLOCK]


def differences(first: np.ndarray, second: np.ndarray, shift: int = SHIFT) -> np.ndarray:
    """Computes how far pairs of pictures f32[P, S, S] differ at best under shifts and mirroring, f32[P].

    It is the root mean square of what remains of the second picture after the best shift of the first, of the best
    brightness and contrast, in standard deviations of the second: 0 for copies, about 1.4 for unrelated pictures.
    """
    centre = _standardised(second[:, shift:-shift, shift:-shift])
    best = np.full(len(first), -1, np.float32)
    for one in _moved(first, shift):
        best = np.maximum(best, np.einsum("pi,pi->p", _standardised(one), centre))
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def _standardised(pictures: np.ndarray) -> np.ndarray:
    rows = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2])
    rows = rows - rows.mean(1, keepdims=True)
    norm, root = np.linalg.norm(rows, axis=1, keepdims=True), np.sqrt(rows.shape[1])
    return np.where(norm > FLAT * root, rows / np.maximum(norm, FLAT), 1 / root)


class Leakage(NamedTuple):
    """What near-duplicates there are in a data set.

    pairs: all of them. crossing: those between official parts (train, validation, test), or all of them where a data
      set has no official split, since folds then put different subjects on different sides.
    later: rows of the second pictures of all pairs, without which there is no near-duplicate.
    """

    pairs: tuple[Pair, ...]
    crossing: tuple[Pair, ...]
    later: np.ndarray


def of(data: FaceArrays) -> Leakage:
    """Finds the near-duplicates of a data set.

    Of two the one in the training set is the later one, so that official test sets stay whole.
    """
    part = parts(data)
    pairs = near_duplicates(data.image, data.subject)
    crossing = [pair for pair in pairs if part is None or part[pair.first] != part[pair.second]]
    rank = np.zeros(len(data.label), int) if part is None else part
    later = {max((pair.first, pair.second), key=lambda row: (-rank[row], row)) for pair in pairs}
    return Leakage(tuple(pairs), tuple(crossing), np.asarray(sorted(later), int))


def parts(data: FaceArrays) -> np.ndarray | None:
    """Returns the official part of every picture, i[N]: 0 train, 1 validation, 2 test; None if there is none."""
    if data.official_test is None and data.official_validation is None:
        return None
    part = np.zeros(len(data.label), int)
    for number, rows in ((1, data.official_validation), (2, data.official_test)):
        if rows is not None:
            part[rows] = number
    return part
