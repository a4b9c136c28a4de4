"""Near-duplicates: pictures of one photograph under two subjects, which a split can put on both sides.

A copy may be encoded again, resized, shifted by a few pixels or mirrored. Pictures whose perceptual hashes are alike
are compared pixel by pixel under every small shift. Where pictures show more than faces, their faces may be compared
alone: a common background makes different people alike, and another background hides a copy. Only pictures of different
subjects are compared: those of one subject are never on two sides. Where subjects are unknown every picture is a
subject of its own.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_jax.data import crop
from fer_jax.data.arrays import FaceArrays

SIDE = 64  # of the grey picture that is compared
SHIFT = 4  # pixels of it, in each direction
SMOOTH = 4  # times that it is smoothed by (1, 2, 1) / 4, since a resized copy lacks what is fine
BITS = 8  # frequencies of the hash in each direction; it has BITS² - 1 values
MOST_COARSE, MOST_DIFFERENCE = 0.28, 0.25  # of hashes and of pictures, in standard deviations
FLAT = 0.05  # grey values: a picture that varies less shows nothing, and all such pictures are alike
_BLOCK = 512  # hashes compared at a time, few enough for a processor's cache


class Move(NamedTuple):
    """Where a picture is cut, and whether it is mirrored before."""

    mirrored: bool
    y: int
    x: int


def _moves(step: int) -> tuple[Move, ...]:
    places = range(0, 2 * SHIFT + 1, step)
    return tuple(Move(mirrored, y, x) for mirrored in (False, True) for y in places for x in places)


MOVES, COARSE, CENTRE = _moves(1), _moves(2), Move(False, SHIFT, SHIFT)


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
    centre, moved = hashes(grey, CENTRE), np.stack([hashes(grey, move) for move in COARSE])
    pairs = []
    for rows, others in _alike(moved, centre, subject):
        best = np.einsum("mpf,pf->mp", moved[:, rows], centre[others], optimize=True).argmax(0)
        for number in np.unique(best):
            first, second = rows[best == number], others[best == number]
            difference = differences(grey[first], grey[second], _around(COARSE[number]))
            near = difference <= MOST_DIFFERENCE
            triples = zip(first[near].tolist(), second[near].tolist(), difference[near].tolist(), strict=True)
            pairs += [Pair(*one) for one in triples]
    return sorted(pairs)


def _around(move: Move) -> list[Move]:
    return [one for one in MOVES if one[0] == move[0] and abs(one.y - move.y) <= 1 and abs(one.x - move.x) <= 1]


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


def hashes(grey: np.ndarray, move: Move) -> np.ndarray:
    """Computes perceptual hashes f32[N, BITS² - 1] of f32[N, SIDE, SIDE]: the lowest frequencies, of length 1."""
    side = SIDE - 2 * SHIFT
    basis = np.cos(np.pi * (np.arange(side) + 0.5) * np.arange(BITS)[:, None] / side) * np.sqrt(2 / side)
    basis = basis.astype(np.float32)
    found = np.empty((len(grey), BITS**2 - 1), np.float32)
    for begin in range(0, len(grey), _BLOCK):
        cut = _cut(grey[begin : begin + _BLOCK], move)
        spectrum = np.einsum("fh,nhw,gw->nfg", basis, cut, basis, optimize=True)
        found[begin : begin + len(cut)] = _of_length_1(spectrum.reshape(len(cut), -1)[:, 1:], FLAT * side)
    return found


def _cut(grey: np.ndarray, move: Move) -> np.ndarray:
    """Cuts pictures f32[N, SIDE, SIDE] to f32[N, SIDE - 2 · SHIFT, …]."""
    size = SIDE - 2 * SHIFT
    return (grey[:, :, ::-1] if move.mirrored else grey)[:, move.y : move.y + size, move.x : move.x + size]


def _of_length_1(rows: np.ndarray, flat: float) -> np.ndarray:
    """Scales rows f32[N, K]; all that are shorter than `flat` become the same one."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > flat, rows / np.maximum(norm, flat), np.float32(1 / np.sqrt(rows.shape[1])))


