"""The one form in which every data set reaches the rest: plain arrays on the host.

Everything that a run decides afterwards is an index into them.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from fer_jax.errors import UserError

OFFICIAL = ("official_test", "official_validation")
SOFT_LABEL = "soft_label"  # the target whose columns are the classes


@dataclasses.dataclass(frozen=True)
class FaceArrays:
    """N labelled face images.

    image: u8[N, H, W, 3], RGB.
    label: i32[N], positions in `class_names`.
    subject: i32[N], who it is; images of one subject share a number.
    class_names: C names, the base classes first.
    metadata: what the data set says of itself, such as its Bayes accuracy; plain JSON values.
    official_test: bool[N], the images that the data set itself sets apart for testing; None where it does not.
    official_validation: the same for validation.
    files: the name of each image's file, or none; for people to read.
    targets: what an image shows beside its class, each [N, ...] of float32 or whole numbers; "action_units" f32[N, U],
      0 where a unit is absent, whose numbers metadata["action_units"] has.
      "soft_label" f32[N, C] is how likely each class is, in the order of `class_names`, such as shares of votes.
    class_targets: the same of a class, each [C, ...]; "action_units" f32[C, U], how often a unit is present.
    """

    image: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    class_names: tuple[str, ...]
    metadata: dict = dataclasses.field(default_factory=dict)
    official_test: np.ndarray | None = None
    targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    class_targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    official_validation: np.ndarray | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self):
        n = len(self.image)
        if self.image.dtype != np.uint8 or self.image.ndim != 4 or self.image.shape[-1] != 3:
            raise ValueError(f"image is {self.image.dtype}{self.image.shape}; it must be uint8[N, H, W, 3]")
        if self.label.shape != (n,) or self.subject.shape != (n,):
            raise ValueError(
                f"label {self.label.shape} and subject {self.subject.shape} must both be [{n}], one an image"
            )
        for name in OFFICIAL:
            rows = getattr(self, name)
            if rows is not None and (rows.shape, rows.dtype) != ((n,), np.bool_):
                raise ValueError(f"{name} is {rows.dtype}{rows.shape}; it must be bool[{n}]")
        if n and not 0 <= self.label.min() <= self.label.max() < len(self.class_names):
            raise ValueError(f"labels run to {self.label.max()}, with {len(self.class_names)} class names")
        _check_targets("targets", self.targets, n, "an image")
        _check_targets("class_targets", self.class_targets, len(self.class_names), "a class")

    def without(self, names: tuple[str, ...]) -> "FaceArrays":
        """Returns the images of all classes except the named ones, with labels renumbered.

        Raises:
          UserError: a name that is not a class.
        """
        unknown = set(names) - set(self.class_names)
        if unknown:
            raise UserError(f"config.data.exclude has {sorted(unknown)}; classes are {', '.join(self.class_names)}")
        remaining = [i for i, name in enumerate(self.class_names) if name not in names]
        renumber = np.full(len(self.class_names), -1, np.int32)
        renumber[remaining] = np.arange(len(remaining))
        rows = np.isin(self.label, remaining)
        part = self.rows(rows)
        targets = dict(part.targets)
        if SOFT_LABEL in targets:
            shares = targets[SOFT_LABEL][:, remaining]
            targets[SOFT_LABEL] = shares / np.maximum(shares.sum(1, keepdims=True), np.finfo(np.float32).tiny)
        return dataclasses.replace(
            part,
            label=renumber[part.label],
            class_names=tuple(self.class_names[i] for i in remaining),
            targets=targets,
            class_targets={name: table[remaining] for name, table in self.class_targets.items()},
        )

    def rows(self, rows: np.ndarray) -> "FaceArrays":
        """Returns these images alone, by a mask bool[N] or by indices; classes stay as they are."""
        files = tuple(np.asarray(self.files, object)[rows]) if self.files else ()
        official = {name: values[rows] for name in OFFICIAL if (values := getattr(self, name)) is not None}
        return dataclasses.replace(
            self,
            image=self.image[rows],
            label=self.label[rows],
            subject=self.subject[rows],
            targets={name: values[rows] for name, values in self.targets.items()},
            files=files,
            **official,
        )

    def with_class_targets(self) -> "FaceArrays":
        """Returns a copy in which each class target is also a target of each image.

        It has the name of the class target where the image has no target of its own by it, and "class_" before that
        name everywhere.
        """
        of_class = {name: table[self.label] for name, table in self.class_targets.items()}
        named = {f"class_{name}": values for name, values in of_class.items()}
        return dataclasses.replace(self, targets={**of_class, **named, **self.targets})

    def checksum(self, targets: Iterable[str] = ()) -> str:
        """Returns the SHA-256 of everything that a run reads; equal data have equal checksums.

        It is over images, labels, subjects, class names and official split. Targets count where they are named: a run
        that reads none does not depend on them, and data sets may gain some without becoming other data.

        Args:
          targets: names of the targets that are read.
        """
        digest = hashlib.sha256()
        for array in (self.image, self.label.astype("<i4"), self.subject.astype("<i4")):
            _add(digest, array)
        digest.update("\n".join(self.class_names).encode())
        if self.official_test is not None:
            digest.update(b"official test" + self.official_test.tobytes())
        if self.official_validation is not None:
            digest.update(b"official validation" + self.official_validation.tobytes())
        for name in sorted(targets):
            values = self.targets[name]
            digest.update(f"target {name} {values.dtype}".encode())
            _add(digest, values.astype(values.dtype.newbyteorder("<")))
        return digest.hexdigest()


def _add(digest, array: np.ndarray) -> None:
    digest.update(str(array.shape).encode())
    digest.update(np.ascontiguousarray(array).tobytes())


def _check_targets(field: str, targets: Mapping[str, np.ndarray], n: int, what: str) -> None:
    for name, values in targets.items():
        if not isinstance(values, np.ndarray):
            raise ValueError(f"{field}[{name!r}] is a {type(values).__name__}; it must be a NumPy array")
        if values.shape[:1] != (n,):
            raise ValueError(f"{field}[{name!r}] is {list(values.shape)}; it must be [{n}, ...], a row for {what}")
        if values.dtype != np.float32 and not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{field}[{name!r}] is {values.dtype}; it must be float32 or whole numbers")
