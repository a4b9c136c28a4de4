"""The checksum of some rendered faces: `python -m tests.support.faces` prints it, under whatever flags."""

import hashlib

import numpy as np

from fer_jax.data.facs_faces.builder import draw

CELLS = np.stack(np.unravel_index(np.arange(66), (3, 22, 1)), axis=1)  # three subjects in all categories


def checksum() -> str:
    """Returns the SHA-256 of faces of 64 and of 24 pixels and of their action units."""
    found = hashlib.sha256()
    for size in (64, 24):
        for array in draw(0, CELLS, size):
            found.update(array.tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(checksum())