def _alike(moved: np.ndarray, centre: np.ndarray, subject: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows i[P] and later rows i[P] of other subjects whose hashes differ by at most MOST_COARSE.

    Args:
      moved: f32[M, N, K], hashes of all pictures, cut and mirrored in every way; centre: f32[N, K], of their centres.
    """
    n, least = len(centre), 1 - MOST_COARSE**2 / 2
    for begin in range(0, n, _BLOCK):
        for left in range(begin, n, _BLOCK):
            second = centre[left : left + _BLOCK].T
            best = moved[0, begin : begin + _BLOCK] @ second
            for one in moved[1:]:
                np.maximum(best, one[begin : begin + _BLOCK] @ second, out=best)
            rows, others = (found + at for found, at in zip(np.nonzero(best >= least), (begin, left), strict=True))
            wanted = (others > rows) & (subject[rows] != subject[others])
            rows, others = rows[wanted], others[wanted]
            for at in range(0, len(rows), _BLOCK):
                yield rows[at : at + _BLOCK], others[at : at + _BLOCK]


def differences(first: np.ndarray, second: np.ndarray, moves: Iterable[Move] = MOVES) -> np.ndarray:
    """Computes how far pairs of pictures f32[P, SIDE, SIDE] differ at best under shifts and mirroring, f32[P].

    It is the root mean square of what remains of the second picture after the best shift of the first, of the best
    brightness and contrast, in standard deviations of the second: 0 for copies, about 1.4 for unrelated pictures.
    """
    centre, best = _standardised(_cut(second, CENTRE)), np.full(len(first), -1, np.float32)
    for move in moves:
        best = np.maximum(best, np.einsum("pi,pi->p", _standardised(_cut(first, move)), centre))
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def _standardised(pictures: np.ndarray) -> np.ndarray:
    rows = pictures.reshape(len(pictures), -1)
    return _of_length_1(rows - rows.mean(1, keepdims=True), FLAT * np.sqrt(rows.shape[1]))


class Leakage(NamedTuple):
    """What near-duplicates there are in a data set.

    pairs: all of them. crossing: those between official parts (train, validation, test), or all of them where a data
      set has no official split, since folds then put different subjects on different sides.
    later: rows of the second pictures of all pairs, without which there is no near-duplicate.
    compared: what was, in words.
    """

    pairs: tuple[Pair, ...]
    crossing: tuple[Pair, ...]
    later: np.ndarray
    compared: str


def of(data: FaceArrays, within: str = "picture") -> Leakage:
    """Finds the near-duplicates of a data set.

    Of two the one in the training set is the later one, so that official test sets stay whole.

    Args:
      within: "picture", as training reads it, or "face", the one that is found in it; where none is found, the picture.

    Raises:
      UserError: the package that finds faces is not installed.
    """
    part = parts(data)
    image, compared = data.image, "pictures as training reads them"
    if within == "face":
        image, found = faces(image, crop.FaceDetector())
        compared = f"the faces found in {found} of {len(image)} pictures, of the others the whole picture"
    pairs = near_duplicates(image, data.subject)
    crossing = [pair for pair in pairs if part is None or part[pair.first] != part[pair.second]]
    rank = np.zeros(len(data.label), int) if part is None else part
    later = {max((pair.first, pair.second), key=lambda row: (-rank[row], row)) for pair in pairs}
    return Leakage(tuple(pairs), tuple(crossing), np.asarray(sorted(later), int), compared)


def faces(image: np.ndarray, find_faces: Callable) -> tuple[np.ndarray, int]:
    """Crops pictures u8[N, S, S, 3] to their largest faces, u8[N, S, S, 3], and counts those that have one.

    Args:
      find_faces: as `fer_jax.data.crop.FaceDetector`.
    """
    cut, n = np.empty_like(image), 0
    for i, one in enumerate(image):
        outcome, cut[i] = crop.cut_face(one, find_faces, crop.MARGIN, len(one))
        n += bool(outcome["faces"])
    return cut, n


def parts(data: FaceArrays) -> np.ndarray | None:
    """Returns the official part of every picture, i[N]: 0 train, 1 validation, 2 test; None if there is none."""
    if data.official_test is None and data.official_validation is None:
        return None
    part = np.zeros(len(data.label), int)
    for number, rows in ((1, data.official_validation), (2, data.official_test)):
        if rows is not None:
            part[rows] = number
    return part
