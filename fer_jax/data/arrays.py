"""The one form in which every data set reaches the rest: plain arrays on the host.

Everything that a run decides afterwards is an index into them.
"""

import dataclasses
import hashlib

import numpy as np

from fer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class FaceArrays:
    """N labelled face images.

    image: u8[N, H, W, 3], RGB.
    label: i32[N], positions in `class_names`.
    subject: i32[N], who it is; images of one subject share a number.
    class_names: C names, the base classes first.
    metadata: what the data set says of itself, such as its Bayes accuracy; plain JSON values.
    official_test: bool[N], the images that the data set itself sets apart for testing; None where it does not.
    """

    image: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    class_names: tuple[str, ...]
    metadata: dict = dataclasses.field(default_factory=dict)
    official_test: np.ndarray | None = None
    targets: dict = dataclasses.field(default_factory=dict)
    class_targets: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        n = len(self.image)
        if self.image.dtype != np.uint8 or self.image.ndim != 4 or self.image.shape[-1] != 3:
            raise ValueError(f"image is {self.image.dtype}{self.image.shape}; it must be uint8[N, H, W, 3]")
        if self.label.shape != (n,) or self.subject.shape != (n,):
            raise ValueError(
                f"label {self.label.shape} and subject {self.subject.shape} must both be [{n}], one an image"
            )
        if self.official_test is not None and (self.official_test.shape, self.official_test.dtype) != ((n,), np.bool_):
            raise ValueError(
                f"official_test is {self.official_test.dtype}{self.official_test.shape}; it must be bool[{n}]"
            )
        if n and not 0 <= self.label.min() <= self.label.max() < len(self.class_names):
            raise ValueError(f"labels run to {self.label.max()}, with {len(self.class_names)} class names")

    def without(self, names: tuple[str, ...]) -> "FaceArrays":
        """The images of all classes but the named ones, labels renumbered.

        Raises:
          UserError: a name that is not a class.
        """
        unknown = set(names) - set(self.class_names)
        if unknown:
            raise UserError(f"config.data.exclude has {sorted(unknown)}; classes are {', '.join(self.class_names)}")
        kept = [i for i, name in enumerate(self.class_names) if name not in names]
        renumber = np.full(len(self.class_names), -1, np.int32)
        renumber[kept] = np.arange(len(kept))
        rows = np.isin(self.label, kept)
        return FaceArrays(
            self.image[rows],
            renumber[self.label[rows]],
            self.subject[rows],
            tuple(self.class_names[i] for i in kept),
            self.metadata,
            None if self.official_test is None else self.official_test[rows],
        )

    def checksum(self) -> str:
        """SHA-256 over images, labels, subjects, names and official split: equal for equal data, whatever made it."""
        digest = hashlib.sha256()
        for array in (self.image, self.label.astype("<i4"), self.subject.astype("<i4")):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update("\n".join(self.class_names).encode())
        if self.official_test is not None:
            digest.update(b"official test" + self.official_test.tobytes())
        return digest.hexdigest()
